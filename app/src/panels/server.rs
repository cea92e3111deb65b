//! The server whose model may score: looked for at the page's own origin and on this machine.

use accel_ui::built::{Build, Built};
use accel_ui::module;
use accel_ui::view::yes;
use leptos::prelude::*;
use leptos::task::spawn_local;
use serde::Deserialize;

use crate::app::App;

/// Where infer-server listens unless it is told otherwise.
const LOCAL: &str = "http://127.0.0.1:8000";

/// What a server says of itself at `/info`, as far as it is read here.
#[derive(Deserialize)]
struct Info {
    version: String,
    backend: String,
    state: String,
    adapter: Option<String>,
}

/// What was found: the server's address, where one may be used, and what it is in words.
type Found = (Option<String>, String);

/// Looks for a server, tells its state, and takes it.
pub(super) fn server(app: App) -> Built {
    let found = RwSignal::new(None::<Found>);
    let look = move |_| {
        found.set(Some((None, "Looking …".into())));
        spawn_local(async move { found.set(Some(look().await)) });
    };
    let take = move |_| {
        if let Some((Some(server), _)) = found.get_untracked() {
            app.form.scorer.set(server);
            app.run();
        }
    };
    let words = move || found.get().map_or(String::new(), |(_, words)| words);
    let none = move || found.with(|found| !matches!(found, Some((Some(_), _))));
    view! {
        <section class="panel" id="server">
            <h2>"Scores by a language model"</h2>
            <p class="hint">
                "A server on your machine can ask a language model instead: infer-server --model FILE. Nothing leaves your machine."
            </p>
            <div class="bar">
                <button type="button" class="quiet" id="find-server" on:click=look>
                    "Find a server"
                </button>
                <span role="status">{Signal::derive(words)}</span>
                <button type="button" id="use-server" hidden=yes(none) on:click=take>
                    "Use it"
                </button>
            </div>
        </section>
    }
    .built()
}

async fn look() -> Found {
    let own = window().location().origin().unwrap_or_default();
    for server in [own.as_str(), LOCAL] {
        let answer = module::fetch(&format!("{server}/info")).await;
        let Some(info) = answer.and_then(|bytes| serde_json::from_slice::<Info>(&bytes).ok()) else { continue };
        return described(server, &info);
    }
    (
        None,
        format!(
            "There is none here and none at {LOCAL} that lets this page ask. Start one: infer-server --model FILE --cors-origin {own}"
        ),
    )
}

fn described(server: &str, info: &Info) -> Found {
    let adapter = info.adapter.as_ref().map_or(String::new(), |adapter| format!(" with {adapter}"));
    let is = format!("infer-server {} at {server}{adapter}", info.version);
    match (info.backend.as_str(), info.state.as_str()) {
        ("heuristic", _) => (None, format!("{is} has no model: start it with --model FILE")),
        (_, "ready" | "remote") => (Some(server.to_owned()), format!("{is} is ready")),
        (_, "unloaded") => (Some(server.to_owned()), format!("{is} loads its model at the first question")),
        (_, "failed") => (None, format!("{is} could not load its model: see what it printed")),
        (_, state) => (Some(server.to_owned()), format!("{is} is {state}: questions wait until it is ready")),
    }
}
