//! Telling how far long work is, and stopping it.

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Stop; the work ends with [`Error::Cancelled`](crate::error::Error::Cancelled).
    Cancel,
}

/// Hears how far a run is, and may stop it.
pub trait Progress {
    /// `done` of `total` steps are done (never more than all), and `what` comes next.
    fn report(&mut self, done: u64, total: u64, what: &str) -> Flow;
}

/// Runs to the end without telling anyone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unattended;

impl Progress for Unattended {
    fn report(&mut self, _done: u64, _total: u64, _what: &str) -> Flow {
        Flow::Continue
    }
}
