//! What the page and its worker say to each other; the worker itself is the binary of this crate.

pub mod protocol;
