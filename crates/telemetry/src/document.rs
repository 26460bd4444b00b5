//! The page of the documentation that lists metrics: what a program registers is held against its part of the page, or
//! written there. For the programs' own tests.

use crate::Metrics;
use std::{fs, io, path::Path};

/// Variable that has the page written anew instead of compared.
pub const WRITE_VARIABLE: &str = "PICKET_WRITE_DOCS";

/// Holds the table of `heading` in the page against these metrics; what to do where they differ.
///
/// # Errors
/// That the page cannot be read or written.
pub fn hold(page: &Path, heading: &str, metrics: &Metrics) -> io::Result<Result<(), String>> {
    let text = fs::read_to_string(page)?;
    let table = metrics.table();
    let Some(written) = with_table(&text, heading, &table) else {
        return Ok(Err(format!("{} has no heading \"## {heading}\"", page.display())));
    };
    if written == text {
        return Ok(Ok(()));
    }
    if std::env::var_os(WRITE_VARIABLE).is_some() {
        fs::write(page, written)?;
        return Ok(Ok(()));
    }
    let page = page.display();
    Ok(Err(format!(
        "{page} is not what the program has under {heading}: run this test with {WRITE_VARIABLE}=1\n{table}"
    )))
}

/// The page with this table in the place of the first one below the heading.
fn with_table(text: &str, heading: &str, table: &str) -> Option<String> {
    let (before, after) = text.split_once(&format!("## {heading}\n"))?;
    let mut rest = after.lines();
    let mut kept = Vec::new();
    for line in rest.by_ref().take_while(|line| !line.starts_with('|')) {
        kept.push(line);
    }
    let rest: Vec<&str> = rest.skip_while(|line| line.starts_with('|')).collect();
    let (kept, rest) = (kept.join("\n"), rest.join("\n"));
    let end = if rest.is_empty() { "" } else { "\n" };
    Some(format!("{before}## {heading}\n{kept}\n{table}{rest}{end}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_table_of_several_is_replaced() {
        let page = "# Metrics\n\n## one\n\nOf the one.\n\n| a |\n|---|\n| 1 |\n\n## two\n\n| b |\n";
        let expect = "# Metrics\n\n## one\n\nOf the one.\n\n| new |\n\n## two\n\n| b |\n";
        assert_eq!(with_table(page, "one", "| new |\n").unwrap(), expect);
        assert_eq!(with_table(expect, "one", "| new |\n").unwrap(), expect);
        let last = "# Metrics\n\n## one\n\nOf the one.\n\n| a |\n|---|\n| 1 |\n\n## two\n\n| new |\n";
        assert_eq!(with_table(page, "two", "| new |\n").unwrap(), last);
        assert_eq!(with_table(page, "three", ""), None);
    }
}
