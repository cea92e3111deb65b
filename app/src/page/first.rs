//! The first answer: it lies beside the page, so that nothing need be computed before it is seen. With it come the small
//! curves of the questions.

use accel_ui::module;
use accel_worker::protocol::first_answer;
use leptos::logging::warn;
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::app::{App, Ask};

/// Loads it. Where nothing else was `asked`, it is shown; where it does not lie there, the worker makes it.
pub(super) fn load(app: App, asked: bool) {
    spawn_local(async move {
        let bytes = match module::link("#first") {
            Some(address) => module::fetch(&address).await,
            None => None,
        };
        let given = bytes.and_then(|bytes| first_answer(&bytes).inspect_err(|error| warn!("{error}")).ok());
        if let Some((.., sparks)) = &given {
            app.sparks.set(sparks.clone());
        }
        // The user may have run something else meanwhile.
        if asked
            || app.engine.answer.with_untracked(Option::is_some)
            || app.engine.phase.with_untracked(|phase| phase.is_running())
        {
            return;
        }
        match given {
            Some((recipe, outcome, curves, _)) => app.engine.give(recipe, outcome, curves),
            None => app.asked.set(Some(Ask::First)),
        }
    });
}
