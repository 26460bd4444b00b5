//! Lists page by page: whole, in order, each entry once, whatever happens meanwhile.

use crate::{
    fixture::{Host, Mesh},
    operators::http,
};
use picket_api::{
    ApiError, Problem, ProblemKind,
    identities::ForbidIdentity,
    keys::IssueKey,
    operator::{CreateToken, ListQuery, NodesQuery, Page, RevokeQuery},
    operators::CreateOperator,
};
use picket_model::{NodeRole, WireGuardPublicKey};
use picket_pki::OperatorRole;

fn query(after: Option<&str>, limit: usize) -> ListQuery {
    ListQuery { after: after.map(str::to_owned), limit: Some(limit) }
}

fn nodes_query(pool: Option<&str>, ListQuery { after, limit }: ListQuery) -> NodesQuery {
    NodesQuery { pool: pool.map(|pool| pool.parse().unwrap()), after, limit }
}

/// Follows a list by pages of two.
async fn followed<T>(mut page: impl AsyncFnMut(ListQuery) -> Result<Page<T>, ApiError>) -> (Vec<T>, usize) {
    let (mut all, mut pages, mut after) = (Vec::new(), 0, None);
    loop {
        let Page { items, next } = page(query(after.as_deref(), 2)).await.unwrap();
        assert!(items.len() == 2 || next.is_none());
        (pages, after) = (pages + 1, next);
        all.extend(items);
        if after.is_none() {
            return (all, pages);
        }
    }
}

async fn issued(mesh: &Mesh, name: &str) {
    let wireguard_key = WireGuardPublicKey::new(picket_pki::random().unwrap()).unwrap();
    let request =
        IssueKey { name: name.parse().unwrap(), role: NodeRole::Prep, wireguard_key, endpoint: None, replace: false };
    mesh.operator().issue_key(&request).await.unwrap();
}

#[tokio::test]
async fn every_list_is_whole_and_in_order() {
    let mesh = Mesh::start().await;
    let operator = mesh.operator();
    // Two of one name: the revoked one stays in the list.
    for name in ["d", "b", "a", "c"] {
        issued(&mesh, name).await;
    }
    operator.revoke("b", &RevokeQuery { wait_ms: Some(0) }).await.unwrap();
    issued(&mesh, "b").await;
    for _ in 0..5 {
        operator.create_token(&CreateToken::new(NodeRole::Prep, 1, 60)).await.unwrap();
        let request = CreateOperator { role: OperatorRole::Viewer, expires_seconds: None, comment: String::new() };
        operator.create_operator(&request).await.unwrap();
    }
    for instance in ["i-2", "i-1", "i-3"] {
        let request = ForbidIdentity { identity: format!("aws/123456789012/{instance}") };
        operator.forbid_identity(&request).await.unwrap();
    }

    let (nodes, pages) = followed(async |query| operator.nodes_page(&nodes_query(None, query)).await).await;
    let names: Vec<&str> = nodes.iter().map(|view| view.node.name.as_str()).collect();
    assert_eq!((names, pages), (vec!["a", "b", "b", "c", "d"], 3));
    assert_eq!(nodes, operator.nodes().await.unwrap());
    let (tokens, pages) = followed(async |query| operator.tokens_page(&query).await).await;
    assert_eq!((tokens.len(), pages), (5, 3));
    assert!(tokens.is_sorted_by_key(|token| (token.created_at, token.id.clone())));
    assert_eq!(tokens, operator.tokens().await.unwrap());
    let (operators, _) = followed(async |query| operator.operators_page(&query).await).await;
    assert_eq!((operators.len(), operators == operator.operators().await.unwrap()), (6, true));
    let (identities, pages) = followed(async |query| operator.identities_page(&query).await).await;
    let ends: Vec<&str> = identities.iter().map(|view| view.identity.rsplit('/').next().unwrap()).collect();
    assert_eq!((ends, pages), (vec!["i-1", "i-2", "i-3"], 2));
    assert_eq!(identities, operator.identities().await.unwrap());
}

