//! What each answer looks like to people: from a view to text, without IO.

pub(crate) mod advertise;
pub(crate) mod attack;
pub(crate) mod audit;
pub(crate) mod ca;
pub(crate) mod changes;
pub(crate) mod dns;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod identities;
pub(crate) mod keys;
pub(crate) mod nodes;
pub(crate) mod operators;
pub(crate) mod orders;
pub(crate) mod paths;
pub(crate) mod plan;
pub(crate) mod revoke;
pub(crate) mod shield;
pub(crate) mod status;
pub(crate) mod token;
pub(crate) mod validators;
