//! A page's worker, from both sides: [`Worker`] on the page, [`listen`] and [`post`] in the worker.
//!
//! A worker that listens says so with `null`, before anything else; until then messages to it wait.

use std::rc::Rc;

use accel_ground::error::{Error, Place};
use js_sys::Array;
use leptos::prelude::*;
use wasm_bindgen::prelude::Closure;
use wasm_bindgen::{JsCast as _, JsValue};
use web_sys::{
    Blob, BlobPropertyBag, DedicatedWorkerGlobalScope, ErrorEvent, Event, MessageEvent, Url, WorkerOptions, WorkerType,
};

/// Handles a message of the worker, or its failure.
pub type Handler = Rc<dyn Fn(Result<JsValue, Error>)>;

/// A handle to the worker of a page; copies are the same worker.
#[derive(Debug, Clone, Copy)]
pub struct Worker(StoredValue<Inner, LocalStorage>);

struct Inner {
    /// An ES module, or why there is none.
    script: Result<String, Error>,
    /// What the user can do where it ran out of memory.
    cure: &'static str,
    handler: Handler,
    state: State,
}

enum State {
    /// There is none, and a new one would fail as well.
    Broken(Error),
    /// It does not listen yet: what to send once it does.
    Starting(web_sys::Worker, Vec<JsValue>),
    Listening(web_sys::Worker),
}

impl Worker {
    /// A worker that is not started yet. `cure` is what the user can do where it runs out of memory.
    pub fn new(cure: &'static str) -> Self {
        let error = Error::Internal("the worker was not started".into());
        let handler = Rc::new(|_| ());
        Self(StoredValue::new_local(Inner { script: Err(error.clone()), cure, handler, state: State::Broken(error) }))
    }

    /// Starts it: it runs `script`, an ES module. A worker that stops is replaced; one that cannot start is not.
    pub fn start(self, script: Result<String, Error>, handler: Handler) {
        self.0.update_value(|inner| {
            inner.script = script;
            inner.handler = handler;
        });
        self.spawn();
    }

    /// Sends `message`, once the worker listens.
    ///
    /// # Errors
    ///
    /// Where there is no worker, or it cannot be reached.
    pub fn send(self, message: JsValue) -> Result<(), Error> {
        let sent = self.0.try_update_value(|inner| match &mut inner.state {
            State::Broken(error) => Err(error.clone()),
            State::Starting(_, waiting) => {
                waiting.push(message);
                Ok(())
            }
            State::Listening(worker) => deliver(worker, &message),
        });
        sent.unwrap_or(Ok(()))
    }

    /// Replaces the worker by one that was sent nothing.
    pub fn replace(self) {
        let listening = self.0.try_update_value(|inner| match &mut inner.state {
            State::Broken(_) => false,
            State::Starting(_, waiting) => {
                waiting.clear();
                false
            }
            State::Listening(worker) => {
                worker.terminate();
                true
            }
        });
        if listening == Some(true) {
            self.spawn();
        }
    }

    fn spawn(self) {
        match self.0.with_value(|inner| inner.start(self)) {
            Ok(started) => self.0.update_value(|inner| inner.state = State::Starting(started, Vec::new())),
            Err(error) => self.fail(error),
        }
    }

    /// From now on every message is refused with `error`.
    fn fail(self, error: Error) {
        self.0.update_value(|inner| inner.state = State::Broken(error.clone()));
        self.handle(Err(error));
    }

    fn handle(self, message: Result<JsValue, Error>) {
        // The handler may send, so it is called while nothing of the worker is borrowed.
        let handler = self.0.with_value(|inner| Rc::clone(&inner.handler));
        handler(message);
    }

    /// The worker listens.
    fn ready(self) {
        let sent = self.0.try_update_value(|inner| match &mut inner.state {
            State::Starting(worker, waiting) => {
                let sent = waiting.iter().try_for_each(|message| deliver(worker, message));
                inner.state = State::Listening(worker.clone());
                sent
            }
            State::Broken(_) | State::Listening(_) => Ok(()),
        });
        if let Some(Err(error)) = sent {
            self.handle(Err(error));
        }
    }

    fn failed(self, message: &str) {
        if self.0.with_value(|inner| matches!(inner.state, State::Starting(..))) {
            // It never listened: its files are gone or forbidden.
            let problem = "it could not be loaded";
            return self.fail(Error::input("the page's worker", Place::Whole, problem, "Reload the page"));
        }
        let what = if message.is_empty() { "without a reason" } else { message };
        let error = Error::TooLarge {
            problem: format!("the worker stopped ({what}); most likely the browser ran out of memory"),
            cure: self.0.with_value(|inner| inner.cure).into(),
        };
        self.replace();
        self.handle(Err(error));
    }
}

impl Inner {
    /// Starts a worker whose messages and failures go to `worker`.
    fn start(&self, worker: Worker) -> Result<web_sys::Worker, Error> {
        let failed = |what: &str| Error::Internal(format!("the worker does not start: {what}"));
        let options = BlobPropertyBag::new();
        options.set_type("text/javascript");
        let script = self.script.as_deref().map_err(Error::clone)?;
        let blob = Blob::new_with_str_sequence_and_options(&Array::of1(&script.into()), &options);
        let url = blob.and_then(|b| Url::create_object_url_with_blob(&b)).map_err(|_| failed("no blob URL"))?;
        let options = WorkerOptions::new();
        options.set_type(WorkerType::Module);
        let started = web_sys::Worker::new_with_options(&url, &options)
            .map_err(|_| failed("module workers are not supported"))?;

        let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| match event.data() {
            data if data.is_null() => worker.ready(),
            data => worker.handle(Ok(data)),
        });
        started.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        on_message.forget(); // Lives as long as the worker.
        let on_error = Closure::<dyn Fn(Event)>::new(move |event: Event| {
            let message = event.dyn_into::<ErrorEvent>().map(|e| e.message()).unwrap_or_default();
            worker.failed(&message);
        });
        started.set_onerror(Some(on_error.as_ref().unchecked_ref()));
        on_error.forget();
        Ok(started)
    }
}

fn deliver(worker: &web_sys::Worker, message: &JsValue) -> Result<(), Error> {
    worker.post_message(message).map_err(|_| Error::Internal("the worker cannot be reached".into()))
}

/// In the worker: handles each message of the page, and lets the page know that it listens.
pub fn listen(handler: impl Fn(&DedicatedWorkerGlobalScope, JsValue) + 'static) {
    let Ok(scope) = js_sys::global().dyn_into::<DedicatedWorkerGlobalScope>() else { return };
    let listener = {
        let scope = scope.clone();
        Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| handler(&scope, event.data()))
    };
    scope.set_onmessage(Some(listener.as_ref().unchecked_ref()));
    listener.forget(); // Lives as long as the worker.
    post(&scope, Ok(JsValue::NULL));
}

/// In the worker: sends the page a message.
pub fn post(scope: &DedicatedWorkerGlobalScope, message: Result<JsValue, Error>) {
    match message.map(|message| scope.post_message(&message)) {
        Ok(Ok(())) => {}
        Ok(Err(_)) => leptos::logging::error!("the page cannot be reached"),
        Err(error) => leptos::logging::error!("{error}"),
    }
}
