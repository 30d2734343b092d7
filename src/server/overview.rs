//! What the gate's page is told about the process, and the history it shows.

use super::supervise::Supervisor;
use crate::control::Status;
use crate::history::{Counts, Moment};
use crate::page::Overview;

impl Overview for Supervisor {
    fn status(&self) -> Status {
        Self::status(self)
    }
}

impl Supervisor {
    /// Takes what was counted so far into the history.
    pub(super) fn sample(&self) {
        let totals = self.metrics.totals();
        self.history.record(Moment::now(), &Counts::from(&totals), totals.open_connections);
    }
}
