//! Contexts by name, for whoever has several controllers: where their files are, and which there are. Tokens stay in them.

use crate::table::{Page, visible};
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// One file, as it is listed.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Known {
    /// What `--context` takes.
    pub(crate) name: String,
    /// The controller's, or why it is not known.
    pub(crate) url: Result<String, String>,
}

/// The part of a context that may be shown.
#[derive(Deserialize)]
struct Shown {
    url: String,
}

/// The file that `--context` means: a bare word is a name in the folder of contexts, all else a path.
pub(crate) fn file(named: &Path, variable: &impl Fn(&str) -> Option<String>) -> PathBuf {
    let is_name = named.to_str().is_some_and(|text| !text.is_empty() && !text.contains(['/', '.']));
    match folder(variable).filter(|_| is_name) {
        Some(folder) => folder.join(named).with_extension("toml"),
        None => named.to_owned(),
    }
}

/// Where they are, by the XDG Base Directory Specification; `None` for a user without a home.
fn folder(variable: &impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let settings = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    Some(settings.join("picket/contexts"))
}

/// All of them by name; none where there is no folder.
pub(crate) fn known(variable: &impl Fn(&str) -> Option<String>) -> Result<Vec<Known>> {
    let folder = folder(variable).context("find the folder of contexts: neither XDG_CONFIG_HOME nor HOME is set")?;
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("read {}", folder.display()))?,
    };
    let files = entries.flatten().map(|entry| entry.path());
    let mut known: Vec<Known> = files
        .filter(|path| path.extension().is_some_and(|kind| kind == "toml"))
        .filter_map(|path| Some(Known { name: path.file_stem()?.to_str()?.to_owned(), url: url(&path) }))
        .collect();
    known.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(known)
}

/// An error never quotes the file: a line of it is the token.
fn url(path: &Path) -> Result<String, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    toml::from_str(&text).map(|shown: Shown| shown.url).map_err(|_| "is no context".to_owned())
}

/// For people.
pub(crate) fn page(known: &[Known]) -> String {
    if known.is_empty() {
        return "no context has a name yet: copy a controller's operator.toml to ~/.config/picket/contexts/NAME.toml, 0600, \
                and say --context NAME\n"
            .to_owned();
    }
    let rows = known.iter().map(|context| {
        let url = context.url.clone().unwrap_or_else(|error| format!("({error})"));
        [visible(&context.name), visible(&url)]
    });
    let mut page = Page::default();
    page.table(["NAME", "CONTROLLER"], rows);
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_word_is_a_name_and_all_else_a_path() {
        let home = |name: &str| (name == "HOME").then(|| "/people/me".to_owned());
        let check = |named: &str, expect: &str| assert_eq!(file(Path::new(named), &home), Path::new(expect));
        check("main", "/people/me/.config/picket/contexts/main.toml");
        check("./main", "./main");
        check("main.toml", "main.toml");
        check("/etc/picket/x", "/etc/picket/x");
        let both = |name: &str| Some(if name == "HOME" { "/people/me" } else { "/cfg" }.to_owned());
        assert_eq!(file(Path::new("a"), &both), Path::new("/cfg/picket/contexts/a.toml"));
        assert_eq!(file(Path::new("a"), &|_| None), Path::new("a"));
    }

    #[test]
    fn names_and_controllers_are_listed_and_tokens_never() {
        let home = tempfile::tempdir().unwrap();
        let variable = |name: &str| (name == "XDG_CONFIG_HOME").then(|| home.path().to_str().unwrap().to_owned());
        assert_eq!(known(&variable).unwrap(), []);
        let folder = home.path().join("picket/contexts");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("main.toml"), "url = \"https://192.0.2.1:7444\"\ntoken = \"picket-op1.x.secret\"\n")
            .unwrap();
        fs::write(folder.join("broken.toml"), "token = secret\n").unwrap();
        fs::write(folder.join("notes.txt"), "").unwrap();
        let text = page(&known(&variable).unwrap());
        insta::assert_snapshot!(text, @r"
        NAME    CONTROLLER
        broken  (is no context)
        main    https://192.0.2.1:7444
        ");
    }
}
