//! What is being done, for those who watch.

use std::sync::Arc;

use tracing::info;

/// Is told each step.
pub(super) type Watcher = Arc<dyn Fn(&str) + Send + Sync>;

/// Tells the log and whoever watches what is done for a site.
#[derive(Clone)]
pub(super) struct Progress {
    site: String,
    watcher: Watcher,
}

impl Progress {
    pub(super) fn new(site: &str, watcher: Watcher) -> Self {
        Self { site: site.to_owned(), watcher }
    }

    /// Whoever watches, without the log.
    pub(super) fn watcher(&self) -> &Watcher {
        &self.watcher
    }

    /// A step is being taken, or has been.
    pub(super) fn tell(&self, step: impl AsRef<str>) {
        info!("acme: {}: {}", self.site, step.as_ref());
        (self.watcher)(step.as_ref());
    }
}
