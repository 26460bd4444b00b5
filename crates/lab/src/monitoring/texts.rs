//! Reads what the steps look at: the tables of docs/metrics.md, the text that programs tell, the expressions of dashboards.
//! Pure.

use anyhow::{Context as _, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Names of metrics with their labels, by the heading of their table.
pub(super) fn documented(page: &str, heading: &str) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let (_, section) = page.split_once(&format!("## {heading}\n")).with_context(|| format!("no heading {heading}"))?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').collect();
        let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<String>>();
        let name = quoted(cells.get(1)?).into_iter().next()?;
        Some((name, quoted(cells.get(3)?)))
    };
    Ok(rows.filter_map(row).collect())
}

/// What of a program's text is not documented so.
pub(super) fn undocumented(text: &str, documented: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let samples = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let strange = samples.filter(|line| {
        let (name, labels) = sample(line);
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let known = documented.get(name).or_else(|| documented.get(base?));
        !known.is_some_and(|known| labels.iter().all(|label| *label == "le" || known.contains(*label)))
    });
    strange.map(str::to_owned).collect()
}

/// Name and labels of one line.
fn sample(line: &str) -> (&str, Vec<&str>) {
    let Some((name, rest)) = line.split_once('{') else {
        return (line.split(' ').next().unwrap_or_default(), Vec::new());
    };
    // Values have neither quotes nor commas in what the lab's programs tell.
    let labels = rest.rsplit_once('}').map_or("", |(labels, _)| labels);
    (name, labels.split(',').filter_map(|label| Some(label.split_once('=')?.0)).collect())
}

/// Titles and expressions of a dashboard's panels, with its variables in place.
pub(super) fn expressions(dashboard: &str, instance: &str) -> Result<Vec<(String, String)>> {
    let dashboard: Value = serde_json::from_str(dashboard).context("read the dashboard")?;
    let panels = dashboard["panels"].as_array().context("a dashboard without panels")?;
    let targets = panels.iter().flat_map(|panel| {
        let title = panel["title"].as_str().unwrap_or_default();
        panel["targets"].as_array().into_iter().flatten().map(move |target| (title, &target["expr"]))
    });
    targets
        .map(|(title, expression)| {
            let expression = expression.as_str().with_context(|| format!("{title} has no expression"))?;
            let expression = expression.replace("$instance", instance).replace("$__rate_interval", "1m");
            Ok((title.to_owned(), expression))
        })
        .collect()
}

/// A text as a form has it.
pub(super) fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_and_not_documented_is_found() {
        let page = "# M\n\n## one\n\n| name | type |\n|---|---|\n| `a_total` | counter | `x`: 2; `y`: 3 | what |\n\
                    | `b_seconds` | histogram |  | what |\n\n## two\n\n| `c` | gauge |  | w |\n";
        let known = documented(page, "one").unwrap();
        assert_eq!(known.len(), 2);
        let told = "# HELP a_total what\na_total{x=\"1\",y=\"2\"} 3\nb_seconds_bucket{le=\"1.0\"} 0\nb_seconds_sum 0\n";
        assert_eq!(undocumented(told, &known), Vec::<String>::new());
        assert_eq!(undocumented("a_total{z=\"1\"} 3\nc 4\n", &known), ["a_total{z=\"1\"} 3", "c 4"]);
        assert!(documented(page, "three").is_err());
    }

    #[test]
    fn a_dashboards_expressions_have_their_variables_in_place() {
        let dashboard =
            r#"{"panels":[{"title":"t","targets":[{"expr":"rate(a{instance=\"$instance\"}[$__rate_interval])"}]}]}"#;
        let expect = ("t".to_owned(), "rate(a{instance=\"h:1\"}[1m])".to_owned());
        assert_eq!(expressions(dashboard, "h:1").unwrap(), [expect]);
        assert_eq!(encoded("a b+\"é"), "a%20b%2B%22%C3%A9");
    }
}
