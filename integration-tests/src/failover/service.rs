//! The instances that are asked, as a Service of Kubernetes has them: one that is told to stop is taken out a little later, and one that is ready is put
//! back.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

/// Who can be asked. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Service(Arc<RwLock<Vec<String>>>);

// === impl Service ===

impl Service {
    /// All of these.
    pub(super) fn of(urls: &[String]) -> Self {
        Self(Arc::new(RwLock::new(urls.to_vec())))
    }

    /// Whose turn it is.
    pub(super) fn pick(&self, turn: u64) -> Option<String> {
        let urls = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let turn = usize::try_from(turn).unwrap_or_default().checked_rem(urls.len())?;
        urls.get(turn).cloned()
    }

    /// Puts one in.
    pub(super) fn add(&self, url: &str) {
        let mut urls = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if !urls.iter().any(|known| known == url) {
            urls.push(url.to_owned());
        }
    }

    /// Takes one out.
    pub(super) fn remove(&self, url: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).retain(|known| known != url);
    }

    /// Takes one out after so long.
    pub(super) fn remove_after(&self, lag: Duration, url: String) {
        let service = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(lag).await;
            service.remove(&url);
        });
    }
}
