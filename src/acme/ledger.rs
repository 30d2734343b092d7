//! What was ordered for which name in the last day.
//!
//! One list for all sites: a name that moves to another site takes its count along. It is written before an order
//! is made: what was counted and not ordered costs a little patience, the other way round costs the CA's.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::clock::Time;
use super::schedule::{ORDERS_PER_DAY, capped_until};
use crate::files::{self, Content};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The orders of the last day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Orders {
    /// When each name was ordered.
    names: BTreeMap<String, Vec<Time>>,
    /// Orders that may have been made, for any name.
    unknown: Vec<Time>,
}

/// The file with the orders.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    /// That it cannot be read has been told: it is looked at too often to say so each time.
    told: Arc<AtomicBool>,
}

impl Ledger {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, told: Arc::default() }
    }

    /// Until when `names` may not be ordered; none when they may.
    pub(super) fn capped_until(&self, names: &[String], now: Time) -> Option<Time> {
        let orders = self.read(now);
        names.iter().filter_map(|name| capped_until(&orders.of(name), now)).max()
    }

    /// Counts an order for `names`. Only after this may it be made.
    pub(super) fn count(&self, names: &[String], now: Time) -> io::Result<()> {
        let mut orders = self.read(now);
        for name in names {
            orders.names.entry(name.clone()).or_default().push(now);
        }
        orders.forget_before(now);
        files::write_json(&self.path, &orders)
    }

    fn read(&self, now: Time) -> Orders {
        let content = files::read_json(&self.path);
        let unreadable = matches!(content, Content::Unreadable(_));
        let told = self.told.swap(unreadable, Ordering::Relaxed);
        match content {
            Content::Good(orders) => orders,
            Content::Missing => Orders::default(),
            Content::Unreadable(why) => {
                if !told {
                    warn!("{}: {why}; nothing is ordered until it can be read", self.path.display());
                }
                Orders { unknown: vec![now; ORDERS_PER_DAY], ..Orders::default() }
            }
            // Who cannot read what was ordered has to assume that it was as much as is allowed: a day's patience
            // costs little, as certificates are renewed weeks before they end; a week's ban may cost a certificate.
            Content::Damaged(why) => {
                warn!(
                    "{}: {why}; assuming that today's orders are used up (remove the file to order now)",
                    self.path.display()
                );
                let orders = Orders { unknown: vec![now; ORDERS_PER_DAY], ..Orders::default() };
                // Otherwise it would be now again at each look, and the day would never end.
                if let Err(error) = files::write_json(&self.path, &orders) {
                    warn!("{}: {error}", self.path.display());
                }
                orders
            }
        }
    }
}

impl Orders {
    fn of(&self, name: &str) -> Vec<Time> {
        self.names.get(name).into_iter().flatten().chain(&self.unknown).copied().collect()
    }

    fn forget_before(&mut self, now: Time) {
        let settle = |times: &mut Vec<Time>| {
            times.iter_mut().for_each(|at| *at = (*at).min(now));
            times.retain(|at| now.since(*at) < DAY);
        };
        self.names.values_mut().for_each(settle);
        self.names.retain(|_, times| !times.is_empty());
        settle(&mut self.unknown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_unix(1_800_000_000);

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_name_is_ordered_so_many_times_a_day_and_no_more_whichever_site_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(folder.path().join("orders.json"));
        for _ in 0..ORDERS_PER_DAY {
            assert_eq!(ledger.capped_until(&names(&["a", "b"]), NOW), None);
            ledger.count(&names(&["a"]), NOW).unwrap();
        }
        assert_eq!(ledger.capped_until(&names(&["b", "a"]), NOW), Some(NOW.plus(DAY)));
        assert_eq!(ledger.capped_until(&names(&["b"]), NOW), None);
        assert_eq!(ledger.capped_until(&names(&["a"]), NOW.plus(DAY)), None);
    }

    #[test]
    fn a_damaged_list_counts_as_a_full_one_for_a_day() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.json");
        std::fs::write(&path, "{").unwrap();
        let ledger = Ledger::new(path);
        let end = ledger.capped_until(&names(&["a"]), NOW);
        assert_eq!(end, Some(NOW.plus(DAY)));
        assert_eq!(ledger.capped_until(&names(&["a"]), NOW.plus(Duration::from_secs(3600))), end);
        assert_eq!(ledger.capped_until(&names(&["a"]), NOW.plus(DAY)), None);
    }

    #[test]
    fn a_clock_set_back_for_years_holds_nothing_up_for_years() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(folder.path().join("orders.json"));
        for _ in 0..ORDERS_PER_DAY {
            ledger.count(&names(&["a"]), NOW).unwrap();
        }
        let past = NOW.minus(DAY * 900);
        ledger.count(&names(&["b"]), past).unwrap();
        assert_eq!(ledger.capped_until(&names(&["a"]), past), Some(past.plus(DAY)));
        assert_eq!(ledger.capped_until(&names(&["a"]), past.plus(DAY)), None);
    }
}
