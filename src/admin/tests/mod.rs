//! The verdict on certificates that the real `openssl` made, most of them as Cuirass's script does.

mod arbitrary_bytes;
mod clients;
mod files;
mod intermediates;
pub(crate) mod openssl;
mod revocation;

use std::time::{Duration, SystemTime};

use super::{Administrator, Gate, Refusal};
use openssl::Authority;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A gate for one CA, without revocation lists.
fn gate(ca: &Authority) -> Gate {
    Gate::load(&ca.certificate(), &[])
}

fn now() -> SystemTime {
    SystemTime::now()
}

fn refused(verdict: Result<Administrator, Refusal>) -> Refusal {
    verdict.expect_err("this chain must be refused")
}
