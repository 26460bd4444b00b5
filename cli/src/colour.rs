//! Colours of what is printed on a terminal. They repeat what the words say and decide nothing; nothing that is piped has any.

use anstyle::{AnsiColor, Style};
use std::{
    env,
    ffi::OsStr,
    io::{self, IsTerminal as _},
};

/// How a line of a page begins that says what is wrong.
const WRONG: &str = "  ! ";
/// And one that says what to do.
const TO_DO: &str = "    do: ";

/// Whether what goes to stdout is to be coloured: by the terminal, `TERM` and `NO_COLOR` (no-color.org).
pub(crate) fn is_wanted() -> bool {
    let says = |name: &str, text: &str| env::var_os(name).is_some_and(|value| value == OsStr::new(text));
    let is_refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !is_refused && !says("TERM", "dumb")
}

/// A page with what is wrong in red, and what to do in bold.
pub(crate) fn page(text: &str) -> String {
    let (wrong, to_do) = (Style::new().fg_color(Some(AnsiColor::Red.into())).bold(), Style::new().bold());
    let styled = |line: &str| {
        let (body, end) = line.strip_suffix('\n').map_or((line, ""), |body| (body, "\n"));
        let style = if body.starts_with(WRONG) { Some(wrong) } else { body.starts_with(TO_DO).then_some(to_do) };
        style.map_or_else(|| line.to_owned(), |style| format!("{style}{body}{style:#}{end}"))
    };
    text.split_inclusive('\n').map(styled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_red_and_nothing_else_changes() {
        let text = "hosts  5\n  ! sentry-1 is silent\n    do: look at it\n\nSOURCE\n";
        let expect = "hosts  5\n\u{1b}[1m\u{1b}[31m  ! sentry-1 is silent\u{1b}[0m\n\u{1b}[1m    do: look at it\u{1b}[0m\n\nSOURCE\n";
        assert_eq!(page(text), expect);
        assert_eq!(page("all is well\n"), "all is well\n");
    }
}
