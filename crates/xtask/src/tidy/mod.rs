//! House rules as a test: who may depend on whom, under which licence, and what source text looks like.
//! The checks are pure; only this file runs cargo and reads the tree.

mod dependencies;
mod graph;
mod licences;
mod text;

use crate::step;
use anyhow::{Context, Result};
use graph::Graph;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Folders that hold nothing of ours.
const SKIPPED: [&str; 2] = ["target", ".git"];

/// Checks the workspace at `root`; every violation is a readable line.
pub(crate) fn run(root: &Path) -> Result<Vec<String>> {
    let graph = Graph::parse(&step::metadata(root)?)?;
    let mut found = dependencies::check(&graph);
    found.extend(licences::check(&graph));
    let mut paths = Vec::new();
    walk(root, &mut paths)?;
    for path in paths {
        found.extend(check_file(root, &path)?);
    }
    Ok(found)
}

/// All files and links below a folder, in order; links are not followed.
fn walk(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let mut entries = entries.collect::<Result<Vec<_>, _>>().with_context(|| format!("list {}", folder.display()))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type().with_context(|| format!("look at {}", entry.path().display()))?;
        if !kind.is_dir() {
            paths.push(entry.path());
        } else if !SKIPPED.iter().any(|name| entry.file_name() == *name) {
            walk(&entry.path(), paths)?;
        }
    }
    Ok(())
}

fn check_file(root: &Path, path: &Path) -> Result<Vec<String>> {
    let inside = path.strip_prefix(root)?;
    if path.is_symlink() {
        let target = fs::canonicalize(path).with_context(|| format!("follow the link {}", path.display()))?;
        let leaves = !target.starts_with(fs::canonicalize(root)?);
        return Ok(leaves.then(|| format!("{}: links out of the project", inside.display())).into_iter().collect());
    }
    if !text::is_checked(inside) {
        return Ok(Vec::new());
    }
    let content = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    Ok(text::check(inside, &content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_collection_that_goes_to_galaxy_has_the_licence_of_the_whole() {
        let read =
            |path: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap();
        assert_eq!(read("ansible/LICENSE"), read("LICENSE"));
        assert!(read("ansible/galaxy.yml").contains("license_file: LICENSE\n"));
    }

    #[test]
    fn files_are_found_and_links_out_of_the_project_too() {
        let root = std::env::temp_dir().join(format!("picket-tidy-{}", std::process::id()));
        fs::create_dir_all(root.join("target")).unwrap();
        fs::create_dir_all(root.join("a/src")).unwrap();
        fs::write(root.join("target/skipped.rs"), "").unwrap();
        fs::write(root.join("a/src/bad.rs"), "fn main() {}\n").unwrap();
        std::os::unix::fs::symlink("bad.rs", root.join("a/src/good.rs")).unwrap();
        std::os::unix::fs::symlink("/usr", root.join("b")).unwrap();
        let mut paths = Vec::new();
        walk(&root, &mut paths).unwrap();
        let found: Vec<String> = paths.iter().flat_map(|path| check_file(&root, path).unwrap()).collect();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(found, ["a/src/bad.rs:1: does not begin with //!", "b: links out of the project"]);
    }
}
