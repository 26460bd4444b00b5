//! The status page as a browser sees it, without one: who gets in, what headers every answer has, hostile texts, and what everybody
//! may see.

use crate::fixture::{Mesh, eventually, report};
use picket_controller::store::StoredReport;
use picket_lab::icon::Prep;
use picket_model::{ChainHealth, NodeReport, NodeRole, PeerHealth, Timestamp, WireGuardPublicKey, fixture::node};
use picket_pki::client_config;
use reqwest::{Client, Response, StatusCode, header, redirect::Policy};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

pub(crate) const PAGE: &str = "[page]\nlisten = \"127.0.0.1:0\"\n";
const PUBLIC: &str = "[page]\nlisten = \"127.0.0.1:0\"\n[page.public]\nlisten = \"127.0.0.1:0\"\ntitle = \"Our mesh\"\n\
                      show = [\"state\", \"hosts\", \"tunnels\", \"validators\", \"changes\"]\n";

/// A browser as far as it matters: what it holds, and the page it was given last.
pub(crate) struct Browser {
    http: Client,
    base: String,
    pub(crate) cookies: BTreeMap<String, String>,
}

impl Browser {
    pub(crate) fn new(mesh: &Mesh) -> Self {
        Self::at(mesh, mesh.running().page.unwrap())
    }

    /// At what everybody may see.
    fn of_anybody(mesh: &Mesh) -> Self {
        Self::at(mesh, mesh.running().public.unwrap())
    }

    fn at(mesh: &Mesh, address: SocketAddr) -> Self {
        let tls = client_config(mesh.ca(), None).unwrap();
        let http = Client::builder().tls_backend_preconfigured(tls).redirect(Policy::none()).build().unwrap();
        Self::with(http, format!("http://{address}"))
    }

    /// By this client, at this scheme, host and port.
    pub(crate) fn with(http: Client, base: String) -> Self {
        Self { http, base, cookies: BTreeMap::new() }
    }

    /// One that is logged in.
    pub(crate) async fn of(mesh: &Mesh, token: &str) -> Self {
        let mut browser = Self::new(mesh);
        let response = browser.log_in(token).await;
        assert_eq!((response.status(), location(&response)), (StatusCode::SEE_OTHER, "/"));
        browser
    }

