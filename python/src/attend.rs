//! Long work: the interpreter is free meanwhile, Ctrl-C stops it, and whoever asks hears how far it is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use accel_core::error::Error;
use accel_core::progress::{Flow, Progress};
use pyo3::prelude::*;

use crate::error::OrRaise as _;

/// How often signals are looked for: a person who presses Ctrl-C feels nothing of it.
const TICK: Duration = Duration::from_millis(50);
/// How long work that was stopped may take to end before it is left to itself: some cannot be divided.
const PATIENCE: Duration = Duration::from_millis(100);

/// How far the work is, and whether to stop it.
#[derive(Default)]
struct State {
    stop: AtomicBool,
    at: Mutex<(u64, u64, String)>,
}

/// What the work reports to.
pub(crate) struct Heard(Arc<State>);

impl Progress for Heard {
    fn report(&mut self, done: u64, total: u64, what: &str) -> Flow {
        // What is behind the lock is whole at any time.
        let mut at = self.0.at.lock().unwrap_or_else(PoisonError::into_inner);
        (at.0, at.1) = (done, total);
        if at.2 != what {
            what.clone_into(&mut at.2);
        }
        if self.0.stop.load(Ordering::Relaxed) { Flow::Cancel } else { Flow::Continue }
    }
}

/// Runs `work` on a thread of its own. This one hears signals, as only the interpreter's first can, and calls `callback`
/// with what is done, the total and what comes next. Work that was stopped is given up after a moment, or after `patience`
/// where it has something to save.
pub(crate) fn attend<T: Send + 'static>(
    py: Python<'_>,
    callback: Option<Py<PyAny>>,
    patience: Option<Duration>,
    work: impl FnOnce(&mut Heard) -> anyhow::Result<T> + Send + 'static,
) -> PyResult<T> {
    let state = Arc::new(State::default());
    let mut heard = Heard(Arc::clone(&state));
    let (sender, receiver) = channel();
    let thread = std::thread::Builder::new().name("accel".into());
    // Nobody listens where the work was given up.
    let start = thread.spawn(move || drop(sender.send(work(&mut heard))));
    start.map_err(anyhow::Error::from).or_raise(py)?;
    let (listener, shared) = (callback.as_ref(), &state);
    let tick = move || {
        Python::attach(|py| {
            py.check_signals()?;
            let Some(callback) = listener else { return Ok(()) };
            let (done, total, what) = shared.at.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if total > 0 { callback.call1(py, (done, total, what)).map(drop) } else { Ok(()) }
        })
    };
    let ended = py.detach(move || {
        loop {
            match receiver.recv_timeout(TICK) {
                Ok(found) => return Ok(found),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Ok(Err(Error::Internal("a thread has panicked".into()).into()));
                }
            }
            if let Err(error) = tick() {
                shared.stop.store(true, Ordering::Relaxed);
                // Whether it ends in time makes no difference to the caller.
                drop(receiver.recv_timeout(patience.unwrap_or(PATIENCE)));
                return Err(error);
            }
        }
    })?;
    // The end is heard as well.
    if let Some(callback) = listener.filter(|_| ended.is_ok()) {
        let (_, total, what) = state.at.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if total > 0 {
            callback.call1(py, (total, total, what))?;
        }
    }
    ended.or_raise(py)
}
