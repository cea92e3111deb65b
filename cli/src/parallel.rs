//! The passes of a run on all processors.

use std::sync::Mutex;

use accel_core::progress::{Flow, Progress};
use accel_core::recipe::Recipe;
use accel_core::run::{Details, Outcome, Plan};
use accel_core::score::Scores;
use accel_core::trace::Trace;
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use crate::progress::Bar;

/// Runs `recipe`, as many passes at once as there are processors; what `details` leave out is not computed.
pub(crate) fn run(
    recipe: &Recipe,
    file: Option<Trace>,
    scores: Option<Scores>,
    details: Details,
) -> anyhow::Result<Outcome> {
    let plan = Plan::new(recipe, file, scores, details)?;
    let bar =
        Mutex::new(Shared { done: 0, total: plan.passes() as u64 * plan.trace().summary().accesses, bar: Bar::new() });
    let passes = (0..plan.passes()).into_par_iter();
    let answers = passes.map(|pass| plan.run(pass, &mut Part { bar: &bar, done: 0 })).collect::<Result<_, _>>()?;
    Ok(plan.finish(answers)?.0)
}

/// The progress of all passes together.
struct Shared {
    done: u64,
    total: u64,
    bar: Bar,
}

/// The progress of one pass.
struct Part<'a> {
    bar: &'a Mutex<Shared>,
    done: u64,
}

impl Progress for Part<'_> {
    fn report(&mut self, done: u64, _total: u64, what: &str) -> Flow {
        // A poisoned bar is one whose thread has panicked: that panic is on its way already.
        let Ok(mut shared) = self.bar.lock() else { return Flow::Cancel };
        shared.done += done.saturating_sub(self.done);
        self.done = done;
        let (done, total) = (shared.done, shared.total);
        shared.bar.report(done, total, what)
    }
}
