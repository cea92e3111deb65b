//! A progress bar on the terminal; silent where there is none.

use accel_core::progress::{Flow, Progress};
use indicatif::{ProgressBar, ProgressStyle};

pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn new() -> Self {
        Self::of("{msg:>8} {wide_bar} {percent:>3} % {eta}")
    }

    /// One that also tells how many are done, and how many a second.
    pub(crate) fn counting() -> Self {
        Self::of("{msg:>8} {wide_bar} {pos} of {len}, {per_sec}, {eta} left")
    }

    fn of(template: &str) -> Self {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(bar)
    }
}

impl Progress for Bar {
    fn report(&mut self, done: u64, total: u64, what: &str) -> Flow {
        self.0.set_length(total);
        self.0.set_position(done);
        self.0.set_message(what.to_owned());
        Flow::Continue
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
