//! Bounds the work, and says how far it is.

use accel_ground::error::Error;
use accel_ground::progress::{Flow, Progress};

/// Work between two reports.
const REPORT_EVERY: u64 = 1 << 22;

/// Evaluating a bound, a condition or a subscript takes about as long as touching so many lines.
pub(super) const EVALUATION: u64 = 4;

/// Work done of work allowed: a unit is a line touched, or looked at.
pub(super) struct Meter<'m> {
    progress: &'m mut dyn Progress,
    what: &'static str,
    spent: u64,
    budget: u64,
    next_report: u64,
}

impl std::fmt::Debug for Meter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Meter({} of {})", self.spent, self.budget)
    }
}

impl<'m> Meter<'m> {
    pub(super) fn new(progress: &'m mut dyn Progress, what: &'static str, budget: u64) -> Self {
        Self { progress, what, spent: 0, budget, next_report: 0 }
    }

    /// What was spent so far.
    pub(super) fn spent(&self) -> u64 {
        self.spent
    }

    /// What may still be spent.
    pub(super) fn left(&self) -> u64 {
        self.budget.saturating_sub(self.spent)
    }

    /// Spends `work`. An [`Error::TooLarge`] says that the budget is used up.
    #[inline]
    pub(super) fn spend(&mut self, work: u64) -> Result<(), Error> {
        self.spent = self.spent.saturating_add(work);
        if self.spent < self.next_report { Ok(()) } else { self.report() }
    }

    #[cold]
    fn report(&mut self) -> Result<(), Error> {
        if self.spent > self.budget {
            return Err(too_long());
        }
        self.next_report = self.spent.saturating_add(REPORT_EVERY).min(self.budget.saturating_add(1));
        match self.progress.report(self.spent, self.budget, self.what) {
            Flow::Continue => Ok(()),
            Flow::Cancel => Err(Error::Cancelled),
        }
    }
}

/// The accesses are too many for any of the ways.
pub(super) fn too_long() -> Error {
    Error::TooLarge {
        problem: "the kernel touches more cache lines than can be followed".into(),
        cure: "Use smaller parameters, or a larger budget".into(),
    }
}
