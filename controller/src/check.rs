//! `picket-controller check`: what a configuration says, in a few lines, for whoever is about to put it in place. It is read as a start
//! reads it; nothing is opened, listened on or looked up here.

use crate::{Config, config::Listen, state_dir::StateDir};
use picket_model::Policy;
use std::{
    fmt::{Display, Write as _},
    path::Path,
};

/// What a controller with this configuration and this state folder will do.
pub(crate) fn said(config: &Config, state_dir: &Path) -> String {
    let Listen { agents, operators, health, hooks } = config.listen;
    let mut text = "good:\n".to_owned();
    let mut line = |name: &str, what: &dyn Display| {
        // Into a string: it cannot fail.
        let _ = writeln!(text, "  {name:<11}{what}");
    };
    line("listens", &format_args!("agents {agents}, operators {operators}, health {health}"));
    if let Some(hooks) = hooks {
        line("", &format_args!("clouds {hooks}"));
    }
    if let Some(page) = &config.page {
        line("", &format_args!("status page {}", page.listen));
        if let Some(oidc) = &page.oidc {
            line("login", &format_args!("by {}, back to {}", oidc.issuer, oidc.address));
        }
    }
    let chain = &config.chain;
    let sources: Vec<String> = chain.sources.iter().map(|source| source.0.id().to_string()).collect();
    line("chain", &format_args!("network id {}, each {} s from {}", chain.nid, chain.poll_seconds, sources.join(", ")));
    line("database", &config.database(StateDir::database_in(state_dir)));
    if let Some(collector) = &config.traces.collector {
        line("traces", collector);
    }
    match &config.policy {
        Some(policy) => policy_lines(policy, &mut line),
        None => {
            line("policy", &"none in the file: the stored one stays, and a new mesh has one without networks of yours");
        }
    }
    text.trim_end().to_owned()
}

fn policy_lines(policy: &Policy, line: &mut impl FnMut(&str, &dyn Display)) {
    let networks: Vec<String> = policy.admin.iter().map(ToString::to_string).collect();
    match &networks[..] {
        [] => line("admin", &"NONE: nobody but validators and the mesh is let in to guarded ports"),
        networks => line("admin", &networks.join(", ")),
    }
    let hidden: Vec<String> = policy.hidden.iter().map(|hidden| hidden.prep.to_string()).collect();
    if !hidden.is_empty() {
        line("hidden", &hidden.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        said(&Config::parse(text, Path::new("c.toml")).unwrap(), Path::new("/state"))
    }

    #[test]
    fn it_says_where_it_listens_what_it_asks_and_who_is_let_in() {
        let text = of("[chain]\nnid = 7\npoll_seconds = 5\nsources = [\"https://a.example/api/v3\"]\n\
                       [policy]\nadmin = [\"203.0.113.0/28\"]\n[[policy.hidden]]\nprep = \"prep-1\"\nstrict = false\n");
        let expect = "good:\n  listens    agents [::]:7443, operators 127.0.0.1:7444, health 127.0.0.1:7445\n  \
                      chain      network id 7, each 5 s from a.example\n  database   /state/controller.db\n  \
                      admin      203.0.113.0/28\n  hidden     prep-1";
        assert_eq!(text, expect);
    }

    #[test]
    fn where_traces_go_is_said_and_a_url_that_is_none_is_refused() {
        let text = of("[traces]\ncollector = \"https://collector.example/otlp/\"\n");
        assert!(text.contains("  traces     https://collector.example/otlp\n"), "{text}");
        let refused = Config::parse("[traces]\ncollector = \"collector:4318\"\n", Path::new("c.toml")).unwrap_err();
        assert!(refused.to_string().starts_with("c.toml:2:13: \"collector:4318\" is no collector's URL"), "{refused}");
    }

    #[test]
    fn a_password_is_not_said_and_nobody_let_in_is() {
        let text =
            of("database = \"postgres://picket@db.example/picket\"\ndatabase_password_file = \"/run/p\"\n[policy]\n");
        assert!(text.contains("postgres://picket@db.example/picket") && !text.contains("/run/p"), "{text}");
        assert!(text.contains("admin      NONE"), "{text}");
        assert!(of("").contains("none in the file"));
    }
}
