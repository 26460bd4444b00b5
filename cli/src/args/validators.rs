//! The validator list and orders about it.

use super::parse::{parse_generation, parse_ttl};
use clap::{Args, Subcommand};
use picket_model::{Generation, PrepId};
use std::time::Duration;

#[derive(Debug, Default, PartialEq, Eq, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Validators {
    /// Show the entries that were refused, and why
    #[arg(long, conflicts_with = "history")]
    pub(crate) refused: bool,
    /// Show how the set changed, newest last
    #[arg(long)]
    pub(crate) history: bool,
    /// Only changes of this P-Rep
    #[arg(long, value_name = "HX", requires = "history")]
    pub(crate) prep: Option<PrepId>,
    /// At most so many changes, 1 to 1000; 200 unless you say otherwise
    #[arg(long, value_name = "N", requires = "history", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) limit: Option<u16>,
    /// Only changes before this version of the set
    #[arg(long, value_name = "VERSION", requires = "history")]
    pub(crate) before: Option<u64>,
    #[command(subcommand)]
    pub(crate) verb: Option<ValidatorsVerb>,
}

#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum ValidatorsVerb {
    /// How the sets of two generations differ
    Diff {
        /// From this generation
        #[arg(value_parser = parse_generation)]
        from: Generation,
        /// To this one
        #[arg(value_parser = parse_generation)]
        to: Generation,
    },
    /// Let exactly the change through that is held back now
    Approve {
        /// Its digest, as `picket validators` names it
        digest: String,
    },
    /// Freeze the set: nothing of the list changes it
    Hold {
        /// Why, in 1 to 200 characters: shown wherever the set is
        #[arg(long, value_name = "TEXT")]
        comment: String,
        /// For how long, e.g. 6h; until it is released unless you say otherwise
        #[arg(long = "for", value_name = "TIME", value_parser = parse_ttl)]
        time: Option<Duration>,
    },
    /// Let the list change the set again
    Release,
}
