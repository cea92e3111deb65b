//! Whether the service takes work.

use std::sync::Arc;

use tokio::sync::watch;

/// Whether the service takes work.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<watch::Sender<bool>>);

impl Health {
    /// From now on the server takes no more work: `/health/ready` says so, jobs are cancelled and event streams end.
    pub fn drain(&self) {
        self.0.send_replace(true);
    }

    pub(crate) fn draining(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the server shuts down.
    pub(crate) async fn drained(&self) {
        // The sender lives as long as `self`.
        let _ = self.0.subscribe().wait_for(|draining| *draining).await;
    }
}
