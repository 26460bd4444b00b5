//! What can happen to a mesh, as values to draw at random.

use crate::mesh::SOURCES;
use picket_lab::sources::Manner;
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
    /// A validator registers by a name; or moves to it.
    RegisterName(u8),
    /// The name server turns so.
    TurnNames(NameServer),
    /// The operator denies a P-Rep, or no longer.
    Deny(u8),
    /// The operator freezes the set, or no longer.
    Freeze(bool),
    /// The controller asks the chain.
    Poll,
    /// The controller asks and nobody answers.
    Silence,
    /// One source turns so; the others are honest.
    Turn { source: usize, manner: Manner },
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

/// What the name server does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NameServer {
    /// Each name has its own address.
    Honest,
    /// No name resolves.
    Fails,
    /// Every name gives another address of its own at each lookup.
    Turns,
    /// Every name gives sixteen others of a thousand at each lookup.
    Floods,
    /// Every name is at home.
    Private,
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
        2 => (0..40u8).prop_map(Step::RegisterName),
        2 => name_server().prop_map(Step::TurnNames),
        1 => (0..40u8).prop_map(Step::Deny),
        1 => any::<bool>().prop_map(Step::Freeze),
        3 => (0..SOURCES, manner()).prop_map(|(source, manner)| Step::Turn { source, manner }),
        1 => Just(Step::LoseHalf),
        1 => Just(Step::LoseAll),
        1 => Just(Step::Silence),
        1 => any::<u8>().prop_map(Step::HearOld),
        1 => any::<u8>().prop_map(Step::RestartAgent),
        1 => Just(Step::RestartController),
    ]
}

fn manner() -> impl Strategy<Value = Manner> {
    prop::sample::select(Manner::ALL.to_vec())
}

fn name_server() -> impl Strategy<Value = NameServer> {
    prop::sample::select(vec![
        NameServer::Honest,
        NameServer::Fails,
        NameServer::Turns,
        NameServer::Floods,
        NameServer::Private,
    ])
}
