//! The runbooks, where they are needed: on the page itself. They are written under `docs/runbooks`; here they become HTML.

use crate::Frame;
use maud::{Markup, html};

macro_rules! pages {
    ($($name:literal)*) => { [$(($name, include_str!(concat!("../../../docs/runbooks/", $name, ".md")))),*] };
}

/// Each by its name.
const PAGES: [(&str, &str); 29] = pages![
    "PicketAgentDown" "PicketAlarm" "PicketApiErrors" "PicketCaEnds" "PicketCertificateEnds" "PicketChangeTakenBack"
    "PicketChangeUnfinished" "PicketControllerDown" "PicketDatabaseAway" "PicketFirewallDisturbed" "PicketFirewallNotInForce"
    "PicketHostAttacked" "PicketHostNotInForce" "PicketHostSilent" "PicketListHeld" "PicketListStale" "PicketMissedBlocks"
    "PicketNoQuorum" "PicketNodeBehind" "PicketNodeDiskFull" "PicketNodeDown" "PicketNodeNotWell" "PicketPenalty"
    "PicketRevokedReturned" "PicketSourceDissents" "PicketSourceFailing" "PicketTrackingFull" "PicketTunnelLossy"
    "PicketTunnelSilent"
];

/// The page of one; `None` where there is none of that name.
pub fn runbook(frame: &Frame, name: &str) -> Option<Markup> {
    let (name, text) = PAGES.into_iter().find(|(known, _)| *known == name)?;
    Some(frame.still(name, &html! { h1 { (name) } (written(text)) }))
}

/// The little of Markdown that they are written in: headings, paragraphs, lists, and code within a line.
fn written(text: &str) -> Markup {
    let blocks = text.split("\n\n").map(str::trim).filter(|block| !block.is_empty() && !block.starts_with("# "));
    html! {
        @for block in blocks {
            @if let Some(heading) = block.strip_prefix("## ") { h2 { (heading) } }
            @else if block.starts_with("- ") { ul { @for item in items(block) { li { (line(&item)) } } } }
            @else if block.starts_with("1. ") { ol { @for item in items(block) { li { (line(&item)) } } } }
            @else { p { (line(&block.replace('\n', " "))) } }
        }
    }
}

/// A line that begins with a space goes on with the one before.
fn items(block: &str) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    for line in block.lines() {
        match items.last_mut() {
            Some(last) if line.starts_with(' ') => last.extend([" ", line.trim()]),
            _ => items.push(line.split_once(' ').map_or("", |(_, text)| text).to_owned()),
        }
    }
    items
}

fn line(text: &str) -> Markup {
    html! {
        @for (place, part) in text.split('`').enumerate() {
            @if place % 2 == 1 { code { (part) } } @else { (part.replace('*', "")) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Section, fixture::frame};
    use std::{collections::BTreeSet, path::Path};

    #[test]
    fn every_runbook_is_here_and_each_can_be_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/runbooks");
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        let names: BTreeSet<String> = files
            .filter_map(|file| Some(file.strip_suffix(".md")?.to_owned()))
            .filter(|name| name != "README")
            .collect();
        assert_eq!(names, PAGES.map(|(name, _)| name.to_owned()).into());
        for name in names {
            let page = runbook(&frame(Section::Overview), &name).unwrap().into_string();
            for part in ["<h2>Meaning</h2>", "<h2>Check</h2>", "<h2>Fix</h2>", "<li>"] {
                assert!(page.contains(part), "{name} lacks {part}");
            }
            let text = page.split_once("<main").unwrap().1;
            assert!(!text.contains('`') && !text.contains("## ") && !text.contains("]("), "{name}: {text}");
        }
        assert!(runbook(&frame(Section::Overview), "../README").is_none());
    }

    #[test]
    fn what_is_code_and_what_goes_on_is_kept_together() {
        let text = "# X\n\n*Warning.* It\nlasts.\n\n1. `a <b>`: one\n   and more.\n2. Two\n\n- c";
        assert_eq!(
            written(text).into_string(),
            "<p>Warning. It lasts.</p><ol><li><code>a &lt;b&gt;</code>: one and more.</li><li>Two</li></ol><ul><li>c</li></ul>"
        );
    }
}
