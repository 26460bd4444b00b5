//! Where packages come from and under which licence: only crates.io, only what may be shipped under Apache-2.0.

use super::graph::{Graph, Package};

/// The only registry.
pub(super) const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Licences without copyleft, by SPDX identifier.
const ALLOWED: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Second providers of cryptography; ours is ring alone.
const BANNED: [&str; 4] = ["aws-lc-rs", "aws-lc-sys", "native-tls", "openssl-sys"];

/// Every package that may not be shipped.
pub(super) fn check(graph: &Graph) -> Vec<String> {
    graph.0.values().filter(|package| !package.ours).flat_map(check_package).collect()
}

fn check_package(package: &Package) -> Vec<String> {
    let name = &package.name;
    let mut found = Vec::new();
    if BANNED.contains(&name.as_str()) {
        found.push(format!("{name}: a second provider of cryptography; see `cargo tree -i {name}`"));
    }
    if package.source.as_deref() != Some(CRATES_IO) {
        let source = package.source.as_deref().unwrap_or("a folder outside the workspace");
        found.push(format!("{name}: comes from {source}, not from crates.io"));
    }
    match &package.licence {
        None => found.push(format!("{name}: names no licence")),
        Some(licence) => match is_allowed(licence) {
            Some(true) => {}
            Some(false) => found.push(format!("{name}: licence {licence} is not one we ship under")),
            None => found.push(format!("{name}: licence {licence:?} is not an SPDX expression")),
        },
    }
    found
}

/// Whether an SPDX expression can be met with allowed licences alone; `None` where it is not one.
fn is_allowed(expression: &str) -> Option<bool> {
    // `MIT/Apache-2.0` is how crates wrote OR before SPDX.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut words = words.as_slice();
    let allowed = any_of(&mut words)?;
    words.is_empty().then_some(allowed)
}

fn any_of(words: &mut &[&str]) -> Option<bool> {
    let mut allowed = all_of(words)?;
    while skip(words, "OR") {
        allowed |= all_of(words)?;
    }
    Some(allowed)
}

fn all_of(words: &mut &[&str]) -> Option<bool> {
    let mut allowed = one(words)?;
    while skip(words, "AND") {
        allowed &= one(words)?;
    }
    Some(allowed)
}

fn one(words: &mut &[&str]) -> Option<bool> {
    if skip(words, "(") {
        let allowed = any_of(words)?;
        return skip(words, ")").then_some(allowed);
    }
    let licence = licence(words)?;
    if skip(words, "WITH") {
        // An exception only adds permissions.
        self::licence(words)?;
    }
    Some(ALLOWED.contains(&licence))
}

fn licence<'a>(words: &mut &[&'a str]) -> Option<&'a str> {
    let (word, rest) = words.split_first()?;
    *words = rest;
    (!["AND", "OR", "WITH", "(", ")"].contains(word)).then_some(word)
}

fn skip(words: &mut &[&str], word: &str) -> bool {
    match words.split_first() {
        Some((first, rest)) if *first == word => {
            *words = rest;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::graph::made_up;

    #[test]
    fn expressions_are_met_or_not() {
        let check = |expression: &str, expect: Option<bool>| assert_eq!(is_allowed(expression), expect, "{expression}");
        check("MIT", Some(true));
        check("MIT/Apache-2.0", Some(true));
        check("GPL-3.0-only", Some(false));
        check("MPL-2.0", Some(false));
        check("GPL-2.0 OR MIT", Some(true));
        check("GPL-2.0 AND MIT", Some(false));
        check("MIT OR GPL-2.0 AND MPL-2.0", Some(true));
        check("(MIT OR Apache-2.0) AND Unicode-3.0", Some(true));
        check("(MIT OR GPL-2.0) AND (MPL-2.0 OR LGPL-3.0)", Some(false));
        check("Apache-2.0 WITH LLVM-exception", Some(true));
        for wrong in ["", "MIT Apache-2.0", "MIT OR", "(MIT", "MIT)", "AND MIT", "MIT WITH", "MIT AND OR MIT"] {
            check(wrong, None);
        }
    }

    #[test]
    fn every_kind_of_package_that_may_not_be_shipped_is_named() {
        let mut graph = made_up("picket-model:\ngood:\ncopyleft:\nnameless:\nforked:\nbeside:\nopenssl-sys:\n");
        let mut change = |name: &str, change: fn(&mut Package)| change(graph.0.get_mut(name).unwrap());
        change("picket-model", |package| (package.source, package.licence) = (None, None));
        change("copyleft", |package| package.licence = Some("AGPL-3.0".to_owned()));
        change("nameless", |package| package.licence = None);
        change("forked", |package| package.source = Some("git+https://example.com/forked".to_owned()));
        change("beside", |package| package.source = None);
        let expect = [
            "beside: comes from a folder outside the workspace, not from crates.io",
            "copyleft: licence AGPL-3.0 is not one we ship under",
            "forked: comes from git+https://example.com/forked, not from crates.io",
            "nameless: names no licence",
            "openssl-sys: a second provider of cryptography; see `cargo tree -i openssl-sys`",
        ];
        assert_eq!(check(&graph), expect);
    }
}
