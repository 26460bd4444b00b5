//! Judging the validator list.

mod anew;

pub(crate) use anew::Anew;
