//! Login by an issuer's word: who comes in as what, what an issuer may not get wrong, and that a revoked person stays outside.

mod issuer;

use crate::{
    fixture::Mesh,
    page::{Browser, PAGE, field, location},
};
use issuer::{Issuer, Lie};
use picket_api::{ProblemKind, operators::OperatorView};
use picket_pki::OperatorRole;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

const RULES: &str = "[[page.oidc.allow]]\nclaim = \"groups\"\nvalue = \"ops\"\nrole = \"admin\"\n\
                     [[page.oidc.allow]]\nclaim = \"email\"\nvalue = \"bob@example.com\"\nrole = \"viewer\"\n";

async fn mesh(issuer: &Issuer) -> Mesh {
    Mesh::start_with(&format!("{PAGE}{}{RULES}", issuer.lines())).await
}

/// Goes to the issuer and comes back.
async fn comes(browser: &mut Browser, issuer: &Issuer, token: &Value, more: &Value) -> Response {
    let response = browser.get("/login/oidc?to=/map").await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    let back = issuer.sends_back(location(&response), token, more);
    browser.get(&back).await
}

async fn people(mesh: &Mesh) -> Vec<OperatorView> {
    let all = mesh.operator().operators().await.unwrap();
    all.into_iter().filter(|operator| operator.id.as_str().starts_with("sso-")).collect()
}

async fn is_outside(browser: &mut Browser) -> bool {
    location(&browser.get("/hosts").await) == "/login?to=/hosts"
}

#[tokio::test]
async fn who_the_issuer_vouches_for_comes_in_by_the_first_rule_that_fits() {
    let issuer = Issuer::start().await;
    let mesh = mesh(&issuer).await;
    let mut browser = Browser::new(&mesh);
    let form = browser.text("/login").await;
    assert!(form.contains("href=\"/login/oidc\"") && form.contains("Log in with 127.0.0.1"), "{form}");
    // Groups are told beside the token, the address in it.
    let (bob, ops) = (
        json!({"sub": "b", "email": "bob@example.com", "email_verified": true}),
        json!({"sub": "b", "groups": ["ops"]}),
    );
    let response = comes(&mut browser, &issuer, &bob, &ops).await;
    assert_eq!(response.status(), StatusCode::OK);
    let text = response.text().await.unwrap();
    assert!(text.contains("logged in as bob@example.com, admin") && text.contains("0; url=/map\""), "{text}");
    assert!(!browser.cookies.contains_key("picket-oidc") && browser.cookies.contains_key("picket-session"));
    let overview = browser.text("/").await;
    assert!(overview.contains("bob@example.com by 127.0.0.1") && overview.contains("Is anything wrong?"));
    let [bob_is] = &people(&mesh).await[..] else { panic!("one person") };
    assert_eq!((bob_is.role, bob_is.made_by.clone()), (OperatorRole::Admin, None));
    assert!(bob_is.expires_at.is_some(), "nobody is in for ever by one login");

    // Out of the group, he may look; the session that was begun as an admin's changes nothing from now on.
    let csrf = field(&browser.text("/").await, "csrf");
    let mut later = Browser::new(&mesh);
    let response = comes(&mut later, &issuer, &bob, &json!({"sub": "b"})).await;
    assert!(response.text().await.unwrap().contains("bob@example.com, viewer"));
    let hold = browser.post("/validators/hold", &[("csrf", &csrf)]).await;
    assert_eq!(hold.status(), StatusCode::FORBIDDEN);
    let again = people(&mesh).await;
    assert_eq!((again.len(), &again[0].id, again[0].role), (1, &bob_is.id, OperatorRole::Viewer));

    let events = mesh.operator().events().await.unwrap();
    let logins: Vec<_> = events.iter().filter(|event| event.action == "operator.logged-in").collect();
    assert_eq!(logins.len(), 2);
    for login in logins {
        assert!(login.detail.contains("bob@example.com by 127.0.0.1") && login.address.is_some(), "{login:?}");
        assert_eq!(login.actor, bob_is.id.to_string());
    }
}

