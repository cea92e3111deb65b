//! Everything that crosses crates, in one program.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

#[cfg(feature = "browser")]
mod browser;
#[cfg(feature = "browser")]
mod browser_delivery;
#[cfg(feature = "browser")]
mod browser_firefox;
#[cfg(feature = "browser")]
mod browser_instrument;
#[cfg(feature = "browser")]
mod browser_prices;
#[cfg(feature = "browser")]
mod browser_tabs;
mod contributing;
mod real_data;
mod rest;
mod scoring;
mod structure;
