//! `picket revoke` and `picket quarantine`: follows a cut from host to host, says how far it is, and ends with the receipt.

use crate::{show, table::visible};
use anyhow::{Context as _, bail};
use picket_api::{
    client::Lines,
    operator::{CutStep, RevokeReceipt},
};

/// The receipt, after every step on the way was told: a line where a host confirmed, how many have, and of how many.
pub(crate) async fn follow(
    mut steps: Lines<CutStep>,
    mut tell: impl FnMut(Option<&str>, usize, usize),
) -> anyhow::Result<RevokeReceipt> {
    let (mut of, mut confirmed) = (0, 0);
    while let Some(step) = steps.next().await? {
        match step {
            CutStep::Planned { hosts } => {
                of = hosts.len();
                tell(None, confirmed, of);
            }
            CutStep::Confirmed { host } => {
                confirmed += 1;
                tell(Some(&visible(&show::revoke::progress(confirmed, of, &host))), confirmed, of);
            }
            CutStep::Done { receipt } => return Ok(*receipt),
        }
    }
    bail!("the controller ended its answer before the receipt: repeat the command, which asks again")
}

/// How long to wait, as it travels.
pub(crate) fn millis(wait: std::time::Duration) -> anyhow::Result<u64> {
    u64::try_from(wait.as_millis()).context("the wait is too long")
}