#[tokio::test]
async fn whom_no_rule_fits_stays_outside_and_is_told_so() {
    let issuer = Issuer::start().await;
    let mesh = mesh(&issuer).await;
    let mut browser = Browser::new(&mesh);
    for claims in [
        json!({"sub": "e", "email": "bob@example.com", "email_verified": false, "name": "<b>Eve</b>"}),
        json!({"sub": "e", "groups": ["staff"], "name": "<b>Eve</b>"}),
    ] {
        let response = comes(&mut browser, &issuer, &claims, &claims).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let text = response.text().await.unwrap();
        assert!(
            text.contains("no [[page.oidc.allow]] of this controller lets them in") && !text.contains("<b>"),
            "{text}"
        );
        assert!(text.contains("name=\"token\""), "the form is there once more");
        assert!(is_outside(&mut browser).await);
    }
    // The issuer itself says no.
    let state = state_of(&browser.get("/login/oidc").await);
    let response =
        browser.get(&format!("/login/oidc/return?error=access_denied&error_description=%3Ci%3Eno&state={state}")).await;
    let text = response.text().await.unwrap();
    assert!(text.contains("says access_denied: &lt;i&gt;no"), "{text}");
    assert!(people(&mesh).await.is_empty());
}

fn state_of(response: &Response) -> String {
    let way = location(response);
    way.split_once("state=").unwrap().1.split('&').next().unwrap().to_owned()
}

#[tokio::test]
async fn what_an_issuer_gets_wrong_lets_nobody_in() {
    let issuer = Issuer::start().await;
    let mesh = mesh(&issuer).await;
    let mut browser = Browser::new(&mesh);
    let admin = json!({"sub": "a", "groups": ["ops"]});
    for (lie, expect) in [
        (Lie::Nonce, "of another login"),
        (Lie::Audience, "the token&#39;s audience is"),
        (Lie::Key, "signature is wrong"),
        (Lie::Issuer, "is of issuer"),
        (Lie::Over, "time was over"),
        (Lie::NoToken, "has no id_token"),
        (Lie::Unsigned, "signed with"),
        (Lie::Subject, "of somebody else"),
    ] {
        issuer.lies(lie);
        // What a rule asks for is missing in the token, so that all of it is looked at.
        let response = comes(&mut browser, &issuer, &admin, &admin).await;
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{lie:?}");
        let text = text.replace('\'', "&#39;");
        assert!(text.contains(expect), "{lie:?}: {text}");
        assert!(is_outside(&mut browser).await, "{lie:?}");
    }
    issuer.lies(Lie::Nothing);
    assert_eq!(comes(&mut browser, &issuer, &admin, &admin).await.status(), StatusCode::OK);
    assert!(!is_outside(&mut browser).await);
}

#[tokio::test]
async fn a_login_is_the_browsers_that_began_it_and_good_once() {
    let issuer = Issuer::start().await;
    let mesh = mesh(&issuer).await;
    let (mut eve, mut bob) = (Browser::new(&mesh), Browser::new(&mesh));
    let admin = json!({"sub": "a", "groups": ["ops"]});
    // What came back to one browser, given to another that began none, and to one that began its own.
    let back = issuer.sends_back(location(&eve.get("/login/oidc").await), &admin, &admin);
    let text = bob.get(&back).await.text().await.unwrap();
    assert!(text.contains("began no login here"), "{text}");
    bob.get("/login/oidc").await;
    let text = bob.get(&back).await.text().await.unwrap();
    assert!(text.contains("of another login than the one that this browser began"), "{text}");
    assert!(is_outside(&mut bob).await && people(&mesh).await.is_empty());
    // Another issuer's answer (RFC 9207).
    let text = eve.get(&format!("{back}&iss=https%3A%2F%2Felsewhere.example")).await.text().await.unwrap();
    assert!(text.contains("of another login"), "{text}");
    // Tried, it is over; begun once more and come back, it is good once.
    let text = eve.get(&back).await.text().await.unwrap();
    assert!(text.contains("began no login here"), "{text}");
    let back = issuer.sends_back(location(&eve.get("/login/oidc").await), &admin, &admin);
    let held = eve.cookies.clone();
    assert_eq!(eve.get(&back).await.status(), StatusCode::OK);
    let mut copy = Browser::new(&mesh);
    copy.cookies = held;
    let text = copy.get(&back).await.text().await.unwrap();
    assert!(text.contains("does not take the code"), "{text}");
}

