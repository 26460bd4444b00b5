//! What is wrong, with what to do about it and where to look: one line each, as the overview and a host's page have them.

use crate::text::plain;
use maud::{Markup, html};
use picket_api::operator::FindingView;

/// One line below an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it says.
    pub text: String,
    /// The page that says more of it.
    pub path: Option<String>,
    /// What to do about it.
    pub todo: Option<Todo>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Todo {
    /// In one line.
    pub text: String,
    /// The runbook that has more.
    pub runbook: String,
}

impl From<String> for Line {
    fn from(text: String) -> Self {
        Self { text, path: None, todo: None }
    }
}

/// Findings as lines. Those of one kind stand together, and the last has what to do about all of them.
pub(crate) fn found(findings: &[FindingView]) -> Vec<Line> {
    let next = findings.iter().skip(1).map(|next| next.kind.as_str()).chain([""]);
    let line = |(finding, next): (&FindingView, &str)| Line {
        text: plain(&finding.text),
        path: path(finding),
        todo: (finding.kind != next && !finding.todo.is_empty())
            .then(|| Todo { text: finding.todo.clone(), runbook: finding.runbook.clone() }),
    };
    findings.iter().zip(next).map(line).collect()
}

/// Where more of it is to be seen.
fn path(finding: &FindingView) -> Option<String> {
    let is_of_list = ["list-", "held-", "entry-", "name-"].iter().any(|start| finding.kind.starts_with(start));
    match &finding.host {
        Some(host) => Some(format!("/hosts/{host}")),
        None => is_of_list.then(|| "/validators".to_owned()),
    }
}

/// The lines as items of a list.
pub(crate) fn items(lines: &[Line]) -> Markup {
    html! {
        @for line in lines { li {
            @match &line.path { Some(path) => { a href=(path) { (line.text) } }, None => (line.text) }
            @if let Some(Todo { text, runbook }) = &line.todo {
                div.todo { strong { "Do: " } (text) ". " a href={ "/runbooks/" (runbook) } { (runbook) } }
            }
        } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::finding;

    #[test]
    fn a_finding_leads_to_its_host_and_says_what_to_do_once_for_its_kind() {
        let findings = [
            finding("host-lagging", Some("prep-1")),
            finding("host-lagging", Some("prep-2")),
            finding("list-held", None),
        ];
        let lines = found(&findings);
        let paths: Vec<_> = lines.iter().map(|line| line.path.as_deref().unwrap()).collect();
        assert_eq!(paths, ["/hosts/prep-1", "/hosts/prep-2", "/validators"]);
        let has_todo: Vec<bool> = lines.iter().map(|line| line.todo.is_some()).collect();
        assert_eq!(has_todo, [false, true, true]);
        let html = items(&lines).into_string();
        for part in ["href=\"/hosts/prep-1\"", "do this about list-held", "href=\"/runbooks/PicketAlarm\""] {
            assert!(html.contains(part), "{html}");
        }
        // A source may be called as a host is.
        assert_eq!(path(&finding("source-failing", None)), None);
    }
}
