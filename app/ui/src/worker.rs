//! A page's worker, from both sides: [`Worker`] on the page, [`listen`] and [`post`] in the worker.
//!
//! A worker that listens says so with `null`, before anything else; until then messages to it wait. While it lives it holds
//! a lock of its own name. The page asks for the same lock, and gets it when the worker is gone: nothing else tells of one
//! that closed itself. Browsers lock nothing for a page that came over plain HTTP from another machine.

use std::rc::Rc;

use accel_ground::error::{Error, Place};
use js_sys::{Function, Math, Promise};
use leptos::prelude::*;
use wasm_bindgen::prelude::{Closure, wasm_bindgen};
use wasm_bindgen::{JsCast as _, JsValue};
use web_sys::{DedicatedWorkerGlobalScope, ErrorEvent, Event, MessageEvent, WorkerOptions};

use crate::module;

/// Handles a message of the worker, or its failure.
pub type Handler = Rc<dyn Fn(Result<JsValue, Error>)>;
/// Makes what each new worker is told first, if anything.
pub type Greeting = Rc<dyn Fn() -> Option<JsValue>>;

/// A handle to the worker of a page; copies are the same worker.
#[derive(Debug, Clone, Copy)]
pub struct Worker(StoredValue<Inner, LocalStorage>);

struct Inner {
    /// What it runs.
    module: &'static str,
    /// What the user can do where it ran out of memory.
    cure: &'static str,
    greeting: Greeting,
    handler: Handler,
    state: State,
}

enum State {
    /// There is none; the next message starts one.
    Absent,
    /// It does not listen yet: what to send once it does.
    Starting(web_sys::Worker, Vec<JsValue>),
    Listening(web_sys::Worker),
}

impl State {
    fn worker(&self) -> Option<&web_sys::Worker> {
        match self {
            Self::Absent => None,
            Self::Starting(worker, _) | Self::Listening(worker) => Some(worker),
        }
    }
}

impl Worker {
    /// A worker that runs the module `module` and is not started yet. `cure` is what the user can do where it runs out of
    /// memory.
    pub fn new(module: &'static str, cure: &'static str) -> Self {
        let (greeting, handler) = (Rc::new(|| None), Rc::new(|_| ()));
        Self(StoredValue::new_local(Inner { module, cure, greeting, handler, state: State::Absent }))
    }

    /// Starts it. One that stops is replaced; one that cannot be loaded is tried again when something is sent.
    pub fn start(self, greeting: Greeting, handler: Handler) {
        self.0.update_value(|inner| {
            inner.greeting = greeting;
            inner.handler = handler;
        });
        self.spawn();
    }

    /// Whether there is one, so that nobody greets it any more.
    pub fn is_there(self) -> bool {
        self.0.try_with_value(|inner| inner.state.worker().is_some()).unwrap_or_default()
    }

    /// Sends `message`, once the worker listens.
    ///
    /// # Errors
    ///
    /// Where the worker cannot be reached.
    pub fn send(self, message: JsValue) -> Result<(), Error> {
        if !self.is_there() {
            self.spawn();
        }
        let sent = self.0.try_update_value(|inner| match &mut inner.state {
            // Why was told when it was to be started.
            State::Absent => Ok(()),
            State::Starting(_, waiting) => {
                waiting.push(message);
                Ok(())
            }
            State::Listening(worker) => deliver(worker, &message),
        });
        sent.unwrap_or(Ok(()))
    }

    /// Replaces the worker by one that was only greeted.
    pub fn replace(self) {
        let first = self.greeting();
        let stopped = self.0.try_update_value(|inner| match &mut inner.state {
            State::Absent => false,
            State::Starting(_, waiting) => {
                *waiting = first;
                false
            }
            State::Listening(worker) => {
                worker.terminate();
                true
            }
        });
        if stopped == Some(true) {
            self.spawn();
        }
    }

    fn spawn(self) {
        match create(self, self.0.with_value(|inner| inner.module)) {
            Ok(worker) => {
                let first = self.greeting();
                self.0.update_value(|inner| inner.state = State::Starting(worker, first));
            }
            Err(error) => self.fail(error),
        }
    }

    /// What a new worker is told first.
    fn greeting(self) -> Vec<JsValue> {
        // It may look at what holds the worker, so it is called while nothing of the worker is borrowed.
        let greeting = self.0.with_value(|inner| Rc::clone(&inner.greeting));
        greeting().into_iter().collect()
    }

    /// There is no worker, because of `error`.
    fn fail(self, error: Error) {
        self.0.update_value(|inner| inner.state = State::Absent);
        self.handle(Err(error));
    }

