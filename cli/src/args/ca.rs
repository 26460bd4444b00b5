//! The arguments of `picket ca`, as types.

use clap::{Args, Subcommand};

#[derive(Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct Ca {
    #[command(subcommand)]
    pub(crate) verb: Option<CaVerb>,
}

#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum CaVerb {
    /// Have another CA follow this one, without losing a host
    Rotate {
        #[command(flatten)]
        step: RotateStep,
        /// Though hosts are lost by it; say it only once you have read which
        #[arg(long, conflicts_with = "start")]
        force: bool,
    },
}

/// Exactly one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct RotateStep {
    /// Make the next CA and tell hosts of it
    #[arg(long)]
    pub(crate) start: bool,
    /// Let the next CA sign; happens by itself once every host trusts it
    #[arg(long)]
    pub(crate) switch: bool,
    /// Retire the old CA: certificates and tokens of it are out
    #[arg(long)]
    pub(crate) finish: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Verb, tests::verb};

    #[test]
    fn exactly_one_step_is_taken() {
        let check = |line: &str, expect: Verb| assert_eq!(verb(line).unwrap(), expect, "{line}");
        let step = |start, switch, finish| RotateStep { start, switch, finish };
        let rotate = |step, force| Verb::Ca(Ca { verb: Some(CaVerb::Rotate { step, force }) });
        check("ca --json", Verb::Ca(Ca::default()));
        check("ca rotate --start --reason yearly", rotate(step(true, false, false), false));
        check("ca rotate --switch --force", rotate(step(false, true, false), true));
        check("ca rotate --finish", rotate(step(false, false, true), false));
        for wrong in ["ca rotate", "ca rotate --start --finish", "ca rotate --start --force"] {
            assert!(verb(wrong).is_err(), "{wrong}");
        }
    }
}
