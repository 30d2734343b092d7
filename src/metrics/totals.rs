//! All of it in a few figures.

use serde::{Deserialize, Serialize};

use super::labels::{CacheOutcome, Role, Route, Status};
use super::{Metrics, Worker};

/// What happened since the start, over all sites. Cheap enough to be asked for every few seconds.
///
/// All but `open_connections` only ever grow, and begin at zero with each start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Requests answered.
    pub requests: u64,
    /// The same by [`Status`]: in the order of `Status::ALL`.
    pub by_status: [u64; Status::COUNT],
    /// The same by [`Route`]: in the order of `Route::ALL`.
    pub by_route: [u64; Route::COUNT],
    /// Bytes of the bodies sent to clients.
    pub bytes_out: u64,
    /// Narinfos asked for.
    pub narinfos: Narinfos,
    /// Bytes of nars sent to clients, compressed as they were.
    pub nar_bytes: u64,
    /// Requests answered from the cache, fresh or found to be still good.
    pub cache_hits: u64,
    /// Requests for what may be kept, answered by the backend.
    pub cache_misses: u64,
    /// Requests answered from the cache, past its time.
    pub cache_stale: u64,
    /// Requests that got an error page of ours because a backend failed.
    pub backend_errors: u64,
    /// TLS handshakes, resumed ones included.
    pub handshakes: u64,
    /// Connections of clients that are open now.
    pub open_connections: u64,
}

/// Narinfos asked for: the farm's coverage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Narinfos {
    /// `guix publish` has the item.
    pub found: u64,
    /// It does not.
    pub absent: u64,
}

impl Metrics {
    /// What happened since the start.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for site in self.sites() {
            for shard in site.shards() {
                for (route, by_route) in shard.routes.iter().zip(&mut totals.by_route) {
                    for by_protocol in &route.requests {
                        for (counter, by_status) in by_protocol.iter().zip(&mut totals.by_status) {
                            *by_status += counter.get();
                            *by_route += counter.get();
                        }
                    }
                    totals.bytes_out += route.bytes_out.get();
                }
                totals.narinfos.found += shard.narinfos_found.get();
                totals.narinfos.absent += shard.narinfos_absent.get();
                totals.nar_bytes += shard.nar_bytes.iter().map(|counter| counter.get()).sum::<u64>();
            }
            totals.backend_errors +=
                Role::ALL.iter().map(|&role| site.backend(role).sum(|shard| &shard.errors)).sum::<u64>();
        }
        for worker in &self.workers {
            totals.add_worker(worker);
        }
        totals.requests = totals.by_status.iter().sum();
        totals.open_connections =
            self.surroundings().map_or(0, |surroundings| surroundings.open_connections());
        totals
    }
}

impl Totals {
    fn add_worker(&mut self, worker: &Worker) {
        for space in &worker.cache {
            let outcome = |outcome: CacheOutcome| space[outcome.index()].get();
            self.cache_hits += outcome(CacheOutcome::Hit) + outcome(CacheOutcome::Revalidated);
            self.cache_misses += outcome(CacheOutcome::Miss);
            self.cache_stale += outcome(CacheOutcome::Stale);
        }
        let handshakes = worker.handshakes_full.iter().chain(&worker.handshakes_resumed);
        self.handshakes += handshakes.map(|counter| counter.get()).sum::<u64>();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::{Compression, Protocol, Request, Spent};

    fn request(route: Route, status: u16, spent: &Spent) -> Request<'_> {
        Request {
            route,
            protocol: Protocol::TlsHttp11,
            status,
            bytes_in: 0,
            bytes_out: 100,
            compression: (route == Route::Nar).then_some(Compression::Zstd),
            took: Some(Duration::from_millis(1)),
            spent,
        }
    }

    #[test]
    fn the_shards_of_all_workers_and_sites_add_up() {
        let metrics = Metrics::new(2);
        let (one, two) = (metrics.worker(0), metrics.worker(1));
        let (farm, other) = (metrics.site("farm.example"), metrics.site("other.example"));
        let spent = Spent::default();
        farm.record(&one, &request(Route::Narinfo, 200, &spent));
        farm.record(&two, &request(Route::Narinfo, 404, &spent));
        other.record(&two, &request(Route::Nar, 200, &spent));
        other.record(&two, &request(Route::Page, 499, &spent));
        farm.backend(Role::Ci).shard(&one).errors.increment();
        two.handshakes_full[0].increment();
        one.handshakes_resumed[1].increment();
        one.cache[0][CacheOutcome::Revalidated.index()].increment();

        let totals = metrics.totals();
        assert_eq!(totals.requests, 4);
        assert_eq!(totals.by_status, [2, 0, 1, 0, 1]);
        assert_eq!(totals.by_route[Route::Narinfo.index()], 2);
        assert_eq!(totals.by_route.iter().sum::<u64>(), 4);
        assert_eq!(totals.narinfos, Narinfos { found: 1, absent: 1 });
        assert_eq!((totals.bytes_out, totals.nar_bytes), (400, 100));
        assert_eq!((totals.backend_errors, totals.handshakes, totals.cache_hits), (1, 2, 1));
    }

    #[test]
    fn a_site_that_comes_back_goes_on_counting() {
        let metrics = Metrics::new(1);
        let spent = Spent::default();
        for _ in 0..2 {
            metrics.site("farm.example").record(&metrics.worker(0), &request(Route::Page, 200, &spent));
        }
        assert_eq!(metrics.totals().requests, 2);
    }

    #[test]
    fn totals_are_read_as_they_were_written() {
        let totals = Totals { requests: 7, by_status: [1, 2, 3, 4, 5], ..Totals::default() };
        let text = serde_json::to_string(&totals).unwrap();
        assert_eq!(serde_json::from_str::<Totals>(&text).unwrap(), totals);
        // A figure that did not exist when it was written is zero.
        assert_eq!(serde_json::from_str::<Totals>("{\"requests\":7}").unwrap().requests, 7);
    }
}
