//! Panics of what others wrote, as errors.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `panic` says.
pub(crate) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("it panicked: {}", text.unwrap_or("no message"))
}

/// Does `work`, whose panic is its message. What it touches must be thrown away after one, or be as it was.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| message(&*panic))
}
