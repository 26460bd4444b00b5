//! What source text looks like. Judged by path and content alone.

use std::path::{Component, Path};

/// Longest source file, in lines: past it, some noun wants to leave.
const LONGEST: usize = 500;

/// Left-overs of work that is not done. Written in two halves, so that this file has none.
const UNDONE: [&str; 3] = [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("#[", "ignore")];
/// What makes the last of them a test of another machine: the command that runs it, in the reason that cargo prints.
const RUN_BY: &str = "cargo xtask test --";
const UNDONE_WORDS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// Folders of one machine or one person.
const ELSEWHERE: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/")];

/// Crates that decide: time and randomness are arguments there.
const PURE: [&str; 3] = ["crates/model/src", "crates/plan/src", "crates/attest/src"];
const AMBIENT: [&str; 3] = ["SystemTime::now", "Instant::now", "OsRng"];

/// Whether the rules are about this file.
pub(super) fn is_checked(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["rs", "md", "toml"].iter().any(|kind| extension == *kind))
}

/// Every breach in one file; `path` is relative to the project.
pub(super) fn check(path: &Path, content: &str) -> Vec<String> {
    let mut found = Vec::new();
    let at = |line: usize, what: String| format!("{}:{line}: {what}", path.display());
    let is_rust = path.extension().is_some_and(|extension| extension == "rs");
    if is_rust && !content.starts_with("//!") {
        found.push(at(1, "does not begin with //!".to_owned()));
    }
    let lines = content.lines().count();
    if is_rust && lines > LONGEST {
        found.push(at(lines, format!("longer than {LONGEST} lines")));
    }
    let is_pure = is_rust && PURE.iter().any(|folder| path.starts_with(folder));
    for (number, line) in (1..).zip(content.lines()) {
        if line.contains('\t') {
            found.push(at(number, "has a tab".to_owned()));
        }
        if line.ends_with([' ', '\r']) {
            found.push(at(number, "ends with a blank".to_owned()));
        }
        let undone = UNDONE.iter().filter(|text| is_rust && line.contains(*text) && !is_run_elsewhere(line));
        let undone = undone.chain(UNDONE_WORDS.iter().filter(|word| has_word(line, word)));
        found.extend(undone.map(|text| at(number, format!("has {text}: do it, or open an issue"))));
        if is_pure {
            let ambient = AMBIENT.iter().filter(|text| line.contains(*text));
            found.extend(ambient.map(|text| at(number, format!("has {text}: what decides takes it as an argument"))));
        }
        if ELSEWHERE.iter().any(|folder| line.contains(folder)) || steps_up(line) > depth(path) {
            found.push(at(number, "has a path out of the project".to_owned()));
        }
    }
    found
}

/// Whether a test that is left out here says by what it is run.
fn is_run_elsewhere(line: &str) -> bool {
    line.contains(UNDONE[2]) && line.contains(RUN_BY)
}

/// Whether a word stands in a line as a word of its own.
fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric()).any(|part| part == word)
}

/// The most `../` in a row.
fn steps_up(line: &str) -> usize {
    let mut most = 0;
    let mut rest = line;
    while let Some(start) = rest.find("../") {
        let after = rest[start..].trim_start_matches("../");
        most = most.max((rest.len() - start - after.len()) / "../".len());
        rest = after;
    }
    most
}

/// Folders between a file and the project's root.
fn depth(path: &Path) -> usize {
    path.parent().map_or(0, |folder| folder.components().filter(|part| matches!(part, Component::Normal(_))).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, content: &str) -> Vec<String> {
        super::check(Path::new(path), content)
    }

    fn check(path: &str, content: &str, expect: &str) {
        assert_eq!(found(path, content), [format!("{path}:{expect}")], "{content:?}");
    }

    #[test]
    fn each_breach_is_named_with_its_line() {
        check("a/src/x.rs", "fn main() {}\n", "1: does not begin with //!");
        check("a/src/x.rs", "", "1: does not begin with //!");
        check("a/tests/x.rs", "use b;\n", "1: does not begin with //!");
        check("a/src/x.rs", &"//! x\n".repeat(501), "501: longer than 500 lines");
        check("a/src/x.rs", "//! x\n\tlet a;\n", "2: has a tab");
        check("README.md", "x \n", "1: ends with a blank");
        check("Cargo.toml", "[a]\r\n\tb = 1\n", "2: has a tab");
        check(
            "a/src/x.rs",
            &format!("//! x\n    {}\"\")\n", UNDONE[0]),
            &format!("2: has {}: do it, or open an issue", UNDONE[0]),
        );
        check(
            "a/src/x.rs",
            &format!("//! x\n    {}]\n", UNDONE[2]),
            &format!("2: has {}: do it, or open an issue", UNDONE[2]),
        );
        for word in UNDONE_WORDS {
            check(
                "Cargo.toml",
                &format!("description = \"{word}\"\n"),
                &format!("1: has {word}: do it, or open an issue"),
            );
            check(
                "a/src/x.rs",
                &format!("//! x\n// {word}: later\n"),
                &format!("2: has {word}: do it, or open an issue"),
            );
        }
        check(
            "crates/plan/src/x.rs",
            "//! x\nlet now = Instant::now();\n",
            "2: has Instant::now: what decides takes it as an argument",
        );
        check("docs/x.md", &format!("see {}x\n", ELSEWHERE[0]), "1: has a path out of the project");
        check("docs/x.md", "see ../../x\n", "1: has a path out of the project");
        check("crates/a/Cargo.toml", "path = \"../../../b\"\n", "1: has a path out of the project");
    }

    #[test]
    fn what_is_allowed_is_left_alone() {
        assert!(found("a/src/x.rs", &"//! x\n".repeat(500)).is_empty());
        assert!(found("a/src/x.rs", &format!("//! x\n{} = \"needs y: {RUN_BY}y\"]\n", UNDONE[2])).is_empty());
        assert!(found("a/src/x.rs", &format!("//! mktemp {0}{0}\n", UNDONE_WORDS[2])).is_empty());
        assert!(found("crates/agent/src/x.rs", "//! x\nlet now = Instant::now();\n").is_empty());
        assert!(found("crates/a/src/x.rs", "//! x\ninclude_str!(\"../../../tests/y\")\n").is_empty());
        assert!(found("docs/x.md", "see ../README.md and ../ARCHITECTURE.md\n").is_empty());
        assert!(!is_checked(Path::new("a/x.json")) && is_checked(Path::new("a/x.md")));
    }
}
