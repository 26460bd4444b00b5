//! `docs/install.md` as somebody follows it: its blocks, taken out of the document in order, typed where it says, with what stands for
//! something of one's own replaced. A block that is new, gone or elsewhere fails here first.

use super::{packages, site::Site};
use crate::{Machine, steps::Seen};
use anyhow::{Context as _, Result, bail, ensure};

/// Where a block is typed, or into which file of that machine it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    OnController,
    OnHost,
    InConfiguration,
    InGuard,
}

/// What the document has, block by block: where, and what each begins with.
const BLOCKS: [(Place, &str); 10] = [
    (Place::OnController, "apt install ./picket-controller_"),
    (Place::InConfiguration, "[policy]\nadmin = ["),
    (Place::OnController, "picket-controller check\nsystemctl start picket-controller\nuntil picket-controller ready"),
    (Place::OnController, "picket status"),
    (Place::OnHost, "apt install ./picket-sentry-agent_"),
    (Place::InGuard, "admin = ["),
    (Place::OnController, "picket token create --role sentry"),
    (Place::OnHost, "PICKET_JOIN_TOKEN=picket1.… picket-sentry-agent enroll"),
    (Place::OnController, "picket nodes"),
    (Place::OnController, "picket audit prep-1"),
];
/// Which of them make a host a member: "the same" for each role.
const MEMBER: std::ops::Range<usize> = 4..8;
/// The one of those that prints the token.
const TOKEN_IS_MADE: usize = 6;
/// What the document's examples say, where a reader has something of his own.
const ADMIN: &str = "\"203.0.113.0/28\"";
const TOKEN: &str = "picket1.…";
const CONTROLLER: &str = "CONTROLLER:";
const PREP: &str = "--address 203.0.113.9";

/// Follows it on machines that are bare again.
pub(super) fn followed(site: &mut Site) -> Seen {
    site.ansible.play("remove", &site.packages, &["-e", "picket_purge=true"])?.success()?;
    for (name, machine) in site.machines() {
        let left = machine.run(&["sh", "-c", "ls -d /var/lib/picket /etc/picket /usr/bin/picket* 2>/dev/null"])?.stdout;
        ensure!(left.is_empty(), "after a purge {name} has {left}");
        // Of the steps before; a reader has the packages of one version in that folder.
        machine.run(&["sh", "-c", "rm -f ~root/*.deb"])?;
        let files: Vec<_> =
            packages::NAMES.iter().map(|name| packages::file(&site.packages, name)).collect::<Result<_>>()?;
        site.ansible.copy(&files, machine.ports(0)[0].ip())?;
    }
    let blocks = blocks(&site.document);
    let found: Vec<&str> = blocks.iter().map(|block| block.lines().next().unwrap_or_default()).collect();
    ensure!(blocks.len() == BLOCKS.len(), "the document has other blocks than this knows: {found:?}");
    for ((_, begins), block) in BLOCKS.iter().zip(&blocks) {
        ensure!(block.starts_with(begins), "a block begins with {block:?} where {begins:?} was");
    }
    let follow = |index: usize, role: &str, token: &str| -> Result<String> {
        let ((place, _), block) = BLOCKS.get(index).zip(blocks.get(index)).context("no such block")?;
        let text = block.replace("sentry", role).replace(TOKEN, token).replace(ADMIN, &site.admin_networks());
        let text = text.replace(CONTROLLER, &format!("{}:", site.controller.ports(0)[0].ip()));
        let text = text.replace(PREP, &format!("--address {}", site.prep.ports(0)[0].ip()));
        let host = if role == "prep" { &site.prep } else { &site.sentry };
        match place {
            Place::OnController => typed(&site.controller, &text),
            Place::OnHost => typed(host, &text),
            Place::InConfiguration => {
                let (end, chain) = Site::beside_a_chain();
                let file = "/etc/picket/controller.toml";
                typed(&site.controller, &format!("cat >> {file} <<'END'\n{text}{end}END\n"))?;
                let chain = chain.trim_end().replace('\n', "\\n");
                typed(&site.controller, &format!("sed -i 's|^\\[chain\\]$|&\\n{chain}|' {file}"))
            }
            Place::InGuard => typed(host, &format!("cat >> /etc/picket/guard.toml <<'END'\n{text}END\n")),
        }
    };
    for index in 0..MEMBER.start {
        follow(index, "sentry", "")?;
    }
    for role in ["sentry", "prep"] {
        let mut token = String::new();
        for index in MEMBER {
            let said = follow(index, role, token.trim())?;
            if index == TOKEN_IS_MADE {
                token = said;
            }
        }
    }
    site.wait_in_force()?;
    site.is_guarded()?;
    site.tunnel_carries()?;
    let said =
        (MEMBER.end..BLOCKS.len()).map(|index| follow(index, "sentry", "")).collect::<Result<Vec<_>>>()?.concat();
    ensure!(said.contains("prep-1") && said.contains("sentry-1"), "the last blocks say {said}");
    Ok(format!("{} blocks; in force, validators reach the P-Rep, strangers do not", blocks.len()))
}

/// What a shell prints to it, as root in the folder with the packages.
fn typed(machine: &Machine, text: &str) -> Result<String> {
    let output = machine.run(&["sh", "-e", "-c", &format!("cd /root\n{text}")])?;
    // These end with 2 where something wants attention: a mesh without hosts, a lab without a name server.
    let last = text.trim_end().lines().next_back().unwrap_or_default();
    let may_want_attention = ["picket status", "picket doctor"].iter().any(|command| last.starts_with(command));
    if output.status.success() || (output.status.code() == Some(2) && may_want_attention) {
        return Ok(output.stdout);
    }
    bail!("{text:?} ended with {}: {}{}", output.status, output.stdout, output.stderr)
}

/// The fenced blocks of a document that are typed or written, in order.
fn blocks(document: &str) -> Vec<String> {
    let parts = document.split("```").skip(1).step_by(2);
    let ours = parts.filter_map(|part| part.strip_prefix("sh\n").or_else(|| part.strip_prefix("toml\n")));
    ours.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_the_blocks_that_are_followed() {
        let found = blocks(include_str!("../../../../docs/install.md"));
        let begins: Vec<&str> = BLOCKS.iter().map(|(_, begins)| *begins).collect();
        assert_eq!(found.len(), begins.len(), "{found:#?}");
        assert!(found.iter().zip(&begins).all(|(block, begins)| block.starts_with(begins)), "{found:#?}");
        assert!(found.concat().contains(PREP) && found.concat().contains(CONTROLLER), "{found:#?}");
    }

    #[test]
    fn only_blocks_of_known_kinds_are_taken() {
        let text = "a\n```sh\nb\nc\n```\nd `e`\n```text\nf\n```\n```toml\ng\n```\n";
        assert_eq!(blocks(text), ["b\nc\n", "g\n"]);
    }
}
