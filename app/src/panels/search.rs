//! What takes many runs: the buttons that start and end it, how far it is, and what came of it.

use accel_ui::built::{Build, Built};
use accel_ui::view::{show_in, yes};
use leptos::html::Div;
use leptos::prelude::*;

use crate::app::App;
use crate::engine::Search;

/// Where what came of `search` stands, as `shown`, or why nothing did.
pub(super) fn result<T: Send + Sync + 'static>(
    search: RwSignal<Option<Search<T>>>,
    shown: impl Fn(&T) -> Built + 'static,
) -> Built
where
    Search<T>: Clone,
{
    let place = NodeRef::<Div>::new();
    show_in(place, move || match search.get()? {
        Search::Running(_) => None,
        Search::Done(Ok(found)) => Some(shown(&found)),
        Search::Done(Err(error)) => Some(view! { <p class="error">{error.to_string()}</p> }.built()),
    });
    view! { <div class="stack" node_ref=place></div> }.built()
}

/// The button `start`, by its id and its words, which asks; the one with the id `end`, which ends all that takes many runs;
/// and how far it is, behind the word `doing`.
pub(super) fn controls<T: Send + Sync + 'static>(
    app: App,
    search: RwSignal<Option<Search<T>>>,
    start: [&'static str; 2],
    end: &'static str,
    doing: &'static str,
    ask: impl Fn() + 'static,
) -> Built {
    let share = move || {
        search.with(|search| match search {
            Some(Search::Running(share)) => Some(*share),
            _ => None,
        })
    };
    let [id, words] = start;
    view! {
        <button type="button" id=id disabled=yes(move || share().is_some()) on:click=move |_| ask()>
            {words}
        </button>
        <button
            type="button"
            class="quiet"
            id=end
            hidden=yes(move || share().is_none())
            on:click=move |_| app.engine.end_search()
        >
            "Cancel"
        </button>
        <span class="hint" role="status">
            {Signal::derive(move || share().map_or(String::new(), |share| format!("{doing}: {:.0} %", 100.0 * share)))}
        </span>
    }
    .built()
}
