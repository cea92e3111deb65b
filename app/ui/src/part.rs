//! Parts of a page whose code is loaded when it is first needed.
//!
//! `cargo xtask` parts the module at the functions that [`parts!`](crate::parts) names; what only they reach goes with them.
//! All parts share one memory, so that values and signals cross as they are.

use std::pin::Pin;

use leptos::prelude::*;
use leptos::task::spawn_local;
#[doc(hidden)]
pub use wasm_split_helpers as split;

use crate::built::{Build as _, Built};
use crate::view::yes;

/// The code of a part could not be loaded; the browser's console says why.
#[derive(Debug, Clone, Copy)]
pub struct Missing;

impl From<split::SplitLoaderError> for Missing {
    fn from(_: split::SplitLoaderError) -> Self {
        Self
    }
}

/// A function on its way.
pub type Loading<F> = Pin<Box<dyn Future<Output = Result<F, Missing>>>>;

/// Names functions whose code is in a part: `parts! { tabs: fn load_trace -> fn(App) -> Built = trace::panels; }` makes
/// `load_trace`, which loads the part `tabs` and returns `trace::panels`. What two parts share is a file of its own: the
/// fewer parts, the fewer files. Without the feature `split` of the crate that says so, all code is there from the start.
#[macro_export]
macro_rules! parts {
    ($($part:ident: fn $load:ident -> $kind:ty = $function:expr;)+) => { $(
        #[cfg(feature = "split")]
        fn $load() -> $crate::part::Loading<$kind> {
            #[$crate::part::split::wasm_split($part, wasm_split_path = $crate::part::split, fallible)]
            fn $load() -> Result<$kind, $crate::part::Missing> {
                Ok($function)
            }
            Box::pin($load())
        }

        #[cfg(not(feature = "split"))]
        fn $load() -> $crate::part::Loading<$kind> {
            Box::pin(std::future::ready(Ok::<$kind, $crate::part::Missing>($function)))
        }
    )+ };
}

/// A function whose code is loaded when it is first wanted; copies are the same.
#[derive(Debug)]
pub struct Part<F: 'static> {
    /// What it shows, in words.
    what: &'static str,
    load: fn() -> Loading<F>,
    function: RwSignal<Option<F>>,
    state: RwSignal<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unasked,
    Loading,
    Loaded,
    Missing,
}

impl<F> Clone for Part<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for Part<F> {}

impl<F: Copy + Send + Sync + 'static> Part<F> {
    /// The function that `load` loads, which shows `what`.
    pub fn new(what: &'static str, load: fn() -> Loading<F>) -> Self {
        Self { what, load, function: RwSignal::new(None), state: RwSignal::new(State::Unasked) }
    }

    /// Loads the code, unless it is there or on its way.
    pub fn want(self) {
        if matches!(self.state.get_untracked(), State::Loading | State::Loaded) {
            return;
        }
        self.state.set(State::Loading);
        spawn_local(async move {
            match (self.load)().await {
                Ok(function) => {
                    self.function.set(Some(function));
                    self.state.set(State::Loaded);
                }
                Err(Missing) => self.state.set(State::Missing),
            }
        });
    }

    /// Loads the code as soon as `wanted`.
    pub fn when(self, wanted: Signal<bool>) -> Self {
        Effect::new(move |_| {
            if wanted.get() {
                self.want();
            }
        });
        self
    }

    /// The function, once it is there.
    pub fn get(self) -> Option<F> {
        self.function.get()
    }

    /// What stands in its place until it is there: that it is on its way, or that it is missing, and a button that tries
    /// again.
    pub fn waiting(self) -> Built {
        let is = move |state: State| yes(move || self.state.get() != state);
        view! {
            <p class="hint" hidden=is(State::Loading)>
                {format!("{} will be here in a moment.", self.what)}
            </p>
            <p class="error" role="alert" hidden=is(State::Missing)>
                {format!("{} could not be loaded. Check the connection and try again.", self.what)}
            </p>
            <button type="button" hidden=is(State::Missing) on:click=move |_| self.want()>
                "Try again"
            </button>
        }
        .built()
    }
}
