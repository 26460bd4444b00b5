//! Dependency direction (ARCHITECTURE.md): binaries, features, runtime, edges, pure, model. Dependencies of tests and
//! build scripts are free.

use super::graph::Graph;

/// Our packages from the lowest layer to the highest. One may depend on its own layer and those before it.
const LAYERS: [(&str, &[&str]); 7] = [
    ("model", &["picket-model"]),
    ("pure", &["picket-plan"]),
    (
        "edges",
        &[
            "picket-chain",
            "picket-firewall",
            "picket-wireguard",
            "picket-pki",
            "picket-api",
            "picket-attest",
            "picket-aws",
        ],
    ),
    (
        "runtime",
        &[
            "picket-http",
            "picket-telemetry",
            "picket-proofs",
            "picket-dns",
            "picket-gateway",
            "picket-manual",
            "picket-page",
            "picket-progress",
        ],
    ),
    ("features", &["picket-agent"]),
    ("binaries", &["picket-controller", "picket-sentry-agent", "picket-prep-agent", "picket"]),
    ("tools", &["picket-lab", "picket-tests", "xtask"]),
];

/// What brings IO, a clock or randomness.
const IMPURE: [&str; 14] = [
    "tokio",
    "async-io",
    "reqwest",
    "hyper",
    "axum",
    "sqlx",
    "rusqlite",
    "rustls",
    "rtnetlink",
    "nix",
    "getrandom",
    "rand",
    "fastrand",
    "ring",
];

/// Traits, behind which no way is followed: `cargo metadata` shows the features of the whole workspace, and others switch
/// on its `getrandom`. Its one generator, OsRng, is looked for in the text of the pure crates.
const TRAITS: [&str; 1] = ["rand_core"];

/// Who may not depend, by whatever way, on what, and why.
const FORBIDDEN: [(&[&str], &[&str], &str); 5] = [
    (&["picket-model", "picket-plan"], &IMPURE, "what decides does no IO and draws no random numbers"),
    (
        &["picket-controller"],
        &["picket-agent", "picket-firewall", "picket-wireguard"],
        "the controller changes no host, it only plans",
    ),
    (
        &["picket-agent", "picket-sentry-agent", "picket-prep-agent"],
        &["picket-plan", "sqlx", "rusqlite"],
        "agents carry out, they do not plan or store the mesh",
    ),
    (&["picket"], &["picket-plan", "picket-agent", "sqlx", "rusqlite"], "the command line asks the controller"),
    (&["xtask"], &[], "it builds the rest"),
];

/// Every dependency that points the wrong way.
pub(super) fn check(graph: &Graph) -> Vec<String> {
    let mut found = Vec::new();
    for (id, package) in graph.ours() {
        let name = package.name.as_str();
        let Some(layer) = layer(name) else {
            found.push(format!("{name}: has no layer; give it one in xtask's tidy and in ARCHITECTURE.md"));
            continue;
        };
        for other in package.dependencies.iter().filter_map(|id| graph.0.get(id)).filter(|other| other.ours) {
            if let Some(above) = self::layer(&other.name).filter(|above| *above > layer) {
                let (here, there) = (LAYERS[layer].0, LAYERS[above].0);
                found.push(format!("{name} ({here}) depends on {} ({there}), a layer above it", other.name));
            }
        }
        for (_, what, why) in FORBIDDEN.iter().filter(|(who, ..)| who.contains(&name)) {
            let is_wrong = |other: &super::graph::Package| {
                if what.is_empty() { other.ours } else { what.contains(&other.name.as_str()) }
            };
            if let Some(way) = graph.way(id, &TRAITS, is_wrong) {
                found.push(format!("{}: {why}", way.join(" -> ")));
            }
        }
    }
    found
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|(_, names)| names.contains(&name))
}

#[cfg(test)]
mod tests {
    use crate::tidy::graph::made_up;

    fn check(graph: &str, expect: &[&str]) {
        assert_eq!(super::check(&made_up(graph)), expect, "{graph}");
    }

    #[test]
    fn the_direction_as_designed_is_fine() {
        check(
            "picket-model:\npicket-plan: picket-model\npicket-controller: picket-plan sqlx tokio\nsqlx:\ntokio:\n",
            &[],
        );
        check("picket-agent: picket-firewall tokio\npicket-firewall: picket-model\npicket-model:\ntokio:\n", &[]);
    }

    #[test]
    fn each_wrong_direction_is_named_with_its_way() {
        let io = "what decides does no IO and draws no random numbers";
        check(
            "picket-plan: uuid\nuuid: getrandom\ngetrandom:\n",
            &[&format!("picket-plan -> uuid -> getrandom: {io}")],
        );
        check("picket-model: sha2\nsha2: rand_core\nrand_core: getrandom\ngetrandom:\n", &[]);
        check("picket-model: tokio\ntokio:\n", &[&format!("picket-model -> tokio: {io}")]);
        check(
            "picket-controller: picket-chain\npicket-chain: picket-wireguard\npicket-wireguard:\n",
            &["picket-controller -> picket-chain -> picket-wireguard: the controller changes no host, it only plans"],
        );
        check(
            "picket-prep-agent: sqlx\nsqlx:\n",
            &["picket-prep-agent -> sqlx: agents carry out, they do not plan or store the mesh"],
        );
        check("picket: picket-plan\npicket-plan:\n", &["picket -> picket-plan: the command line asks the controller"]);
        check(
            "xtask: serde\nserde: picket-model\npicket-model:\n",
            &["xtask -> serde -> picket-model: it builds the rest"],
        );
    }

    #[test]
    fn nothing_depends_on_a_layer_above_it() {
        check(
            "picket-http: picket-agent\npicket-agent:\n",
            &["picket-http (runtime) depends on picket-agent (features), a layer above it"],
        );
        check(
            "picket-sentry-agent: picket-lab\npicket-lab:\n",
            &["picket-sentry-agent (binaries) depends on picket-lab (tools), a layer above it"],
        );
        check("picket-new:\n", &["picket-new: has no layer; give it one in xtask's tidy and in ARCHITECTURE.md"]);
    }
}
