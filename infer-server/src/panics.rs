//! Panics, as errors: what they say goes to the log, and is answered to nobody.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What is answered in the place of a panic's text, which may name anything of this machine.
const PANICKED: &str = "it panicked, which is a fault of this server, and its log says more";

/// Writes what `panic` says to the log, under the request that it belongs to; what to answer instead.
pub(crate) fn told(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = text.unwrap_or("no message"), "a panic");
    PANICKED.to_owned()
}

/// Does `work`, whose panic is told. What it touches must be thrown away after one, or be as it was.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| told(&*panic))
}

/// As [`caught`], with an error as its text.
pub(crate) fn guarded<T, E: ToString>(work: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    caught(work)?.map_err(|error| error.to_string())
}