#[tokio::test]
async fn a_revoked_person_is_out_at_once_and_stays_so_until_readmitted() {
    let issuer = Issuer::start().await;
    let mesh = mesh(&issuer).await;
    let mut browser = Browser::new(&mesh);
    let bob = json!({"sub": "b", "groups": ["ops"], "preferred_username": "bob"});
    comes(&mut browser, &issuer, &bob, &bob).await;
    browser.text("/hosts").await;
    let (operator, id) = (mesh.operator(), people(&mesh).await[0].id.clone());
    operator.revoke_operator(&id).await.unwrap();
    assert!(is_outside(&mut browser).await, "the session ends with it");
    let response = comes(&mut browser, &issuer, &bob, &bob).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let text = response.text().await.unwrap();
    assert!(text.contains(&format!("picket operator readmit {id}")), "{text}");
    assert!(is_outside(&mut browser).await);
    assert!(operator.readmit_operator(&id).await.unwrap().revoked_at.is_none());
    operator.readmit_operator(&id).await.unwrap();
    comes(&mut browser, &issuer, &bob, &bob).await;
    browser.text("/hosts").await;
    // A token that was revoked may be in strangers' hands.
    let token = mesh.add_operator("viewer").await;
    let token = token.split('.').nth(1).unwrap().parse().unwrap();
    operator.revoke_operator(&token).await.unwrap();
    let error = operator.readmit_operator(&token).await.unwrap_err();
    assert_eq!(error.kind(), Some(ProblemKind::Conflict));
    let events = operator.events().await.unwrap();
    let readmitted: Vec<_> = events.iter().filter(|event| event.action == "operator.readmitted").collect();
    assert_eq!((readmitted.len(), readmitted[0].subject.as_str()), (1, id.as_str()));
}

#[tokio::test]
async fn an_issuer_that_cannot_be_asked_or_calls_itself_otherwise_leaves_the_token() {
    let issuer = Issuer::start().await;
    *issuer.played.name.lock().unwrap() = Some("https://elsewhere.example".to_owned());
    let mut mesh = mesh(&issuer).await;
    let mut browser = Browser::new(&mesh);
    let response = browser.get("/login/oidc").await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(response.text().await.unwrap().contains("speaks for issuer"));
    // It is asked again by who comes next.
    *issuer.played.name.lock().unwrap() = None;
    assert_eq!(browser.get("/login/oidc").await.status(), StatusCode::SEE_OTHER);
    mesh.stop().await;
    mesh.config = mesh.config.replace(&issuer.url, "https://127.0.0.1:1/realms/ops");
    mesh.resume().await;
    let mut browser = Browser::new(&mesh);
    let response = browser.get("/login/oidc").await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let token = mesh.token_of_operator();
    assert_eq!(location(&browser.log_in(&token).await), "/");
    // A secret that is not there is found at start, and named.
    mesh.stop().await;
    mesh.config = mesh.config.replace("/secret\"", "/no-such-secret\"");
    let error = format!("{:#}", mesh.try_resume().await.unwrap_err());
    assert!(error.contains("page.oidc.client_secret_file") && error.contains("no-such-secret"), "{error}");
}

#[tokio::test]
async fn without_the_section_there_is_no_such_way_in() {
    let mesh = Mesh::start_with(PAGE).await;
    let mut browser = Browser::new(&mesh);
    assert!(!browser.text("/login").await.contains("/login/oidc"));
    for path in ["/login/oidc", "/login/oidc/return?code=1&state=2"] {
        assert_eq!(browser.get(path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
}