    pub(crate) async fn log_in(&mut self, token: &str) -> Response {
        let form = self.text("/login").await;
        self.post("/login", &[("csrf", &field(&form, "csrf")), ("token", token)]).await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Response {
        self.get_from(path, "none").await
    }

    pub(crate) async fn get_from(&mut self, path: &str, from: &str) -> Response {
        let call = self.http.get(format!("{}{path}", self.base)).header(header::COOKIE, self.held());
        let call = call.header("sec-fetch-site", from);
        let response = call.send().await.unwrap();
        self.hold(&response);
        response
    }

    pub(crate) async fn text(&mut self, path: &str) -> String {
        let response = self.get(path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.text().await.unwrap()
    }

    pub(crate) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Response {
        self.post_from(path, fields, "same-origin").await
    }

    pub(crate) async fn post_from(&mut self, path: &str, fields: &[(&str, &str)], from: &str) -> Response {
        let body: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let call = self.http.post(format!("{}{path}", self.base)).header(header::COOKIE, self.held());
        let call =
            call.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").header("sec-fetch-site", from);
        let response = call.body(body.join("&")).send().await.unwrap();
        self.hold(&response);
        response
    }

    /// What every form of this browser's brings along.
    pub(crate) async fn csrf(&mut self) -> String {
        field(&self.text("/").await, "csrf")
    }

    fn held(&self) -> String {
        self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    fn hold(&mut self, response: &Response) {
        for line in response.headers().get_all(header::SET_COOKIE) {
            let line = line.to_str().unwrap();
            // An issuer sends the browser back, to which a strict one would not come along.
            let site = if line.contains("picket-oidc=") && !line.contains("Max-Age=0") { "Lax" } else { "Strict" };
            for attribute in ["; HttpOnly", "; Secure", &format!("; SameSite={site}"), "; Path=/"] {
                assert!(line.contains(attribute), "{line}");
            }
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            if line.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// The value of a hidden field.
pub(crate) fn field(page: &str, name: &str) -> String {
    let start = format!("name=\"{name}\" value=\"");
    assert!(page.contains(&start), "no field {name} in {page}");
    page.split_once(&start).unwrap().1.split('"').next().unwrap().to_owned()
}

pub(crate) fn location(response: &Response) -> &str {
    response.headers().get(header::LOCATION).map_or("", |to| to.to_str().unwrap())
}

#[tokio::test]
async fn a_token_becomes_a_session_and_a_session_ends() {
    let mesh = Mesh::start_with(PAGE).await;
    let token = mesh.add_operator("viewer").await;
    let mut browser = Browser::new(&mesh);
    for path in [
        "/",
        "/map",
        "/hosts",
        "/hosts/x",
        "/runbooks/PicketAlarm",
        "/validators",
        "/attack",
        "/attack/blocklist.txt",
        "/events",
        "/why",
    ] {
        let response = browser.get(path).await;
        let login = if path == "/" { "/login".to_owned() } else { format!("/login?to={path}") };
        assert_eq!((response.status(), location(&response)), (StatusCode::SEE_OTHER, &*login), "{path}");
    }
    // Tokens that are none, of nobody, and of one who makes tokens for hosts and looks at nothing.
    let enroller = mesh.add_operator("enroller").await;
    for wrong in ["", "nonsense<b>", &format!("picket-op1.op-x.{}", "ab".repeat(32)), &enroller] {
        let response = browser.log_in(wrong).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{wrong:?}");
        let text = response.text().await.unwrap();
        assert!(text.contains("role=\"alert\"") && !text.contains("<b>"), "{text}");
        assert!(wrong.is_empty() || !text.contains(wrong), "a token is not said back");
        assert!(!browser.cookies.contains_key("picket-session"));
    }
    // A form that this browser was not given.
    let response = browser.post("/login", &[("csrf", "0"), ("token", &token)]).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let mut other = Browser::new(&mesh);
    let foreign = field(&other.text("/login").await, "csrf");
    let response = browser.post("/login", &[("csrf", &foreign), ("token", &token)]).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);

    let response = browser.log_in(&token).await;
    assert_eq!((response.status(), location(&response)), (StatusCode::SEE_OTHER, "/"));
    let first = browser.cookies.clone();
    assert!(browser.text("/").await.contains("Is anything wrong?"));
    // Logged in once more, what it held before opens nothing.
    browser.log_in(&token).await;
    assert_ne!(browser.cookies["picket-session"], first["picket-session"]);
    let mut before = Browser::new(&mesh);
    before.cookies = first;
    assert_eq!(before.get("/").await.status(), StatusCode::SEE_OTHER);

    let csrf = browser.csrf().await;
    let (held, response) = (browser.cookies.clone(), browser.post("/logout", &[("csrf", &csrf)]).await);
    assert_eq!((response.status(), location(&response)), (StatusCode::SEE_OTHER, "/login"));
    browser.cookies = held;
    assert_eq!(browser.get("/").await.status(), StatusCode::SEE_OTHER, "the session itself is over");
    let events = mesh.operator().events().await.unwrap();
    let logins = events.iter().filter(|event| event.action == "operator.logged-in" && event.address.is_some());
    assert_eq!(logins.count(), 2);
}

#[tokio::test]
async fn a_link_leads_where_it_says_through_the_login_and_from_other_sites() {
    let mesh = Mesh::start_with(PAGE).await;
    let token = mesh.add_operator("viewer").await;
    let mut browser = Browser::new(&mesh);
    let link = "/why?address=198.51.100.11&port=7100";
    let login = location(&browser.get(link).await).to_owned();
    let form = browser.text(&login).await;
    assert_eq!(field(&form, "to"), link.replace('&', "&amp;"));
    let csrf = field(&form, "csrf");
    // A wrong token in between, and it still leads there.
    let again = browser.post("/login", &[("csrf", &csrf), ("token", "nonsense"), ("to", link)]).await;
    assert_eq!(field(&again.text().await.unwrap(), "to"), link.replace('&', "&amp;"));
    let response = browser.post("/login", &[("csrf", &csrf), ("token", &token), ("to", link)]).await;
    assert_eq!((response.status(), location(&response)), (StatusCode::SEE_OTHER, link));
    for elsewhere in ["https://evil.example/", "//evil.example/", "/\\evil.example/"] {
        let mut browser = Browser::new(&mesh);
        let csrf = field(&browser.text("/login").await, "csrf");
        let response = browser.post("/login", &[("csrf", &csrf), ("token", &token), ("to", elsewhere)]).await;
        assert_eq!(location(&response), "/", "{elsewhere}");
    }
    // From a chat the browser brings no session along, and a page of ours asks once more.
    let held = std::mem::take(&mut browser.cookies);
    let response = browser.get_from("/hosts?more=1", "cross-site").await;
    assert_eq!(response.status(), StatusCode::OK);
    let text = response.text().await.unwrap();
    assert!(text.contains("content=\"0; url=/hosts?more=1\"") && !text.contains("sentry"), "{text}");
    browser.cookies = held;
    assert_eq!(browser.get_from("/hosts?more=1", "same-origin").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_session_ends_with_its_operators_token_and_tries_are_limited() {
    let mesh = Mesh::start_with(PAGE).await;
    let token = mesh.add_operator("viewer").await;
    let mut browser = Browser::of(&mesh, &token).await;
    browser.text("/hosts").await;
    let id = token.split('.').nth(1).unwrap().parse().unwrap();
    mesh.operator().revoke_operator(&id).await.unwrap();
    assert_eq!(location(&browser.get("/hosts").await), "/login?to=/hosts");
    // Who sends no form of ours tries no token, and takes nobody's share.
    for _ in 0..70 {
        assert_eq!(browser.post("/login", &[("csrf", "x")]).await.status(), StatusCode::FORBIDDEN);
    }
    let csrf = field(&browser.text("/login").await, "csrf");
    let mut tries = 0;
    while browser.post("/login", &[("csrf", &csrf), ("token", "guess")]).await.status() == StatusCode::UNAUTHORIZED {
        tries += 1;
        assert!(tries < 1000, "nobody stops who guesses");
    }
    assert_eq!(browser.get("/login").await.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(tries >= 60, "{tries}");
}

#[tokio::test]
async fn every_answer_keeps_a_browser_from_doing_more_than_showing_it() {
    let mesh = Mesh::start_with(PUBLIC).await;
    let mut browser = Browser::of(&mesh, &mesh.token_of_operator()).await;
    let style =
        browser.text("/").await.split_once("/style.css?").map(|(_, rest)| format!("/style.css?{}", &rest[..16]));
    let mut anybody = Browser::of_anybody(&mesh);
    let own = [
        "/",
        "/map",
        "/hosts",
        "/validators",
        "/attack",
        "/events",
        "/why?address=x",
        "/login",
        "/nowhere",
        "/page.js",
        "/icon.svg",
    ];
    let mut answers = vec![anybody.get("/").await, anybody.get("/login").await, browser.get("/hosts/nobody").await];
    for path in own.into_iter().chain([style.as_deref().unwrap()]) {
        answers.push(browser.get(path).await);
    }
    answers.push(browser.post("/logout", &[]).await);
    for answer in answers {
        let policy = answer.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; ") && policy.contains("frame-ancestors 'none'")
        );
        assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{policy}");
        assert_eq!(answer.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(answer.headers()[header::REFERRER_POLICY], "no-referrer");
        let kept = answer.headers()[header::CACHE_CONTROL].to_str().unwrap().contains("immutable");
        let (path, is_html) =
            (answer.url().path().to_owned(), answer.headers()[header::CONTENT_TYPE].to_str().unwrap().contains("html"));
        let text = answer.text().await.unwrap();
        assert_eq!(kept, ["/style.css", "/page.js", "/icon.svg"].contains(&path.as_str()), "{path}");
        // Nothing that the policy would have to allow.
        for word in ["style=", "onclick", "javascript:", "<script>", "<style"] {
            assert!(!is_html || !text.contains(word), "{path} has {word}");
        }
    }
}

#[tokio::test]
async fn a_hostile_name_is_shown_and_does_nothing() {
    let mesh = Mesh::start_with(PUBLIC).await;
    mesh.join(NodeRole::Prep, "prep-1").await;
    let hostile = "</td><script>alert(1)</script>\" onmouseover='x' \u{202e}evil\u{0}";
    let mut preps: Vec<Prep> = mesh.icon.state().chain.preps.clone();
    preps[0]["name"] = hostile.into();
    preps[1]["name"] = "at 203.0.113.99 or ip-10-9-8-7".into();
    mesh.icon.set_preps(preps);
    let mut browser = Browser::of(&mesh, &mesh.token_of_operator()).await;
    let mut anybody = Browser::of_anybody(&mesh);
    eventually("the name to be shown", async || browser.text("/validators").await.contains("evil")).await;
    eventually("the name to be public", async || anybody.text("/").await.contains("evil")).await;
    for page in [
        browser.text("/validators").await,
        browser.text("/events").await,
        browser.text("/").await,
        anybody.text("/").await,
    ] {
        assert!(!page.contains("<script>") && !page.contains("\u{202e}") && !page.contains("' onmouse"), "{page}");
        assert!(!page.contains("\" onmouseover"), "{page}");
    }
    assert!(browser.text("/validators").await.contains("&lt;/td&gt;&lt;script&gt;alert(1)"));
    let public = anybody.text("/").await;
    assert!(public.contains("(name left out)") && !public.contains("203.0.113.99") && !public.contains("10-9-8-7"));
    // What is typed comes back as text, too.
    let why = browser.text(&format!("/why?address={}", encoded("\"><script>alert(2)</script>"))).await;
    assert!(why.contains("is no address") && !why.contains("<script>alert"), "{why}");
}

/// What was heard last does not stay good for ever.
#[tokio::test]
async fn a_host_that_is_silent_has_no_tunnel_that_is_known_to_be_up() {
    let mut mesh = Mesh::start_with(PUBLIC).await;
    mesh.join(NodeRole::Sentry, "sentry-1").await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    let wanted = prep.wanted().await;
    let store = mesh.store().await;
    mesh.stop().await;
    for (seconds, up, word) in [(0, "1 of 1", "state up"), (300, "0 of 1", "state unknown")] {
        let now = Timestamp::from(std::time::SystemTime::now());
        let received_at = now.minus(Duration::from_secs(seconds));
        let health = PeerHealth { last_handshake: Some(received_at), endpoint: None, received_bytes: 1, sent_bytes: 1 };
        let peers = wanted.full.wireguard.peers.keys().map(|key| (*key, health.clone())).collect();
        let chain = ChainHealth { state: "stopped".to_owned(), height: None, error: None };
        let said = NodeReport { peers, chain: Some(chain), ..report(&wanted) };
        let mut tx = store.write().await.unwrap();
        tx.put_reports(&[(prep.node.clone(), StoredReport { report: said, received_at })]).await.unwrap();
        tx.commit().await.unwrap();
        mesh.resume().await;
        let mut viewer = Browser::of(&mesh, &mesh.add_operator("viewer").await).await;
        let (map, overview) = (viewer.text("/map").await, viewer.text("/").await);
        assert!(map.contains(&format!("{up} tunnel")) && map.contains(word), "{seconds} s: {map}");
        let shown = format!("{up}</span><span class=\"what\">tunnels up");
        assert!(Browser::of_anybody(&mesh).text("/").await.contains(&shown), "{seconds} s");
        // So does its node, once a restart of it would be over.
        let is_told = overview.contains("host prep-1: the node beside it is not well since");
        assert_eq!(is_told, seconds > 0, "{overview}");
        mesh.stop().await;
    }
}

#[tokio::test]
async fn what_is_wrong_leads_to_its_host_and_to_what_to_do() {
    let mesh = Mesh::start_with(PAGE).await;
    mesh.join(NodeRole::Prep, "prep-1").await;
    let mut browser = Browser::of(&mesh, &mesh.add_operator("viewer").await).await;
    let status = mesh.status().await;
    let lagging = status.findings.iter().find(|finding| finding.kind == "host-lagging").unwrap();
    assert_eq!((lagging.host.as_deref(), status.alarms.len()), (Some("prep-1"), status.findings.len()));
    let link = format!("/runbooks/{}", lagging.runbook);
    let (overview, host) = (browser.text("/").await, browser.text("/hosts/prep-1").await);
    assert!(overview.contains("href=\"/hosts/prep-1\""), "{overview}");
    for page in [overview, host] {
        for part in [&lagging.todo, &format!("href=\"{link}\"")] {
            assert!(page.contains(part), "{part} not in {page}");
        }
    }
    assert!(browser.text(&link).await.contains("<h2>Fix</h2>"));
    assert_eq!(browser.get("/runbooks/README").await.status(), StatusCode::NOT_FOUND);
}

/// Sentries that come and go by themselves have names like `i-0…`; thousands of them are revoked by and by.
#[tokio::test]
async fn a_validator_is_found_behind_a_thousand_hosts_with_earlier_names() {
    let mesh = Mesh::start_with(PUBLIC).await;
    let agent = mesh.join(NodeRole::Prep, "prep-1").await;
    agent.confirm(&agent.wanted().await).await;
    let (store, issuer) = (mesh.store().await, "t-1".parse().unwrap());
    let mut tx = store.write().await.unwrap();
    for number in 0_u16..1005 {
        let [high, low] = number.to_be_bytes();
        let mut key = [7; 32];
        key[..2].copy_from_slice(&[high, low]);
        let mut host = node(&format!("i-{number:04}"), NodeRole::Sentry, 1);
        host.wireguard_key = WireGuardPublicKey::new(key).unwrap();
        host.tls_key_sha256 = format!("{number:064x}");
        host.overlay.v4 = [203, 0, 113 + high, low].into();
        host.overlay.v6 = [0xfd00, 0, 0, 0, 0, 0, 9, number].into();
        tx.insert_node(&host, &issuer).await.unwrap();
        tx.revoke_node(&host.id, host.enrolled_at).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut admin = Browser::of(&mesh, &mesh.add_operator("admin").await).await;
    let overview = admin.text("/").await;
    assert!(overview.contains("prep-1 is guarded") && !overview.contains("has joined yet"), "{overview}");
    let public = Browser::of_anybody(&mesh).text("/").await;
    assert!(public.contains("1 of 1</span><span class=\"what\">validators' hosts in force"), "{public}");
    for path in ["/hosts/prep-1", "/hosts/prep-1/revoke", "/hosts/i-1004"] {
        assert_eq!(admin.get(path).await.status(), StatusCode::OK, "{path}");
    }
    assert!(admin.text("/hosts").await.contains("prep-1") && admin.text("/why").await.contains(">prep-1<"));
}

#[tokio::test]
async fn what_everybody_may_see_has_no_address_and_is_off_unless_it_is_wanted() {
    let without = Mesh::start_with(PAGE).await;
    assert!(without.running().public.is_none());
    let mesh = Mesh::start_with(PUBLIC).await;
    let hosts = [mesh.join(NodeRole::Prep, "prep-1").await, mesh.join(NodeRole::Sentry, "sentry-1").await];
    for host in &hosts {
        host.client().report(&report(&host.wanted().await)).await.unwrap();
    }
    let mut anybody = Browser::of_anybody(&mesh);
    let mut page = String::new();
    eventually("hosts to be told of", async || {
        page = anybody.text("/").await;
        page.contains("1 of 1") && page.contains("a host joined")
    })
    .await;
    assert!(page.contains("Our mesh") && anybody.cookies.is_empty(), "{page}");
    let (validators, nodes) = (mesh.operator().validators().await.unwrap(), mesh.operator().nodes().await.unwrap());
    let mut secrets: Vec<String> =
        vec!["127.0.0.1".to_owned(), mesh.status().await.mesh.to_string(), mesh.token_of_operator()];
    for validator in &validators.validators {
        secrets.extend(validator.addresses.iter().map(ToString::to_string));
        secrets.extend([
            validator.prep.to_string(),
            validator.endpoint.to_string(),
            validator.endpoint.host.to_string(),
        ]);
    }
    for view in &nodes {
        let (node, overlay) = (&view.node, &view.node.overlay);
        secrets.extend([overlay.v4.to_string(), overlay.v6.to_string(), node.name.to_string(), node.id.to_string()]);
        secrets.extend(node.endpoint.map(|endpoint| endpoint.ip().to_string()));
    }
    assert!(secrets.len() > 300, "{}", secrets.len());
    for secret in secrets {
        assert!(!page.contains(&secret), "{secret} is shown to everybody");
    }
    for path in ["/login", "/hosts", "/events", "/live", "/validators"] {
        assert_eq!(anybody.get(path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
}
