//! The bill of materials: every crate that is compiled into a program that is shipped, in CycloneDX 1.5. Made from cargo's own
//! resolution; cargo-cyclonedx would be two hundred crates more for these lines, and names what only tests need.

use super::PROGRAMS;
use crate::step;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

/// The bill as text, which is the same for the same tree.
pub(super) fn of(root: &Path, epoch: &str) -> Result<String> {
    let epoch = epoch.parse::<i64>().with_context(|| format!("read the moment {epoch}"))?;
    let bill = bill(&metadata(root)?, epoch)?;
    Ok(serde_json::to_string_pretty(&bill).context("write the bill of materials")? + "\n")
}

/// What cargo resolves for this platform.
pub(super) fn metadata(root: &Path) -> Result<Value> {
    serde_json::from_str(&step::metadata(root)?).context("read cargo metadata")
}

fn bill(metadata: &Value, epoch: i64) -> Result<Value> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages: BTreeMap<String, Value> =
        list(&metadata["packages"]).into_iter().map(|package| (text(&package["id"]), package)).collect();
    // What is linked: not what tests need, nor what build scripts do.
    let linked: BTreeMap<String, BTreeSet<String>> = list(&metadata["resolve"]["nodes"])
        .iter()
        .map(|node| {
            let normal = |dependency: &&Value| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
            let to = list(&node["deps"]).iter().filter(normal).map(|dependency| text(&dependency["pkg"])).collect();
            (text(&node["id"]), to)
        })
        .collect();
    let mut wanted: Vec<String> = packages
        .iter()
        .filter(|(_, package)| package["source"].is_null() && PROGRAMS.contains(&text(&package["name"]).as_str()))
        .map(|(id, _)| id.clone())
        .collect();
    if wanted.len() != PROGRAMS.len() {
        bail!("cargo metadata names {} of the {} programs", wanted.len(), PROGRAMS.len());
    }
    let mut shipped = BTreeSet::new();
    while let Some(id) = wanted.pop() {
        if shipped.insert(id.clone()) {
            wanted.extend(linked.get(&id).into_iter().flatten().cloned());
        }
    }
    let reference = |id: &String| {
        let package = &packages[id];
        format!("pkg:cargo/{}@{}", text(&package["name"]), text(&package["version"]))
    };
    let components: Vec<Value> = shipped
        .iter()
        .map(|id| {
            let package = &packages[id];
            let program = package["source"].is_null() && PROGRAMS.contains(&text(&package["name"]).as_str());
            let mut component = json!({
                "type": if program { "application" } else { "library" },
                "bom-ref": reference(id),
                "name": package["name"],
                "version": package["version"],
                "scope": "required",
                "purl": reference(id),
            });
            if let Some(licence) = package["license"].as_str() {
                // `MIT/Apache-2.0` is how crates wrote OR before SPDX.
                component["licenses"] = json!([{ "expression": licence.replace('/', " OR ") }]);
            }
            component
        })
        .collect();
    let dependencies: Vec<Value> = shipped
        .iter()
        .map(|id| {
            let on: Vec<String> = linked.get(id).into_iter().flatten().map(reference).collect();
            json!({ "ref": reference(id), "dependsOn": on })
        })
        .collect();
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": moment(epoch)?,
            "component": { "type": "application", "bom-ref": "picket", "name": "picket" },
        },
        "components": components,
        "dependencies": dependencies,
    }))
}

/// RFC 3339 in UTC.
fn moment(epoch: i64) -> Result<String> {
    step::said(Command::new("date").args(["--utc", &format!("--date=@{epoch}"), "+%Y-%m-%dT%H:%M:%SZ"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates() {
        for (epoch, expect) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_348_799, "2026-11-22T11:59:59Z"),
        ] {
            assert_eq!(moment(epoch).unwrap(), expect);
        }
    }

    #[test]
    fn what_only_tests_and_build_scripts_need_is_not_in_it() {
        let package = |name: &str, source: Value| json!({ "id": name, "name": name, "version": "1.0.0", "source": source, "license": "MIT/Apache-2.0" });
        let dependency = |name: &str, kind: Value| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        let mut packages: Vec<Value> = PROGRAMS.iter().map(|name| package(name, Value::Null)).collect();
        packages.extend(["linked", "deeper", "tested", "built"].map(|name| package(name, json!("registry"))));
        let on = json!([
            dependency("linked", Value::Null),
            dependency("tested", json!("dev")),
            dependency("built", json!("build")),
        ]);
        let nodes = json!([
            { "id": "picket", "deps": on },
            { "id": "linked", "deps": [dependency("deeper", Value::Null)] },
        ]);
        let bill = bill(&json!({ "packages": packages, "resolve": { "nodes": nodes } }), 0).unwrap();
        let names: Vec<&str> = bill["components"]
            .as_array()
            .unwrap()
            .iter()
            .map(|component| component["name"].as_str().unwrap())
            .collect();
        let programs = ["picket", "picket-controller", "picket-prep-agent", "picket-sentry-agent"];
        assert_eq!(names, [&["deeper", "linked"][..], &programs[..]].concat());
        assert_eq!(bill["components"][0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
    }
}
