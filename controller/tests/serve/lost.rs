//! Answers that are lost: on the way, and by the end of the controller in the middle of a request. Nothing is done twice.

use crate::{
    fixture::{Mesh, eventually},
    operators::http,
};
use picket_api::{OperatorClient, Problem, ProblemKind, keys::IssueKey, operator::CreateToken};
use picket_model::{NodeRole, WireGuardPublicKey};
use picket_pki::client_config;
use sha2::{Digest as _, Sha256};
use sqlx::Connection as _;
use std::{net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What happens to answers on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Open,
    /// They are held back.
    Held,
    /// The connections on which they were are gone.
    Cut,
}

/// A way to the operators' listener on which answers can be lost.
struct Link {
    address: SocketAddr,
    way: Arc<watch::Sender<Way>>,
}

impl Link {
    async fn to(mesh: &Mesh) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, to) = (listener.local_addr().unwrap(), mesh.running().operators);
        let way = Arc::new(watch::Sender::new(Way::Open));
        let ways = way.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(to).await.unwrap();
                tokio::spawn(carry(client, server, ways.subscribe()));
            }
        });
        Self { address, way }
    }

    fn client(&self, mesh: &Mesh, token: &str) -> OperatorClient {
        let tls = client_config(mesh.ca(), None).unwrap();
        OperatorClient::new(format!("https://{}", self.address).parse().unwrap(), token.to_owned(), tls).unwrap()
    }

    /// Asks something over this way, whose answer is lost once `done` holds.
    async fn losing<T>(&self, asking: impl Future<Output = T>, done: impl AsyncFnMut() -> bool) -> T {
        let losing = async {
            eventually("the request to be carried out", done).await;
            self.way.send_replace(Way::Cut);
        };
        self.way.send_replace(Way::Held);
        tokio::join!(asking, losing).0
    }
}

