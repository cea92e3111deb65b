//! The worker: predicts, and tells how far it is. It is cancelled by ending it.

use accel_core::error::Error;
use accel_core::progress::{Flow, Progress};
use accel_kernel::predict;
use accel_kernel::report::{Report, Request};
use js_sys::Date;
use serde::{Deserialize, Serialize};
use wasm_bindgen::JsCast as _;
use wasm_bindgen::prelude::Closure;
use web_sys::{DedicatedWorkerGlobalScope, MessageEvent};

/// What the worker says, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// It listens.
    Ready,
    /// How much of the work is done, 0..=1, and what comes next.
    Progress(f64, String),
    /// The answer, and how long it took.
    Done(Box<Report>, f64),
    /// Why there is none.
    Failed(Error),
}

/// Milliseconds between two words about progress.
const PACE_MS: f64 = 100.0;

struct Tell<'a> {
    scope: &'a DedicatedWorkerGlobalScope,
    last_ms: f64,
}

impl Progress for Tell<'_> {
    fn report(&mut self, done: u64, total: u64, what: &str) -> Flow {
        let now = Date::now();
        if now - self.last_ms >= PACE_MS {
            self.last_ms = now;
            say(self.scope, &Reply::Progress(done as f64 / total.max(1) as f64, what.to_owned()));
        }
        Flow::Continue
    }
}

/// Listens, and tells the page so.
pub(crate) fn start() {
    let Ok(scope) = js_sys::global().dyn_into::<DedicatedWorkerGlobalScope>() else { return };
    let listener = {
        let scope = scope.clone();
        Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
            let started = Date::now();
            let request = event.data().as_string().unwrap_or_default();
            let answer = serde_json::from_str::<Request>(&request)
                .map_err(|e| Error::Internal(e.to_string()))
                .and_then(|request| predict(&request, &mut Tell { scope: &scope, last_ms: started }));
            say(
                &scope,
                &match answer {
                    Ok(report) => Reply::Done(Box::new(report), Date::now() - started),
                    Err(error) => Reply::Failed(error),
                },
            );
        })
    };
    scope.set_onmessage(Some(listener.as_ref().unchecked_ref()));
    listener.forget(); // Lives as long as the worker.
    say(&scope, &Reply::Ready);
}

fn say(scope: &DedicatedWorkerGlobalScope, reply: &Reply) {
    let sent = serde_json::to_string(reply).map(|message| scope.post_message(&message.into()));
    if !matches!(sent, Ok(Ok(()))) {
        leptos::logging::error!("the page cannot be reached");
    }
}
