//! The signals that end the server: the first lets it finish what is under way, the second ends it at once.

use std::process::exit;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a process ends with that a signal ended: 128 and the signal's number.
#[cfg(unix)]
const TERMINATED: i32 = 128 + 15;
const INTERRUPTED: i32 = 128 + 2;

/// The signals, caught from the moment this is made.
pub(crate) struct Signals {
    #[cfg(unix)]
    interrupt: Signal,
    #[cfg(unix)]
    terminate: Signal,
}

impl Signals {
    #[cfg(unix)]
    pub(crate) fn catch() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    #[cfg(not(unix))]
    pub(crate) fn catch() -> std::io::Result<Self> {
        Ok(Self {})
    }

    /// The next one: the code that the process ends with if it ends for it.
    #[cfg(unix)]
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.interrupt.recv() => INTERRUPTED,
            _ = self.terminate.recv() => TERMINATED,
        }
    }

    #[cfg(not(unix))]
    async fn next(&mut self) -> i32 {
        match tokio::signal::ctrl_c().await {
            Ok(()) => INTERRUPTED,
            Err(error) => {
                tracing::error!(%error, "cannot wait for Ctrl-C");
                std::future::pending().await
            }
        }
    }

    /// Waits for the first; the second ends the process.
    pub(crate) async fn first(mut self) {
        self.next().await;
        tokio::spawn(async move {
            let code = self.next().await;
            tracing::warn!("ended at once by a second signal");
            exit(code);
        });
    }
}
