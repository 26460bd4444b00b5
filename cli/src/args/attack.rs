//! What hosts refuse, and the blocklist that is made of it.

use clap::{Args, Subcommand, ValueEnum};
use picket_model::BlocklistBy;

#[derive(Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct Attack {
    #[command(subcommand)]
    pub(crate) verb: Option<AttackVerb>,
}

#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum AttackVerb {
    /// Print the sources as a list to block elsewhere: never who is a member, a validator, an admin or in the policy. Who was left out,
    /// and why, is said on stderr
    Export(Export),
}

#[derive(Debug, PartialEq, Eq, Args)]
pub(crate) struct Export {
    /// One source a line, a table for `nft -f`, or JSON
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// What has a line: each address, or each /24 of IPv4 and /48 of IPv6 (prefix)
    #[arg(long, value_name = "address|prefix", default_value_t)]
    pub(crate) by: BlocklistBy,
    /// Fewest samples of a source in ten minutes; hosts take up to 20 in a second for each kind of port [default: 20]
    #[arg(long, value_name = "N")]
    pub(crate) least: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Text,
    Nft,
    Json,
}
