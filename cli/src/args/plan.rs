//! Plans: what changed between two, and what another configuration would change.

use super::parse::parse_generation;
use clap::{Args, Subcommand};
use picket_model::Generation;
use std::path::PathBuf;

#[derive(Debug, PartialEq, Eq, Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub(crate) struct Plan {
    /// Show what the policy of this configuration file would change, with the validator set in force; nothing is changed
    #[arg(long, value_name = "FILE")]
    pub(crate) dry_run: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) verb: Option<PlanVerb>,
}

#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum PlanVerb {
    /// How the plans of two generations differ
    Diff {
        /// From this generation
        #[arg(value_parser = parse_generation)]
        from: Generation,
        /// To this one; the newest where it is left out
        #[arg(value_parser = parse_generation)]
        to: Option<Generation>,
    },
}
