//! What is done, which step of how many it is, and how long it will take.

use std::time::{Duration, Instant};

use anyhow::Context as _;

/// One step of a command: what it does, and the seconds it takes on two cores where nothing was built before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step(pub(crate) &'static str, pub(crate) f64);

/// The steps of a command, in the order in which they run.
pub(crate) struct Steps {
    steps: Vec<Step>,
    /// How many were begun.
    begun: usize,
    /// What finished ones were expected to take and took, in seconds.
    expected: f64,
    took: f64,
}

impl Steps {
    pub(crate) fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect(), begun: 0, expected: 0.0, took: 0.0 }
    }

    /// Runs the next step; prints its number, and how long the rest will take.
    pub(crate) fn next<T>(&mut self, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let Some(Step(what, seconds)) = self.steps.get(self.begun).copied() else {
            // A step that nobody announced still runs.
            return work();
        };
        self.begun += 1;
        let left = self.left(self.begun - 1);
        println!("[{}/{}] {what}{left}", self.begun, self.steps.len());
        let start = Instant::now();
        let result = work().with_context(|| format!("{what} failed"))?;
        let took = start.elapsed();
        println!("      {what}: {:.1} s", took.as_secs_f64());
        self.expected += seconds;
        self.took += took.as_secs_f64();
        Ok(result)
    }

    /// How long the steps from `first` on take together, in words; nothing where it is a moment. A machine is as much
    /// slower or faster than two cores with nothing built as its steps so far were.
    fn left(&self, first: usize) -> String {
        // Short steps say little about the machine.
        let known = self.expected >= 60.0;
        let pace = if known { self.took / self.expected } else { 1.0 };
        let seconds = self.steps.iter().skip(first).map(|Step(_, seconds)| seconds).sum::<f64>() * pace;
        let first_time = if known { "" } else { " where nothing is built yet" };
        match Duration::try_from_secs_f64(seconds).map_or(0, |left| left.as_secs()) {
            0..20 => String::new(),
            20..90 => format!(" (about a minute left{first_time})"),
            left => format!(" (about {} minutes left{first_time})", (left + 30) / 60),
        }
    }
}
