//! A model at work: its shapes, its load, and how its tensors are stored.

// Ground first: each imports only from those before it.
mod fields;
pub(crate) mod file;

mod cnn;
mod mlp;
mod transformer;

mod run;
#[cfg(test)]
mod tests;

pub(crate) use self::fields::refuse_field;
pub use self::fields::{Convolution, Fields, ModelRun, Task, Tiling};
pub(crate) use self::run::Source;
