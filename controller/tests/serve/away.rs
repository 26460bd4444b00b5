//! A database server that is away: hosts keep what they have, operators are told, and all goes on when it is back.

use crate::{
    fixture::{Agent, Mesh, eventually},
    operators::http,
};
use picket_api::{ApiError, ProblemKind, operator::CreateToken};
use picket_lab::Postgres;
use picket_model::NodeRole;

/// Asks once more for what a host has already; what went wrong, if anything did.
async fn asks(agent: &Agent) -> Result<(), ApiError> {
    agent.client().config(picket_model::Generation(0)).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_and_comes_back_costs_hosts_nothing_and_needs_no_restart() {
    let server = Postgres::start().unwrap();
    let mesh = Mesh::start_on(&server.database().unwrap(), "").await;
    let (prep, sentry) = (mesh.join(NodeRole::Prep, "prep-1").await, mesh.join(NodeRole::Sentry, "sentry-1").await);
    let before = prep.wanted().await;
    let status = mesh.status().await;
    for signal in ["INT", "KILL"] {
        let poll = prep.waiting(&mesh, &prep.wanted().await).await;
        mesh.status().await;
        server.stop(signal).unwrap();

        // Who changes something hears what is wrong, and nothing of it is half done.
        let error = mesh.operator().create_token(&CreateToken::new(NodeRole::Sentry, 1, 60)).await.unwrap_err();
        assert_eq!(error.kind(), Some(ProblemKind::Unavailable), "{error}");
        assert!(error.to_string().contains("database does not answer"), "{error}");
        // Who looks, and looked before, is told what was, and how old that is; whoever shows another token is told nothing.
        let ask = async |token: &str| {
            let call = http(&mesh).get(format!("{}/v1/status", mesh.operators_url())).bearer_auth(token);
            let answer = call.send().await.unwrap();
            let age = answer.headers().get("age").map(|age| age.to_str().unwrap().parse::<u64>().unwrap());
            (answer.status().as_u16(), age, answer.text().await.unwrap())
        };
        let (code, age, text) = ask(&mesh.token_of_operator()).await;
        assert!(code == 200 && age.is_some_and(|age| age < 60), "{code} {age:?}");
        assert!(text.contains(status.mesh.as_str()), "{text}");
        assert_eq!(ask(&format!("picket-op1.op-x.{}", "ab".repeat(32))).await.0, 503);
        // A poll that waits goes on; one that begins is told to come again, which an agent does.
        let error = asks(&sentry).await.unwrap_err();
        assert_eq!(error.kind(), Some(ProblemKind::Unavailable), "{error}");
        assert!(!poll.is_finished());

        server.resume().unwrap();
        eventually("the sentry's poll to be answered", async || asks(&sentry).await.is_ok()).await;
        eventually("a status of now", async || ask(&mesh.token_of_operator()).await.1.is_none()).await;
        // The one that waited all the time hears of the next change.
        let name = format!("sentry-after-{}", signal.to_lowercase());
        mesh.join(NodeRole::Sentry, &name).await;
        let news = poll.await.unwrap().unwrap().unwrap();
        assert!(news.revision > before.revision);
        // The list is asked for and judged again.
        let seen = mesh.status().await.sources[0].seen_at;
        eventually("the list to be judged", async || mesh.status().await.sources[0].seen_at > seen).await;
    }
    assert!(mesh.operator().verify_events().await.unwrap().broken.is_none());
}
