//! Who is in charge of the folder: of two gates with the same one, during an upgrade, one.
//!
//! The one that is not stores nothing, removes nothing and looks nothing up: what it has in its index may be gone, and
//! what it stored or kept would come back behind the back of the other one, whoever purged it there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// Whether this process is.
#[derive(Debug, Default)]
pub(super) struct Charge {
    /// Nothing is looked up or stored any more: looked at by each request.
    stepping_back: AtomicBool,
    /// Nothing on disk is changed any more. Held for reading by whoever changes something.
    given_up: RwLock<bool>,
}

impl Charge {
    /// Whether requests are to be answered from what is stored.
    pub(super) fn is_held(&self) -> bool {
        !self.stepping_back.load(Ordering::Acquire)
    }

    /// The right to change files, for as long as it is kept; none where another process has it.
    pub(super) fn hold(&self) -> Option<RwLockReadGuard<'_, bool>> {
        let given_up = self.given_up.read().unwrap_or_else(PoisonError::into_inner);
        (!*given_up).then_some(given_up)
    }

    /// Leaves the folder to another process. `finish` does what is still to be done for requests that were answered
    /// already. Waits for those who are changing something.
    pub(super) fn give_up(&self, finish: impl FnOnce()) {
        self.stepping_back.store(true, Ordering::SeqCst);
        finish();
        *self.given_up.write().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Has it again.
    pub(super) fn take(&self) {
        *self.given_up.write().unwrap_or_else(PoisonError::into_inner) = false;
        self.stepping_back.store(false, Ordering::SeqCst);
    }
}