#[tokio::test]
async fn the_hosts_of_a_pool_come_page_by_page_and_no_others() {
    let mesh = Mesh::start().await;
    let operator = mesh.operator();
    for (pool, names) in [(Some("edge"), ["a", "d", "e"]), (Some("edge-2"), ["b", "f", "g"]), (None, ["c", "h", "i"])] {
        let terms = CreateToken::new(NodeRole::Sentry, 3, 60);
        let made = operator.create_token(&CreateToken { pool: pool.map(|pool| pool.parse().unwrap()), ..terms }).await;
        let token = made.unwrap().token;
        for name in names {
            Host::new(NodeRole::Sentry, name).enroll(&mesh, &token).await.unwrap();
        }
    }
    // One that is revoked stays in its pool, as in the list of all.
    operator.revoke("d", &RevokeQuery { wait_ms: Some(0) }).await.unwrap();

    for (pool, expect) in [("edge", vec!["a", "d", "e"]), ("edge-2", vec!["b", "f", "g"]), ("edg", vec![])] {
        let found = followed(async |query| operator.nodes_page(&nodes_query(Some(pool), query)).await).await;
        let names: Vec<&str> = found.0.iter().map(|view| view.node.name.as_str()).collect();
        assert_eq!((&names, found.1), (&expect, expect.len().div_ceil(2).max(1)), "{pool}");
        assert_eq!(found.0, operator.nodes_of(Some(&pool.parse().unwrap())).await.unwrap());
    }
    assert_eq!(operator.nodes().await.unwrap().len(), 9);

    let url = format!("{}/v1/nodes?pool=Edge%201", mesh.operators_url());
    let answer = http(&mesh).get(url).bearer_auth(mesh.token_of_operator()).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 400);
    let problem: Problem = answer.json().await.unwrap();
    assert!(problem.detail.contains("pool name"), "{problem}");
}

#[tokio::test]
async fn a_page_goes_on_where_the_one_before_ended_though_its_last_entry_is_gone() {
    let mesh = Mesh::start().await;
    let operator = mesh.operator();
    for _ in 0..4 {
        operator.create_token(&CreateToken::new(NodeRole::Prep, 1, 60)).await.unwrap();
    }
    let all = operator.tokens().await.unwrap();
    let first = operator.tokens_page(&query(None, 2)).await.unwrap();
    let store = mesh.store().await;
    let mut tx = store.write().await.unwrap();
    // All that are there by now are deleted, and others come.
    assert_eq!(
        tx.delete_tokens_expired(all[3].expires_at.plus(std::time::Duration::from_secs(1))).await.unwrap().len(),
        4
    );
    tx.commit().await.unwrap();
    let made = operator.create_token(&CreateToken::new(NodeRole::Prep, 1, 60)).await.unwrap();
    let rest = operator.tokens_page(&query(first.next.as_deref(), 2)).await.unwrap();
    assert_eq!((rest.items.len(), &rest.items[0].id, rest.next), (1, &made.id, None));
}

#[tokio::test]
async fn what_is_no_limit_and_no_place_is_refused_with_what_to_give() {
    let mesh = Mesh::start().await;
    let operator = mesh.operator();
    let check = |error: Option<ApiError>, expect: &str| {
        let error = error.unwrap();
        assert_eq!(error.kind(), Some(ProblemKind::BadRequest));
        assert!(error.to_string().contains(expect), "{error}");
    };
    for (after, limit, expect) in [
        (None, 0, "1 to 1000"),
        (None, 1001, "1 to 1000"),
        (Some(""), 1, "`next` of the page before"),
        (Some("../x"), 1, "`next` of the page before"),
        (Some("x:y:z"), 1, "`next` of the page before"),
    ] {
        let query = query(after, limit);
        check(operator.nodes_page(&nodes_query(None, query.clone())).await.err(), expect);
        check(operator.tokens_page(&query).await.err(), expect);
        check(operator.operators_page(&query).await.err(), expect);
        check(operator.identities_page(&query).await.err(), expect);
    }
}
