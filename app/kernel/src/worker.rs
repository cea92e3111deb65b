//! The worker: predicts, and reports how far it is. It is cancelled by ending it.

use accel_ground::error::Error;
use accel_ground::progress::{Flow, Progress};
use accel_kernel::predict;
use accel_kernel::report::{Report, Request};
use accel_ui::worker::{listen, post};
use js_sys::Date;
use serde::{Deserialize, Serialize};
use web_sys::DedicatedWorkerGlobalScope;

/// What the worker says, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// How much of the work is done, 0 to 1, and what comes next.
    Progress(f64, String),
    /// The answer, and how long it took in ms.
    Done(Box<Report>, f64),
    /// Why there is none.
    Failed(Error),
}

/// Milliseconds between two reports of progress.
const PACE_MS: f64 = 100.0;

/// Reports progress to the page.
struct ToPage<'a> {
    scope: &'a DedicatedWorkerGlobalScope,
    last_ms: f64,
}

impl Progress for ToPage<'_> {
    fn report(&mut self, done: u64, total: u64, what: &str) -> Flow {
        let now = Date::now();
        if now - self.last_ms >= PACE_MS {
            self.last_ms = now;
            send(self.scope, &Reply::Progress(done as f64 / total.max(1) as f64, what.to_owned()));
        }
        Flow::Continue
    }
}

/// Answers the page.
pub(crate) fn start() {
    listen(|scope, data| {
        let started = Date::now();
        let answer = serde_json::from_str::<Request>(&data.as_string().unwrap_or_default())
            .map_err(|e| Error::Internal(e.to_string()))
            .and_then(|request| predict(&request, &mut ToPage { scope, last_ms: started }));
        let reply = match answer {
            Ok(report) => Reply::Done(Box::new(report), Date::now() - started),
            Err(error) => Reply::Failed(error),
        };
        send(scope, &reply);
    });
}

fn send(scope: &DedicatedWorkerGlobalScope, reply: &Reply) {
    post(scope, serde_json::to_string(reply).map(Into::into).map_err(|e| Error::Internal(e.to_string())));
}
