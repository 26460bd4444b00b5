//! What can happen to a mesh, as values to draw at random.

use proptest::prelude::*;

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A validator registers; or moves, where it is known.
    Register { number: u8, last: u8 },
    /// A validator leaves the list.
    Unregister(u8),
    /// The list loses half its entries.
    LoseHalf,
    /// The list is empty.
    LoseAll,
    /// A registrant puts an address there that no public host has.
    Hostile(u8),
    /// The controller asks the chain.
    Poll,
    /// The controller asks and nobody answers.
    Silence,
    /// A host enrols.
    Join { sentry: bool },
    /// The n-th host is revoked.
    Revoke(u8),
    /// The n-th host's agent hears from the controller.
    Hear(u8),
    /// The n-th host's agent is told an old state again, as by a restored database.
    HearOld(u8),
    /// The n-th host's agent restarts: only its ledger is left.
    RestartAgent(u8),
    /// The controller restarts: only what it stored is left.
    RestartController,
}

/// Any step; polls and hearing most often, as in life.
pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Poll),
        4 => any::<u8>().prop_map(Step::Hear),
        2 => (0..40u8, 1..=254u8).prop_map(|(number, last)| Step::Register { number, last }),
        2 => (0..40u8).prop_map(Step::Unregister),
        2 => any::<bool>().prop_map(|sentry| Step::Join { sentry }),
        1 => any::<u8>().prop_map(Step::Revoke),
        1 => (0..40u8).prop_map(Step::Hostile),
        1 => Just(Step::LoseHalf),
        1 => Just(Step::LoseAll),
        1 => Just(Step::Silence),
        1 => any::<u8>().prop_map(Step::HearOld),
        1 => any::<u8>().prop_map(Step::RestartAgent),
        1 => Just(Step::RestartController),
    ]
}