/// Carries bytes both ways. A connection that is made once the way was cut is a new one, which is open.
async fn carry(mut client: TcpStream, mut server: TcpStream, mut way: watch::Receiver<Way>) {
    let is_old = *way.borrow() != Way::Cut;
    let (mut asked, mut told) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let is_open = !is_old || *way.borrow() == Way::Open;
        let read = tokio::select! {
            _ = way.changed() => {
                if is_old && *way.borrow() == Way::Cut { return }
                continue;
            }
            read = client.read(&mut asked) => read.map(|length| (&asked[..length], &mut server)),
            read = server.read(&mut told), if is_open => read.map(|length| (&told[..length], &mut client)),
        };
        let Ok((bytes, to)) = read else { return };
        if bytes.is_empty() || to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

fn laptop(replace: bool) -> IssueKey {
    let wireguard_key = WireGuardPublicKey::new(picket_pki::random().unwrap()).unwrap();
    IssueKey { name: "laptop".parse().unwrap(), role: NodeRole::Prep, wireguard_key, endpoint: None, replace }
}

#[tokio::test]
async fn an_answer_that_is_lost_on_the_way_is_asked_for_again_and_nothing_is_done_twice() {
    let mesh = Mesh::start().await;
    let token = mesh.add_operator("admin").await;
    let (link, admin) = (Link::to(&mesh).await, mesh.operator());
    let client = link.client(&mesh, &token);
    client.status().await.unwrap();
    let request = laptop(false);
    let issued =
        link.losing(client.issue_key(&request), async || admin.nodes().await.unwrap().len() == 1).await.unwrap();
    let nodes = admin.nodes().await.unwrap();
    assert_eq!((nodes.len(), &nodes[0].node), (1, &issued.node));
    assert_eq!(issued.node.wireguard_key, request.wireguard_key);
    let events = admin.events().await.unwrap();
    assert_eq!(events.iter().filter(|event| event.action == "key.issued").count(), 1);
}

#[tokio::test]
async fn a_key_whose_answer_is_lost_for_good_is_replaced_and_leaves_no_member_behind() {
    let mut mesh = Mesh::start().await;
    let token = mesh.add_operator("admin").await;
    let link = Link::to(&mesh).await;
    let client = link.client(&mesh, &token);
    client.status().await.unwrap();
    // Neither the first answer nor the second: the controller is gone as well.
    let (lost, nobodys) = (laptop(false), mesh.operator());
    let asking = tokio::spawn(async move { client.issue_key(&lost).await });
    link.way.send_replace(Way::Held);
    eventually("the member", async || nobodys.nodes().await.unwrap().len() == 1).await;
    mesh.stop().await;
    link.way.send_replace(Way::Cut);
    assert!(asking.await.unwrap().unwrap_err().is_answer_lost());
    mesh.resume().await;

    let operator = mesh.operator();
    let error = operator.issue_key(&laptop(false)).await.unwrap_err();
    assert_eq!(error.kind(), Some(ProblemKind::NameTaken));
    assert!(error.to_string().contains("--replace"), "{error}");
    let sentry = mesh.join(NodeRole::Sentry, "sentry-1").await;
    let before = sentry.wanted().await;
    let again = laptop(true);
    let issued = operator.issue_key(&again).await.unwrap();
    let nodes = operator.nodes().await.unwrap();
    let members: Vec<_> = nodes.iter().filter(|view| view.node.issued && view.node.is_active()).collect();
    assert_eq!((members.len(), &members[0].node), (1, &issued.node));
    // In one plan: the other end never has both.
    let peers = sentry.config(before.revision).await.full.wireguard.peers;
    assert_eq!(peers.keys().collect::<Vec<_>>(), [&again.wireguard_key]);
    let revoked = operator.events().await.unwrap().into_iter().find(|event| event.action == "node.revoked").unwrap();
    assert!(revoked.subject == "laptop" && revoked.detail.contains("replaced by a new key"), "{revoked:?}");
    // A host with an agent is not for anybody to replace.
    let host = IssueKey { name: "sentry-1".parse().unwrap(), ..laptop(true) };
    assert_eq!(operator.issue_key(&host).await.unwrap_err().kind(), Some(ProblemKind::NameTaken));
}

#[tokio::test]
async fn a_controller_that_ended_after_the_change_says_so_and_does_not_do_it_again() {
    let mut mesh = Mesh::start().await;
    let sentry = mesh.join(NodeRole::Sentry, "sentry-1").await;
    sentry.confirm(&sentry.wanted().await).await;
    mesh.join(NodeRole::Prep, "prep-1").await;
    let token = mesh.add_operator("admin").await;
    let ask = async |mesh: &Mesh| {
        let url = format!("{}/v1/nodes/prep-1/revoke?wait_ms=30000", mesh.operators_url());
        http(mesh).post(url).bearer_auth(&token).header("idempotency-key", "k").send().await
    };
    // It waits for the sentry, which never confirms; meanwhile the controller is gone without a farewell.
    tokio::select! {
        answer = ask(&mesh) => panic!("{answer:?}"),
        () = eventually("the revoke", async || {
            mesh.operator().events().await.unwrap().iter().any(|event| event.action == "node.revoked")
        }) => {}
    }
    drop(mesh.running.take());
    mesh.resume().await;
    let answer = ask(&mesh).await.unwrap();
    assert_eq!(answer.status(), 409);
    let problem: Problem = answer.json().await.unwrap();
    assert_eq!(problem.kind, ProblemKind::AnswerLost);
    assert!(problem.detail.contains("picket events"), "{problem}");
    let events = mesh.operator().events().await.unwrap();
    assert_eq!(events.iter().filter(|event| event.action == "node.revoked").count(), 1);
}

#[tokio::test]
async fn a_controller_that_ended_before_the_change_does_it_when_it_is_asked_again() {
    let mesh = Mesh::start().await;
    let token = mesh.add_operator("admin").await;
    let body = serde_json::to_string(&CreateToken::new(NodeRole::Prep, 1, 60)).unwrap();
    // As a controller of the version before leaves it that ends right after the key was taken.
    let asked = hex::encode(Sha256::digest(format!("POST /v1/tokens {body}")));
    let operator = token.split('.').nth(1).unwrap();
    let taken = "INSERT INTO answers (mesh, operator, key, request, at) SELECT id, $1, 'k', $2, $3 FROM meshes";
    let now = picket_model::Timestamp::from(std::time::SystemTime::now()).as_millis();
    let rows = match mesh.parsed().database {
        Some(server) => {
            let mut database = sqlx::PgConnection::connect(server.as_str()).await.unwrap();
            let taken = sqlx::query(taken).bind(operator).bind(asked).bind(now).execute(&mut database).await;
            taken.unwrap().rows_affected()
        }
        None => {
            let file = format!("sqlite://{}", mesh.state_dir().join("controller.db").display());
            let mut database = sqlx::SqliteConnection::connect(&file).await.unwrap();
            let taken = sqlx::query(taken).bind(operator).bind(asked).bind(now).execute(&mut database).await;
            taken.unwrap().rows_affected()
        }
    };
    assert_eq!(rows, 1);
    let url = format!("{}/v1/tokens", mesh.operators_url());
    let ask = async |key: &str| {
        let call = http(&mesh).post(&url).bearer_auth(&token).header("idempotency-key", key.to_owned());
        call.header("content-type", "application/json").body(body.clone()).send().await.unwrap()
    };
    let first = ask("k").await;
    assert!(first.status() == 200 && !first.headers().contains_key("idempotency-replayed"), "{first:?}");
    let second = ask("k").await;
    assert!(second.headers().contains_key("idempotency-replayed"), "{second:?}");
    assert_eq!(first.text().await.unwrap(), second.text().await.unwrap());
    assert_eq!(mesh.operator().tokens().await.unwrap().len(), 1);
}
