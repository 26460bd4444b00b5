//! The clock and the ids of the rim while a simulation runs on this thread: they follow from its seed.

use picket_model::Timestamp;
use std::cell::Cell;

thread_local! {
    static NOW: Cell<Option<Timestamp>> = const { Cell::new(None) };
    static IDS: Cell<u64> = const { Cell::new(0) };
}

/// What the clock says; `None` where no simulation runs here.
pub(crate) fn now() -> Option<Timestamp> {
    NOW.get()
}

/// The next id; `None` where no simulation runs here.
pub(crate) fn id() -> Option<String> {
    NOW.get()?;
    IDS.set(IDS.get() + 1);
    Some(format!("i-{:06}", IDS.get()))
}

/// Sets the clock of this thread.
pub(super) fn set(now: Timestamp) {
    NOW.set(Some(now));
}

/// A thread's clock and ids, given back at the end.
pub(super) struct Rim;

impl Rim {
    pub(super) fn begin(now: Timestamp) -> Self {
        IDS.set(0);
        set(now);
        Self
    }
}

impl Drop for Rim {
    fn drop(&mut self) {
        NOW.set(None);
    }
}
