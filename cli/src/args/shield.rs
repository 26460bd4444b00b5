//! The shield: tight limits while hosts are attacked.

use super::parse::parse_ttl;
use clap::Args;
use picket_api::shield::ShieldWish;
use picket_model::NodeId;
use std::time::Duration;

#[derive(Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct Shield {
    /// `on` tightens limits, for an hour unless you say otherwise; `off` relaxes them; `auto` lets hosts tighten them while they
    /// are attacked; `policy` ends orders: for NODE those about it, then the order for all counts, if there is one. Without one: how
    /// it stands
    #[arg(value_name = "on|off|auto|policy", value_parser = parse_wish)]
    pub(crate) wish: Option<ShieldWish>,
    /// Names or ids of hosts; all unless you say otherwise
    #[arg(value_name = "NODE")]
    pub(crate) nodes: Vec<NodeId>,
    /// For how long, e.g. 30m; `off` and `auto` last until the next order unless you say otherwise
    #[arg(long = "for", value_name = "TIME", value_parser = parse_ttl, requires = "wish")]
    pub(crate) time: Option<Duration>,
}

fn parse_wish(text: &str) -> Result<ShieldWish, String> {
    Ok(match text {
        "on" => ShieldWish::On,
        "off" => ShieldWish::Off,
        "auto" => ShieldWish::Auto,
        "policy" => ShieldWish::Policy,
        _ => return Err("say on, off, auto or policy, and hosts after it".to_owned()),
    })
}
