//! What the columns of a written trace hold.

use accel_core::score::history::Seen;
use accel_core::trace::{NO_PARENT, Tensor, Trace};
use parquet::data_type::ByteArray;

/// An access, as columns see it.
pub(super) struct Access<'a> {
    pub(super) trace: &'a Trace,
    pub(super) now: usize,
    pub(super) number: u32,
    pub(super) bytes: u64,
    /// What is known of its past, where labels are written.
    pub(super) seen: Option<&'a Seen>,
}

impl Access<'_> {
    pub(super) fn tensor(&self) -> &Tensor {
        &self.trace.tensors()[self.number as usize]
    }

    pub(super) fn parent(&self) -> Option<&str> {
        let parent = self.trace.parents().get(self.number as usize).filter(|parent| **parent != NO_PARENT)?;
        Some(&self.trace.tensors()[*parent as usize].name)
    }
}

/// A column: its name and what it holds.
pub(super) struct Column {
    pub(super) name: String,
    pub(super) of: Of,
}

/// What a column holds of each access.
pub(super) enum Of {
    Whole(Cell<i64>),
    Maybe(Cell<Option<i64>>),
    Number(Cell<f64>),
    Flag(Cell<bool>),
    Text(Cell<ByteArray>),
    MaybeText(Cell<Option<ByteArray>>),
}

/// What a column holds of an access.
type Cell<T> = Box<dyn Fn(&Access<'_>) -> T>;

impl Column {
    pub(super) fn new(name: impl Into<String>, of: Of) -> Self {
        Self { name: name.into(), of }
    }

    pub(super) fn whole(name: impl Into<String>, of: impl Fn(&Access<'_>) -> i64 + 'static) -> Self {
        Self::new(name, Of::Whole(Box::new(of)))
    }

    pub(super) fn text(name: impl Into<String>, of: impl Fn(&Access<'_>) -> ByteArray + 'static) -> Self {
        Self::new(name, Of::Text(Box::new(of)))
    }
}
