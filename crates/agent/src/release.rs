//! Opening the host by hand, and closing it again: the only way in which guarded ports become open. A marker in the state
//! folder says that somebody wanted it, until `close`; whoever brings a firewall into force looks at it first.

use crate::{
    cli::Place,
    identity::Keys,
    lockdown::lockdown,
    reconcile::remove_device,
    state::{Kind, StateDir, StateError},
};
use anyhow::{Context as _, Result, bail, ensure};
use picket_firewall::{Firewall, Nft};
use picket_model::Timestamp;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, IsTerminal as _, Write as _, stdin, stdout};
use tracing::error;

const MARKER: Kind = Kind { name: "released.json", version: 1, remedy: "remove it: this host is guarded then" };

/// Since when the host is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Released {
    /// When somebody opened it.
    pub at: Timestamp,
}

/// Whether somebody opened the host, and since when.
pub fn released(state: &StateDir) -> Result<Option<Released>, StateError> {
    state.read_json(MARKER)
}

/// Whether somebody opened the host. A marker that cannot be read opens nothing.
pub fn is_released(state: &StateDir) -> bool {
    released(state)
        .unwrap_or_else(|error| {
            error!(%error, "whether this host was released is not known: it is guarded");
            None
        })
        .is_some()
}

/// Ends a release, if there is one; who joins a mesh is guarded.
pub fn end(state: &StateDir) -> Result<(), StateError> {
    state.remove(MARKER.name)
}

/// Opens every guarded port of this host, until `close`; asks on a terminal unless told that it is meant.
pub async fn release(place: &Place, yes: bool, now: Timestamp) -> Result<String> {
    if !yes {
        ensure!(
            stdin().is_terminal(),
            "this opens every guarded port of this host; say --yes if that is what you want"
        );
        let name = nix::unistd::gethostname().context("read the host name")?.to_string_lossy().into_owned();
        print!(
            "This opens every guarded port of this host to everybody, and ends its tunnels.\nType its name, {name}, to go on: "
        );
        stdout().flush().context("ask")?;
        if !agrees(&mut stdin().lock(), &name)? {
            bail!("that is not its name; nothing was changed");
        }
    }
    // An agent that runs has the tunnels in hand, and ends them when it next looks.
    let agent = StateDir::new(&place.state_dir).is_locked();
    open(place, now, !agent).await?;
    Ok("released: every guarded port of this host is open to everybody until `close`; a restart leaves it so"
        .to_owned())
}

/// The marker first: an agent that runs would close what it does not know to be meant.
pub(crate) async fn open(place: &Place, now: Timestamp, and_tunnels: bool) -> Result<()> {
    let state = StateDir::new(&place.state_dir);
    let nft = Nft::locate()?;
    state.make().and_then(|()| state.write_json(MARKER, &Released { at: now })).context("nothing was opened")?;
    let own = Keys::load(&state).ok().map(|keys| keys.wireguard_public());
    let removed = if and_tunnels { remove_device(&place.interface.to_string(), own).await } else { Ok(()) };
    Firewall::new(nft).remove().await?;
    removed.context("the firewall was removed, the tunnels were not")
}

/// Ends a release: the host's firewall is in force when this returns. An agent that runs brings the tunnels back.
pub async fn close(place: &Place) -> Result<String> {
    let state = StateDir::new(&place.state_dir);
    let was = released(&state).ok().flatten();
    end(&state)?;
    lockdown(place).await?;
    Ok(match was {
        Some(Released { at }) => format!("closed: this host was open since {at}"),
        None => "this host was not released; its firewall is in force".to_owned(),
    })
}

fn agrees(from: &mut impl BufRead, name: &str) -> Result<bool> {
    let mut line = String::new();
    from.read_line(&mut line).context("read the answer")?;
    Ok(!name.is_empty() && line.trim() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hosts_whole_name_opens_it() {
        for (said, opens) in [("prep-1\n", true), ("prep-1", true), ("prep\n", false), ("y\n", false), ("", false)] {
            assert_eq!(agrees(&mut said.as_bytes(), "prep-1").unwrap(), opens, "{said:?}");
        }
        assert!(!agrees(&mut "\n".as_bytes(), "").unwrap());
    }

    #[test]
    fn a_marker_opens_until_it_is_ended_and_a_damaged_one_opens_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path());
        assert!(!is_released(&state));
        state.write_json(MARKER, &Released { at: Timestamp::from_millis(7) }).unwrap();
        assert!(is_released(&state));
        for damaged in [&b""[..], b"{}", b"{\"version\":1,\"content\":{\"at\":\"x\"}}"] {
            state.write(MARKER.name, damaged).unwrap();
            assert!(!is_released(&state));
        }
        end(&state).unwrap();
        end(&state).unwrap();
        assert!(!is_released(&state) && released(&state).unwrap().is_none());
    }
}
