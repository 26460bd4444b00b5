//! `picket`: reads the arguments, asks the controller, prints, and ends with a status that scripts can use.
//! What an answer looks like is decided in `show`, without IO.

mod advertise;
mod args;
mod audit;
mod cloud_init;
mod colour;
mod context;
mod contexts;
mod cut;
mod doctor;
mod drain;
mod follow;
mod here;
mod init;
mod keys;
mod quote;
mod run;
mod show;
mod table;
mod time;
mod top;

use args::{Arguments, Command, Verb};
use clap::Parser as _;
use picket_progress::Progress;
use run::Outcome;
use std::{
    io::{self, Write},
    process::ExitCode,
    time::SystemTime,
};

/// Exit status of a verb that could not be carried out, wrong arguments included.
const FAILED: u8 = 1;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nobody is left to be told that the pipe is closed.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { FAILED } else { 0 });
        }
    };
    let done = match &arguments.command {
        Command::Mesh(verb) => ask(&arguments, verb).await,
        Command::Here(here) => here::run(&arguments, here).await,
    };
    let outcome = match done {
        Ok(outcome) => outcome,
        Err(error) => Outcome {
            stderr: format!("picket: {}\n", table::visible(&run::sentence(&error))),
            code: FAILED,
            ..Outcome::default()
        },
    };
    print(io::stderr(), &outcome.stderr);
    print(io::stdout(), &outcome.stdout);
    ExitCode::from(outcome.code)
}

async fn ask(arguments: &Arguments, verb: &Verb) -> anyhow::Result<Outcome> {
    let client = context::client(&arguments.connection, |name| std::env::var(name).ok())?;
    let client = client.because(arguments.reason.clone());
    let progress = if verb.draws_itself() { Progress::silent() } else { Progress::begin("the controller") };
    let done = run::run(&client, verb, arguments.json, SystemTime::now().into(), &progress).await;
    drop(progress);
    done.map(|outcome| outcome.of_before(client.age()))
}

/// A reader that has gone away (`picket events | head`) is no fault of ours.
fn print(mut to: impl Write, text: &str) {
    let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
}
