//! What runs here, and how the agent stands: its own program says it, which knows its files.

use super::{Asked, files, programs};
use crate::doctor::facts::{Agent, Part, Seen};
use picket_model::FirewallPolicy;
use serde::{Deserialize, de::DeserializeOwned};
use std::path::Path;

/// What `rules show --json` prints, as far as it is needed.
#[derive(Deserialize)]
struct Rules {
    policy: FirewallPolicy,
}

/// What this host is for, and its agent.
pub(super) async fn look(asked: &Asked) -> (Part, Seen<Option<Agent>>) {
    let mut agents = Vec::new();
    for part in [Part::Prep, Part::Sentry] {
        let Some(program) = programs::locate(part.program()) else { continue };
        agents.push((part, inquire(&program, asked).await));
    }
    let role = |agent: &Agent| agent.status.as_ref().ok().and_then(|status| Some(status.identity.as_ref()?.role));
    // Either program reads the files of both.
    let enrolled = agents.iter().find_map(|(_, agent)| role(agent));
    let installed = match agents.as_slice() {
        [(part, _)] => Some(*part),
        _ => None,
    };
    let part = asked
        .part
        .or(enrolled.map(Part::of))
        .or_else(|| if files::has_controller(Path::new("/")) { Some(Part::Controller) } else { installed });
    let part = part.unwrap_or(Part::Operator);
    let own = agents.into_iter().find(|(of, _)| *of == part).map(|(_, agent)| agent);
    (part, Ok(own))
}

async fn inquire(program: &Path, asked: &Asked) -> Agent {
    let folder = asked.state_dir.to_string_lossy();
    let status = json(program, &["status", "--json", "--state-dir", &folder]).await;
    let policy = json::<Rules>(program, &["rules", "show", "--json", "--state-dir", &folder]).await;
    Agent { status, policy: policy.map(|rules| rules.policy) }
}

async fn json<T: DeserializeOwned>(program: &Path, args: &[&str]) -> Seen<T> {
    let text = programs::ask(program, args).await?;
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    serde_json::from_str(&text).map_err(|error| format!("`{name} {}` says something else: {error}", args.join(" ")))
}
