//! Time and energy.
