//! The status page: from values to HTML, and the one style sheet and script beside it. Pure: no clock, no store, no session;
//! who may see what is decided by whoever asks for a view. Text is escaped by type, and nothing here writes HTML from text.

mod advice;
mod answers;
pub mod assets;
mod attack;
mod events;
mod frame;
mod host;
mod hosts;
mod login;
mod map;
mod overview;
mod public;
mod runbooks;
mod text;
mod tunnels;
mod validators;
mod values;
mod why;

pub use advice::{Line, Todo};
pub use answers::{Answer, Mark, answers};
pub use attack::attack;
pub use events::events;
pub use frame::{Frame, Section, Viewer, problem};
pub use host::{cut_form, host};
pub use hosts::hosts;
pub use login::{entered, led_on, login};
pub use map::map;
pub use maud::Markup;
pub use overview::overview;
pub use public::{PublicField, PublicView, public};
pub use runbooks::runbook;
pub use tunnels::{Tunnel, TunnelState, tunnels};
pub use validators::{approve_form, validators};
pub use values::{CutForm, CutKind, CutState, HostState, Overview, WhyForm};
pub use why::why;

#[cfg(test)]
mod fixture;
