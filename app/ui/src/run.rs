//! Where a run stands, and the bar that shows it.

use accel_ground::error::Error;
use leptos::prelude::*;

use crate::built::{Build, Built};
use crate::view::yes;

/// Where a run stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// Nothing was run yet.
    Idle,
    /// Under way.
    Running {
        /// How much is done, 0 to 1; none until it is known how much there is to do.
        share: Option<f64>,
        /// What is being done.
        what: String,
    },
    /// Finished.
    Done {
        /// How long it took.
        ms: f64,
    },
    /// Ended without an outcome.
    Failed(Error),
}

impl Phase {
    /// Its name in the attribute `data-state` of the results.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Running { .. } => "running",
            Self::Done { .. } => "done",
            Self::Failed(_) => "failed",
        }
    }

    /// Whether it is under way.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. })
    }
}

/// Run, Cancel, progress, and what went wrong: identifiers and texts, which the pages do not share.
#[derive(Debug, Clone, Copy)]
pub struct RunBar {
    /// Identifier of the form that it runs.
    pub form_id: &'static str,
    /// Identifier of the button that runs.
    pub run_id: &'static str,
    /// What that button says.
    pub run: &'static str,
    /// Identifier of the button that cancels.
    pub cancel_id: &'static str,
    /// Identifier of the line that says where the run stands.
    pub status_id: &'static str,
    /// Identifier of the note that the results are those of other settings.
    pub stale_id: &'static str,
    /// That note.
    pub stale: &'static str,
    /// Identifier of the line that says what went wrong.
    pub error_id: &'static str,
    /// What it says of a run that was cancelled.
    pub cancelled: &'static str,
}

/// How long a run still takes that has taken `ms` for a share of its work; nothing while that cannot be told.
fn left(ms: f64, share: Option<f64>) -> String {
    match share {
        Some(share) if ms > 1500.0 && share > 0.02 => {
            format!(", about {:.0} s left", ms * (1.0 - share) / share / 1000.0)
        }
        _ => String::new(),
    }
}

impl RunBar {
    /// Shows `phase`. The form is `bad` where it cannot be run, and `changed` where it differs from what was run;
    /// `problem` is what is wrong with it where no field shows it, and comes before the failure of a run.
    pub fn view(
        self,
        phase: RwSignal<Phase>,
        bad: Signal<bool>,
        changed: Signal<bool>,
        problem: Signal<Option<String>>,
        cancel: impl Fn() + 'static,
    ) -> Built {
        let idle = yes(move || phase.with(|phase| !phase.is_running()));
        // A bar without a value says that nobody knows how much there is to do.
        let share = move || {
            phase.with(|phase| match phase {
                Phase::Running { share, .. } => share.map(|share| share.to_string()),
                _ => None,
            })
        };
        // When the run began, in ms.
        let begun = StoredValue::new(None::<f64>);
        let status = move || {
            phase.with(|phase| match phase {
                Phase::Running { share, what } => {
                    let now = js_sys::Date::now();
                    let before = begun.get_value().unwrap_or(now);
                    begun.set_value(Some(before));
                    format!("Running: {what}{}", left(now - before, *share))
                }
                // What came with the page took no time.
                Phase::Done { ms } if *ms > 0.0 => {
                    begun.set_value(None);
                    format!("Done in {ms:.0} ms")
                }
                Phase::Done { .. } | Phase::Failed(_) | Phase::Idle => {
                    begun.set_value(None);
                    String::new()
                }
            })
        };
        let error = move || {
            let of_run = phase.with(|phase| match phase {
                Phase::Failed(Error::Cancelled) => Some(self.cancelled.to_owned()),
                Phase::Failed(error) => Some(error.to_string()),
                _ => None,
            });
            problem.get().or(of_run).unwrap_or_default()
        };
        view! {
            <div class="run">
                <button type="submit" form=self.form_id id=self.run_id disabled=bad>
                    {self.run}
                </button>
                <button type="button" id=self.cancel_id class="quiet" disabled=idle on:click=move |_| cancel()>
                    "Cancel"
                </button>
                <div class="progress">
                    <progress aria-label="Progress" max="1" hidden=idle value=share></progress>
                    <span role="status" id=self.status_id>
                        {Signal::derive(status)}
                    </span>
                </div>
            </div>
            <p class="hint" id=self.stale_id hidden=yes(move || !idle.get() || !changed.get())>
                {self.stale}
            </p>
            <div role="alert" id=self.error_id class="error">
                {Signal::derive(error)}
            </div>
        }
        .built()
    }
}
