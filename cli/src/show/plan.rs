//! `picket plan`: lines of change, as the audit log has them too.

use crate::table::{Page, count};
use picket_api::plans::{PlanAt, PlanPreview, PlansDiff};

/// How two plans differ.
pub(crate) fn diff(diff: &PlansDiff) -> String {
    let mut page = Page::default();
    for PlanAt { generation, planned_at } in [diff.from, diff.to] {
        page.line(format_args!("generation {generation}, planned {planned_at}"));
    }
    page.blank();
    changes(&mut page, &diff.changes, "the plans are the same");
    page.finish()
}

/// What another policy would come to.
pub(crate) fn preview(preview: &PlanPreview) -> String {
    let mut page = Page::default();
    let same = if preview.differs { "" } else { ", and is the one in force" };
    page.line(format_args!("this policy beside generation {}{same}; nothing was changed", preview.generation));
    page.blank();
    changes(&mut page, &preview.changes, "no host would get anything else");
    for (what, findings) in [("it would be stopped", &preview.errors), ("warning", &preview.warnings)] {
        findings.iter().for_each(|finding| page.line(format_args!("{what}: {finding}")));
    }
    page.finish()
}

fn changes(page: &mut Page, changes: &[String], none: &str) {
    if changes.is_empty() {
        page.line(none);
        return;
    }
    changes.iter().for_each(|change| page.line(change));
    page.blank();
    page.line(count(changes.len(), "change"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::{Generation, Timestamp};

    #[test]
    fn two_plans() {
        let at = |generation, millis| PlanAt {
            generation: Generation(generation),
            planned_at: Timestamp::from_millis(millis),
        };
        let changes = vec![
            "+ host sentry-2 (sentry)".to_owned(),
            "- 198.51.100.7/32 for p2p: validator [all 2 hosts]".to_owned(),
        ];
        let view = PlansDiff { from: at(7, 1_800_000_000_000), to: at(9, 1_800_000_060_000), changes };
        insta::assert_snapshot!(diff(&view), @r"
        generation 7, planned 2027-01-15T08:00:00Z
        generation 9, planned 2027-01-15T08:01:00Z

        + host sentry-2 (sentry)
        - 198.51.100.7/32 for p2p: validator [all 2 hosts]

        2 changes
        ");
    }

    #[test]
    fn another_policy() {
        let view = PlanPreview {
            generation: Generation(9),
            differs: true,
            changes: Vec::new(),
            errors: vec!["nobody could reach prep-1".to_owned()],
            warnings: vec!["no admin network".to_owned()],
        };
        insta::assert_snapshot!(preview(&view), @r"
        this policy beside generation 9; nothing was changed

        no host would get anything else
        it would be stopped: nobody could reach prep-1
        warning: no admin network
        ");
    }
}
