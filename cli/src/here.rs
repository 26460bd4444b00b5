//! Verbs that are carried out on this machine, without a controller or beside one.

use crate::{
    args::{Arguments, Here},
    cloud_init, context, contexts, doctor,
    doctor::facts::{Answer, Controller},
    init,
    run::{ATTENTION, Outcome, outcome, sentence},
    show,
};
use clap::CommandFactory as _;
use picket_model::Timestamp;
use picket_progress::Progress;
use std::time::SystemTime;

/// Carries one out.
pub(crate) async fn run(arguments: &Arguments, here: &Here) -> anyhow::Result<Outcome> {
    match here {
        Here::Doctor(asked) => {
            let connection = &arguments.connection;
            let progress = Progress::begin("what this host is to say");
            // Who has no context is no operator here, and there is nothing to find fault with.
            let client = context::client(connection, |name| std::env::var(name).ok()).ok();
            let operator = match &client {
                Some(client) => {
                    progress.now(format!("the controller {}", client.base()));
                    Some(operator(client).await)
                }
                None => None,
            };
            let facts = doctor::look(asked, connection.ca, operator, SystemTime::now().into(), &progress).await;
            drop(progress);
            let report = doctor::Report::new(facts.part, doctor::findings(&facts));
            let code = if report.wants_attention(asked.strict) { ATTENTION } else { 0 };
            outcome(&report, arguments.json, code, show::doctor::page)
        }
        Here::CloudInit(asked) => {
            let text = cloud_init::user_data(asked, arguments.connection.ca)?;
            Ok(Outcome { stdout: text.into(), ..Outcome::default() })
        }
        Here::Init(asked) => Ok(Outcome { stdout: init::init(asked)?.into(), ..Outcome::default() }),
        Here::Contexts => {
            let known = contexts::known(&|name| std::env::var(name).ok())?;
            outcome(&known, arguments.json, 0, |known| contexts::page(known))
        }
        Here::Manual(manual) => {
            manual.write(Arguments::command())?;
            Ok(Outcome::default())
        }
    }
}

/// The controller of the context, asked as its operator.
async fn operator(client: &picket_api::OperatorClient) -> Controller {
    let asked: Timestamp = SystemTime::now().into();
    let status = client.status().await;
    let answer = status.map(|status| Answer { ahead_ms: Some(status.now.as_millis() - asked.as_millis()) });
    let url = client.base().to_string().trim_end_matches('/').to_owned();
    Controller { url, pinned: true, answer: answer.map_err(|error| sentence(&error.into())) }
}
