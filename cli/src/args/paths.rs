//! Hidden validators' ways, and sentries that are to be left.

use super::parse::{parse_drain, parse_wait_for};
use clap::Args;
use picket_model::NodeId;
use std::time::Duration;

#[derive(Debug, PartialEq, Eq, Args)]
pub(crate) struct Drain {
    /// The sentry's name or id
    pub(crate) node: NodeId,
    /// Give it its share back
    #[arg(long, conflicts_with_all = ["time", "wait", "force"])]
    pub(crate) undo: bool,
    /// After so long what still runs through it is cut; 0s for at once
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = parse_drain)]
    pub(crate) time: Duration,
    /// Wait until nothing runs through it any more: until its end and a little longer, unless you say how long
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "25h", value_parser = parse_wait_for)]
    pub(crate) wait: Option<Duration>,
    /// Though it leaves a hidden validator without any sentry
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct Paths {
    /// Name or id of a hidden validator's host; with one, each destination is shown
    #[arg(value_name = "NODE")]
    pub(crate) node: Option<NodeId>,
}
