//! The packages of the workspace and who depends on whom, as `cargo metadata` tells it.

use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};

/// One package, ours or not.
#[derive(Debug, Default)]
pub(super) struct Package {
    /// Its name; two versions of one package have the same.
    pub(super) name: String,
    /// Its licence expression.
    pub(super) licence: Option<String>,
    /// Where it comes from; `None` for a folder.
    pub(super) source: Option<String>,
    /// Whether it is a member of the workspace.
    pub(super) ours: bool,
    /// Ids of its normal dependencies: not those for tests or build scripts.
    pub(super) dependencies: Vec<String>,
}

/// All packages by id.
#[derive(Debug, Default)]
pub(super) struct Graph(pub(super) BTreeMap<String, Package>);

impl Graph {
    /// From the text that `cargo metadata --format-version 1` prints.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let metadata: Value = serde_json::from_str(text).context("read what cargo metadata prints")?;
        let members: Vec<&str> = list(&metadata, "workspace_members").filter_map(Value::as_str).collect();
        let mut packages = BTreeMap::new();
        for package in list(&metadata, "packages") {
            let id = field(package, "id").context("cargo metadata: a package without id")?;
            let package = Package {
                name: field(package, "name").with_context(|| format!("cargo metadata: {id} without name"))?,
                licence: field(package, "license"),
                source: field(package, "source"),
                ours: members.contains(&id.as_str()),
                dependencies: Vec::new(),
            };
            packages.insert(id, package);
        }
        for node in metadata.get("resolve").into_iter().flat_map(|resolve| list(resolve, "nodes")) {
            let package = field(node, "id").and_then(|id| packages.get_mut(&id));
            let package = package.context("cargo metadata: a node that is no package")?;
            let normal = list(node, "deps").filter(|dependency| list(dependency, "dep_kinds").any(is_normal));
            package.dependencies = normal.filter_map(|dependency| field(dependency, "pkg")).collect();
        }
        Ok(Self(packages))
    }

    /// Our packages.
    pub(super) fn ours(&self) -> impl Iterator<Item = (&String, &Package)> {
        self.0.iter().filter(|(_, package)| package.ours)
    }

    /// Names along a shortest way from a package to one that `wanted` takes, itself excepted, and not beyond packages
    /// called `ends`; `None` where there is none.
    pub(super) fn way(&self, from: &str, ends: &[&str], wanted: impl Fn(&Package) -> bool) -> Option<Vec<&str>> {
        let mut reached_from = BTreeMap::from([(from, None)]);
        let mut queue = VecDeque::from([from]);
        while let Some(id) = queue.pop_front() {
            let package = self.0.get(id)?;
            if id != from && wanted(package) {
                let ids = std::iter::successors(Some(id), |id| *reached_from.get(id)?);
                let mut names: Vec<&str> = ids.filter_map(|id| Some(self.0.get(id)?.name.as_str())).collect();
                names.reverse();
                return Some(names);
            }
            let on = if ends.contains(&package.name.as_str()) { &[] } else { package.dependencies.as_slice() };
            for next in on {
                reached_from.entry(next).or_insert_with(|| {
                    queue.push_back(next);
                    Some(id)
                });
            }
        }
        None
    }
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn field(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(str::to_owned)
}

fn is_normal(kind: &Value) -> bool {
    kind.get("kind").is_none_or(Value::is_null)
}

/// A made-up graph: `name: dependency dependency`, a line a package. Those called `picket…` and `xtask` are ours.
#[cfg(test)]
pub(super) fn made_up(text: &str) -> Graph {
    let package = |line: &str| {
        let (name, dependencies) = line.split_once(':')?;
        let package = Package {
            name: name.trim().to_owned(),
            licence: Some("MIT".to_owned()),
            source: Some(super::licences::CRATES_IO.to_owned()),
            ours: name.trim().starts_with("picket") || name.trim() == "xtask",
            dependencies: dependencies.split_whitespace().map(str::to_owned).collect(),
        };
        Some((package.name.clone(), package))
    };
    Graph(text.lines().filter_map(package).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_read() {
        let text = r#"{
            "workspace_members": ["path+a"],
            "packages": [
                {"id": "path+a", "name": "a", "license": null, "source": null},
                {"id": "reg+b", "name": "b", "license": "MIT", "source": "registry+x"}
            ],
            "resolve": {"nodes": [
                {"id": "path+a", "deps": [
                    {"pkg": "reg+b", "dep_kinds": [{"kind": "dev"}, {"kind": null}]},
                    {"pkg": "reg+c", "dep_kinds": [{"kind": "dev"}, {"kind": "build"}]}
                ]},
                {"id": "reg+b", "deps": []}
            ]}
        }"#;
        let graph = Graph::parse(text).unwrap();
        let (a, b) = (&graph.0["path+a"], &graph.0["reg+b"]);
        assert_eq!((a.name.as_str(), a.ours, a.dependencies.as_slice()), ("a", true, &["reg+b".to_owned()][..]));
        assert_eq!((b.licence.as_deref(), b.source.as_deref(), b.ours), (Some("MIT"), Some("registry+x"), false));
        assert!(Graph::parse("{\"packages\": [{}]}").is_err());
        assert!(Graph::parse("cargo: no").is_err());
    }

    #[test]
    fn the_shortest_way_is_found_and_circles_end() {
        let graph = made_up("picket-a: b c\nb: d\nc: picket-a e\nd: f\ne:\nf:\n");
        let way = |to: &str| graph.way("picket-a", &["d"], |package| package.name == to);
        assert_eq!(way("e"), Some(vec!["picket-a", "c", "e"]));
        assert_eq!(way("d"), Some(vec!["picket-a", "b", "d"]));
        assert_eq!((way("picket-a"), way("f"), way("x")), (None, None, None));
    }
}
