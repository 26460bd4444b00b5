//! `picket status`: one screen.

use crate::{table::Page, time::ago};
use picket_api::operator::{FindingView, SourceView, StatusView};
use picket_model::{Generation, Timestamp};

/// Whether every host is in force and there is no alarm.
pub(crate) fn is_well(view: &StatusView) -> bool {
    view.in_force == view.nodes && view.alarms.is_empty()
}

/// The screen. Ages are by the controller's clock.
pub(crate) fn page(view: &StatusView) -> String {
    let mut page = Page::default();
    let generation = if view.generation == Generation::default() {
        "none planned yet".to_owned()
    } else {
        format!("{}, planned {}", view.generation, ago(view.planned_at, view.now))
    };
    let hosts = if view.nodes == 0 {
        "none enrolled yet".to_owned()
    } else {
        format!("in force on {} of {}", view.in_force, view.nodes)
    };
    let alarms = if view.alarms.is_empty() { "none".to_owned() } else { view.alarms.len().to_string() };
    page.rows(&[
        ["mesh".to_owned(), view.mesh.to_string()],
        ["controller".to_owned(), view.version.clone()],
        ["generation".to_owned(), generation],
        ["hosts".to_owned(), hosts],
        ["validators".to_owned(), view.validators.to_string()],
        ["alarms".to_owned(), alarms],
    ]);
    if view.findings.is_empty() {
        view.alarms.iter().for_each(|alarm| page.line(format_args!("  ! {alarm}")));
    }
    for (place, FindingView { kind, text, todo, runbook, .. }) in view.findings.iter().enumerate() {
        page.line(format_args!("  ! {text}"));
        // Once for all of a kind, which stand together.
        if view.findings.get(place + 1).is_none_or(|next| next.kind != *kind) {
            page.line(format_args!("    do: {todo} (docs/runbooks/{runbook}.md)"));
        }
    }
    page.blank();
    if view.sources.is_empty() {
        page.line("no validator-list source is configured");
    } else {
        let heading = ["source", "height", "answered", "taken", "refused", "last try", "push"];
        page.table(heading, view.sources.iter().map(|source| row(source, view.now)));
    }
    page.finish()
}

fn row(source: &SourceView, now: Timestamp) -> [String; 7] {
    [
        source.id.to_string(),
        source.height.map_or_else(|| "-".to_owned(), |height| height.to_string()),
        ago(source.seen_at, now),
        source.entries.to_string(),
        source.refused.to_string(),
        source.error.clone().unwrap_or_else(|| "ok".to_owned()),
        source.push.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> StatusView {
        let at = |seconds: i64| Timestamp::from_millis(1_700_000_000_000 + seconds * 1000);
        let source = |id: &str, height, seen_at, entries, refused, error: Option<&str>| SourceView {
            id: id.parse().unwrap(),
            url: format!("https://{id}/api/v3"),
            height,
            seen_at,
            entries,
            refused,
            error: error.map(str::to_owned),
            push: error.is_none().then(|| "connected since 2026-11-21T05:45:56Z".to_owned()),
        };
        StatusView {
            mesh: "icon-mainnet".parse().unwrap(),
            version: "0.1.0".to_owned(),
            now: at(0),
            generation: Generation(7),
            planned_at: Some(at(-200)),
            sources: vec![
                source("ctz.example.com", Some(31_234_567), Some(at(-3)), 99, 1, None),
                source("own.example.com", None, None, 0, 0, Some("connect: refused\u{1b}[2J")),
            ],
            validators: 99,
            nodes: 5,
            in_force: 5,
            alarms: Vec::new(),
            findings: Vec::new(),
        }
    }

    #[test]
    fn all_well_fits_one_screen() {
        assert!(is_well(&view()));
        insta::assert_snapshot!(page(&view()), @r#"
        mesh        icon-mainnet
        controller  0.1.0
        generation  7, planned 3 min ago
        hosts       in force on 5 of 5
        validators  99
        alarms      none

        SOURCE           HEIGHT    ANSWERED  TAKEN  REFUSED  LAST TRY                   PUSH
        ctz.example.com  31234567  3 s ago   99     1        ok                         connected since 2026-11-21T05:45:56Z
        own.example.com  -         never     0      0        connect: refused\u{1b}[2J  -
        "#);
    }

    #[test]
    fn an_alarm_or_a_lagging_host_is_seen() {
        let mut alarm = view();
        alarm.alarms = vec!["held back: 40 of 99 would leave\r\nall is well".to_owned()];
        alarm.in_force = 4;
        assert!(!is_well(&alarm));
        insta::assert_snapshot!(page(&alarm), @r#"
        mesh        icon-mainnet
        controller  0.1.0
        generation  7, planned 3 min ago
        hosts       in force on 4 of 5
        validators  99
        alarms      1
          ! held back: 40 of 99 would leave\r\nall is well

        SOURCE           HEIGHT    ANSWERED  TAKEN  REFUSED  LAST TRY                   PUSH
        ctz.example.com  31234567  3 s ago   99     1        ok                         connected since 2026-11-21T05:45:56Z
        own.example.com  -         never     0      0        connect: refused\u{1b}[2J  -
        "#);
        alarm.alarms.clear();
        assert!(!is_well(&alarm));
    }

    #[test]
    fn what_is_wrong_is_told_with_what_to_do_once_for_each_kind() {
        let mut alarms = view();
        let finding = |kind: &str, text: &str| FindingView {
            kind: kind.to_owned(),
            text: text.to_owned(),
            todo: format!("do this about {kind}"),
            runbook: "PicketAlarm".to_owned(),
            ..FindingView::default()
        };
        alarms.findings = vec![
            finding("host-lagging", "host prep-1 has been silent for 5 min"),
            finding("host-lagging", "host prep-2 is in no plan yet"),
            finding("list-held", "validator list held"),
        ];
        alarms.alarms = alarms.findings.iter().map(|finding| finding.text.clone()).collect();
        let page = page(&alarms);
        let told: Vec<&str> = page.lines().filter(|line| line.starts_with("  ")).collect();
        assert_eq!(
            told,
            [
                "  ! host prep-1 has been silent for 5 min",
                "  ! host prep-2 is in no plan yet",
                "    do: do this about host-lagging (docs/runbooks/PicketAlarm.md)",
                "  ! validator list held",
                "    do: do this about list-held (docs/runbooks/PicketAlarm.md)",
            ]
        );
    }

    #[test]
    fn a_new_mesh_says_what_is_not_there_yet() {
        let mut new = view();
        (new.generation, new.planned_at, new.nodes, new.in_force, new.validators) = (Generation(0), None, 0, 0, 0);
        new.sources.clear();
        assert!(is_well(&new));
        insta::assert_snapshot!(page(&new), @r#"
        mesh        icon-mainnet
        controller  0.1.0
        generation  none planned yet
        hosts       none enrolled yet
        validators  0
        alarms      none

        no validator-list source is configured
        "#);
    }
}
