//! Who may ask.

use super::parse::parse_ttl;
use clap::Subcommand;
use picket_model::TokenId;
use picket_pki::OperatorRole;
use std::time::Duration;

#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum OperatorVerb {
    /// Make an operator's token: a context file on stdout, shown once
    Create {
        /// enroller (join tokens of its own, and the hosts), viewer (everything, no change) or admin
        #[arg(long)]
        role: OperatorRole,
        /// How long it is good for, e.g. 90d; until it is revoked unless you say otherwise
        #[arg(long, value_name = "TIME", value_parser = parse_ttl)]
        expires: Option<Duration>,
        /// Whose it is, for people
        #[arg(long, default_value = "")]
        comment: String,
    },
    /// All operators, without their secrets
    List,
    /// Make an operator's token useless, or keep out who logs in by an issuer; at once
    Revoke {
        /// Its id, as `picket operator list` names it
        id: TokenId,
    },
    /// Let in again who logs in by an issuer and was revoked; a token stays revoked
    Readmit {
        /// Their id, as `picket operator list` names it
        id: TokenId,
    },
}
