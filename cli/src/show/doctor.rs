//! `picket doctor`: findings, the bad ones last, where a person looks first.

use crate::{
    doctor::{Finding, Report, Verdict},
    table::{Page, count},
};

/// Wide enough for the longest mark and a blank.
const INDENT: &str = "         ";

pub(crate) fn page(report: &Report) -> String {
    let mut page = Page::default();
    let mut findings: Vec<_> = report.findings.iter().collect();
    findings.sort_by_key(|finding| finding.verdict);
    page.line(format_args!("looked at as {}", report.part.name()));
    for Finding { check, verdict, found, why, fix } in findings {
        let mark = match verdict {
            Verdict::Ok => "ok",
            Verdict::NotKnown => "unseen",
            Verdict::Warn => "WARN",
            Verdict::Bad => "BAD",
        };
        page.line(format_args!("{mark:<8} {check}: {found}"));
        if let Some(why) = why {
            page.line(format_args!("{INDENT}why: {why}"));
        }
        if let Some(fix) = fix {
            page.line(format_args!("{INDENT}fix: {fix}"));
        }
    }
    page.blank();
    page.line(sum(report));
    page.finish()
}

fn sum(report: &Report) -> String {
    let of = |verdict| report.findings.iter().filter(|finding| finding.verdict == verdict).count();
    let (bad, warnings, unseen) = (of(Verdict::Bad), of(Verdict::Warn), of(Verdict::NotKnown));
    let unseen = if unseen == 0 { String::new() } else { format!("; {unseen} not seen") };
    match (bad, warnings) {
        (0, 0) => format!("all is well{unseen}"),
        (0, _) => format!("it works, with {}{unseen}", count(warnings, "warning")),
        _ => format!("{bad} bad, {}{unseen}", count(warnings, "warning")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::facts::Part;

    #[test]
    fn what_is_bad_is_last_with_its_reason_and_its_remedy() {
        let findings = vec![
            Finding::bad("mtu", "1000 bytes towards 192.0.2.1", "a whole packet has more", "ip route get 192.0.2.1"),
            Finding::ok("clock", "kept\u{1b}[2J"),
            Finding::not_known("lockdown", "no right to look").or("sudo picket doctor"),
        ];
        let report = Report::new(Part::Sentry, findings);
        insta::assert_snapshot!(page(&report), @r"
        looked at as a sentry
        ok       clock: kept\u{1b}[2J
        unseen   lockdown: no right to look
                 fix: sudo picket doctor
        BAD      mtu: 1000 bytes towards 192.0.2.1
                 why: a whole packet has more
                 fix: ip route get 192.0.2.1

        1 bad, 0 warnings; 1 not seen
        ");
        assert_eq!(sum(&Report::new(Part::Sentry, vec![Finding::ok("clock", "kept")])), "all is well");
        let warned = Report::new(Part::Sentry, vec![Finding::warn("a", "b", "c", "d")]);
        assert_eq!(sum(&warned), "it works, with 1 warning");
        assert!(!warned.wants_attention(false) && warned.wants_attention(true) && report.wants_attention(false));
    }
}
