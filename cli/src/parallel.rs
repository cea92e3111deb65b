//! The passes of a run on all processors.

use std::sync::Mutex;

use accel_core::progress::{Flow, Progress};
use accel_core::recipe::Recipe;
use accel_core::run::{Details, Outcome, Plan};
use accel_core::score::Scores;
use accel_core::trace::Trace;
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use crate::progress::Bar;

/// The most bytes that passes take together.
const MOST_BYTES: u64 = 8 << 30;

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
    // The passes of bounds and curves take some 24 bytes per access each while they run.
    let at_once = MOST_BYTES / (24 * plan.trace().summary().accesses).max(1);
    let threads = usize::try_from(at_once).unwrap_or(usize::MAX).clamp(1, rayon::current_num_threads());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let answers = pool.install(|| {
        let passes = (0..plan.passes()).into_par_iter();
        passes.map(|pass| plan.run(pass, &mut Part { bar: &bar, done: 0 })).collect::<Result<_, _>>()
    })?;
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
