//! Text for a terminal: lines and columns without borders. Everything that is printed passes here, so that text from
//! the chain or the network cannot move the cursor, colour or hide anything.

use std::fmt::Display;

/// Blanks between columns.
const GAP: usize = 2;

/// A screen of text, made line by line.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

impl Page {
    /// Adds one line.
    pub(crate) fn line(&mut self, text: impl Display) {
        self.0.push_str(&visible(&text.to_string()));
        self.0.push('\n');
    }

    /// Adds an empty line.
    pub(crate) fn blank(&mut self) {
        self.0.push('\n');
    }

    /// Adds rows as columns, each as wide in characters as its widest cell; nothing where there are no rows.
    pub(crate) fn rows<const N: usize>(&mut self, rows: &[[String; N]]) {
        let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| visible(cell))).collect();
        let mut widths = [0; N];
        for (width, column) in widths.iter_mut().zip(0..) {
            *width = rows
                .iter()
                .filter_map(|row| row.get::<usize>(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0);
        }
        for row in rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(widths) {
                line.push_str(&format!("{cell:width$}{:GAP$}", ""));
            }
            self.0.push_str(line.trim_end());
            self.0.push('\n');
        }
    }

    /// Adds rows under a heading.
    pub(crate) fn table<const N: usize>(&mut self, heading: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
        let heading = heading.map(str::to_uppercase);
        self.rows(&std::iter::once(heading).chain(rows).collect::<Vec<_>>());
    }

    /// The whole text.
    pub(crate) fn finish(self) -> String {
        self.0
    }
}

/// Text with every character that a terminal would obey, or would not show, written as an escape. Applied twice it
/// changes nothing more.
pub(crate) fn visible(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        match c {
            '\\' | '"' | '\'' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
        shown
    })
}

/// `1 host`, `2 hosts`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells<const N: usize>(row: [&str; N]) -> [String; N] {
        row.map(str::to_owned)
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_in_characters() {
        let mut page = Page::default();
        page.table(["name", "age"], [cells(["zürich-1", "12 s ago"]), cells(["b", ""]), cells(["longer-name", "x"])]);
        assert_eq!(page.finish(), "NAME         AGE\nzürich-1     12 s ago\nb\nlonger-name  x\n");
    }

    #[test]
    fn hostile_text_cannot_reach_the_terminal() {
        let hostile = "a\u{1b}[2J\u{7}\r\nb\u{202e}c\u{200b}d\u{9b}e\u{7f}\t";
        let shown = visible(hostile);
        assert_eq!(shown, r"a\u{1b}[2J\u{7}\r\nb\u{202e}c\u{200b}d\u{9b}e\u{7f}\t");
        assert_eq!(visible(&shown), shown);
        let mut page = Page::default();
        page.line(hostile);
        page.table(["x", "y"], [cells([hostile, hostile])]);
        let text = page.finish();
        assert_eq!(text.lines().count(), 3);
        assert!(text.chars().all(|c| c == '\n' || (' '..='~').contains(&c)), "{text:?}");
    }

    #[test]
    fn ordinary_text_is_left_alone() {
        for text in ["it's \"quoted\" \\ here", "bücher.example", "[fd00::1]:51820"] {
            assert_eq!(visible(text), text);
        }
    }
}