    fn handle(self, message: Result<JsValue, Error>) {
        // The handler may send, so it is called while nothing of the worker is borrowed.
        let handler = self.0.with_value(|inner| Rc::clone(&inner.handler));
        handler(message);
    }

    /// The worker listens.
    fn ready(self) {
        let sent = self.0.try_update_value(|inner| match std::mem::replace(&mut inner.state, State::Absent) {
            State::Starting(worker, waiting) => {
                let sent = waiting.iter().try_for_each(|message| deliver(&worker, message));
                inner.state = State::Listening(worker);
                sent
            }
            state => {
                inner.state = state;
                Ok(())
            }
        });
        if let Some(Err(error)) = sent {
            self.handle(Err(error));
        }
    }

    /// `worker` is gone, or broke: `message` says why, if anything.
    fn failed(self, worker: &web_sys::Worker, message: &str) {
        // One that was replaced is gone as well, and nobody waits for it.
        let state = self.0.try_with_value(|inner| {
            let current = inner.state.worker() == Some(worker);
            current.then_some((matches!(inner.state, State::Starting(..)), inner.cure))
        });
        let Some(Some((starting, cure))) = state else { return };
        // Browsers put this before what was thrown.
        let message = message.trim_start_matches("Uncaught ").trim_start_matches("Error: ");
        let what = if message.is_empty() { "without a reason" } else { message };
        if starting {
            worker.terminate();
            let problem = format!("it could not be loaded: {what}");
            return self.fail(Error::input(
                "the page's worker",
                Place::Whole,
                problem,
                "Check the connection and try again",
            ));
        }
        let error = Error::TooLarge {
            problem: format!("the worker stopped ({what}); most likely the browser ran out of memory"),
            cure: cure.into(),
        };
        self.replace();
        self.handle(Err(error));
    }
}

/// Makes a worker whose messages and failures go to `page`.
fn create(page: Worker, module: &str) -> Result<web_sys::Worker, Error> {
    let failed = |what: &str| Error::Internal(format!("the worker does not start: {what}"));
    let script = module::start_script().ok_or_else(|| failed("the page's head names no script"))?;
    let options = WorkerOptions::new();
    // No two have the same name, which is that of its lock.
    let name = format!("{module}/{}", Math::random());
    options.set_name(&name);
    let worker = web_sys::Worker::new_with_options(&script, &options).map_err(|_| failed("workers are forbidden"))?;

    let this = worker.clone();
    let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| match event.data() {
        data if data.is_null() => {
            page.ready();
            let this = this.clone();
            hold(&name, Closure::once_into_js(move |_: JsValue| page.failed(&this, "it ended")));
        }
        data => page.handle(Ok(data)),
    });
    worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    on_message.forget(); // Lives as long as the worker.
    let this = worker.clone();
    let on_error = Closure::<dyn Fn(Event)>::new(move |event: Event| {
        let message = event.dyn_into::<ErrorEvent>().map(|e| e.message()).unwrap_or_default();
        page.failed(&this, &message);
    });
    worker.set_onerror(Some(on_error.as_ref().unchecked_ref()));
    on_error.forget(); // Lives as long as the worker.
    Ok(worker)
}

#[wasm_bindgen]
extern "C" {
    /// Web Locks, of which `web-sys` knows nothing yet that is stable.
    type Locks;

    #[wasm_bindgen(thread_local_v2, js_namespace = navigator, js_name = locks)]
    static LOCKS: Option<Locks>;

    #[wasm_bindgen(method)]
    fn request(this: &Locks, name: &str, granted: &Function) -> Promise;
}

/// Calls `granted` once the lock `name` is free; it is held until the promise that this returns is kept. Whether there are
/// locks.
fn hold(name: &str, granted: JsValue) -> bool {
    LOCKS.with(|locks| match locks {
        Some(locks) => {
            // What it promises comes true when the lock is free again: nobody waits for that.
            drop(locks.request(name, granted.unchecked_ref()));
            true
        }
        None => false,
    })
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
    let name = scope.name();
    let ready = {
        let scope = scope.clone();
        move |_: JsValue| -> Promise {
            post(&scope, Ok(JsValue::NULL));
            // Never kept: the lock is free when the worker is gone.
            Promise::new(&mut |_, _| {})
        }
    };
    if !hold(&name, Closure::once_into_js(ready)) {
        post(&scope, Ok(JsValue::NULL));
    }
}

/// In the worker: sends the page a message.
pub fn post(scope: &DedicatedWorkerGlobalScope, message: Result<JsValue, Error>) {
    match message.map(|message| scope.post_message(&message)) {
        Ok(Ok(())) => {}
        Ok(Err(_)) => leptos::logging::error!("the page cannot be reached"),
        Err(error) => leptos::logging::error!("{error}"),
    }
}
