//! The first answer: it lies beside the page, so that nothing need be computed before it is seen.

use accel_core::recipe::Recipe;
use accel_ui::module;
use accel_worker::protocol::first_answer;
use leptos::logging::warn;
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::app::App;

/// Shows it; where it does not lie there, the worker makes it.
pub(super) fn show(app: App) {
    spawn_local(async move {
        let bytes = match module::link("#first") {
            Some(address) => module::fetch(&address).await,
            None => None,
        };
        let given = bytes.and_then(|bytes| first_answer(&bytes).inspect_err(|error| warn!("{error}")).ok());
        // The user may have run something else meanwhile.
        if app.engine.answer.with_untracked(Option::is_some)
            || app.engine.phase.with_untracked(|phase| phase.is_running())
        {
            return;
        }
        match given {
            Some((recipe, outcome, curves)) => app.engine.give(recipe, outcome, curves),
            None => app.engine.run(&Recipe::default(), None),
        }
    });
}
