//! How often each client may ask for the UI's expensive pages.
//!
//! A table of a fixed size, whatever clients do: a bucket that is full is as good as none, so whoever has not asked for a
//! while needs no place. Where more clients ask at once than there are places, the one that is nearest to full goes, and
//! its client has a new start: the limit errs on the side of letting in.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, OnceLock, PoisonError};

use tokio::time::Instant;

use super::bucket::Bucket;
use super::network_of;
use crate::config::RequestLimit;

/// Rows of the table; a client is in one of them, by its hash.
const ROWS: usize = 2048;
/// Places in a row.
const PLACES: usize = 8;

/// Who has asked how often.
#[derive(Debug)]
pub struct Requests {
    began: Instant,
    /// Clients are in the table by a hash that only this process can make, and not by address.
    hash: RandomState,
    // Made when it is first needed: 256 KiB that most gates do without. One lock, as it is held for a look at one row
    // and asked for by pages that take a backend's time.
    rows: OnceLock<Mutex<Box<[Row]>>>,
}

type Row = [Place; PLACES];

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    client: u64,
    bucket: Bucket,
}

impl Default for Requests {
    fn default() -> Self {
        Self { began: Instant::now(), hash: RandomState::new(), rows: OnceLock::new() }
    }
}

impl Requests {
    /// Counts a request of `client` that `limit` is for.
    ///
    /// # Errors
    ///
    /// Where it is one too many; then with the seconds after which one will not be, 1 at least.
    pub fn admit(&self, client: IpAddr, limit: &RequestLimit) -> Result<(), u64> {
        let now = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        // Each limit has its own buckets; they stay as long as it says the same, wherever it stands in the file.
        let client = self.hash.hash_one((network_of(client), limit));
        let rows = self.rows.get_or_init(|| Mutex::new(vec![Row::default(); ROWS].into_boxed_slice()));
        // Whole after every statement.
        let mut rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
        let row = &mut rows[client as usize % ROWS];
        let cost = u64::try_from(limit.interval.as_nanos()).unwrap_or(u64::MAX);
        let depth = cost.saturating_mul(u64::from(limit.burst));
        let taken = place_of(row, client, now).bucket.take(now, cost, depth);
        taken.map_err(|wait| wait.div_ceil(1_000_000_000).max(1))
    }
}

/// The place of `client`: its own, or else the one whose loss is the least.
fn place_of(row: &mut Row, client: u64, now: u64) -> &mut Place {
    let own = row.iter().position(|place| place.client == client);
    let at = own.unwrap_or_else(|| {
        let fullest = row.iter().enumerate().min_by_key(|(_, place)| place.bucket);
        // A row is never empty.
        fullest.map_or(0, |(at, _)| at)
    });
    let place = &mut row[at];
    if place.client != client || place.bucket.is_full(now) {
        *place = Place { client, bucket: Bucket::default() };
    }
    place
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    /// One each 10 seconds, three at once.
    fn limit() -> RequestLimit {
        RequestLimit { paths: Vec::new(), interval: Duration::from_secs(10), burst: 3 }
    }

    fn ip(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_has_its_burst_and_then_its_rate_and_others_have_theirs() {
        let (requests, limit) = (Requests::default(), limit());
        for _ in 0..3 {
            assert_eq!(requests.admit(ip(1), &limit), Ok(()));
        }
        assert_eq!(requests.admit(ip(1), &limit), Err(10));
        assert_eq!(requests.admit(ip(2), &limit), Ok(()));
        let other = RequestLimit { burst: 4, ..limit.clone() };
        assert_eq!(requests.admit(ip(1), &other), Ok(()), "another limit counts for itself");
        tokio::time::advance(Duration::from_millis(9_500)).await;
        assert_eq!(requests.admit(ip(1), &limit), Err(1));
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(requests.admit(ip(1), &limit), Ok(()));
        assert_eq!(requests.admit(ip(1), &limit), Err(10));
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_of_one_ipv6_host_are_one_client() {
        let (requests, limit) = (Requests::default(), limit());
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        for host in ["2001:db8::1", "2001:db8::2", "2001:db8::3:4"] {
            assert_eq!(requests.admit(address(host), &limit), Ok(()));
        }
        assert!(requests.admit(address("2001:db8::5"), &limit).is_err());
        assert_eq!(requests.admit(address("2001:db8:0:1::5"), &limit), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_million_clients_take_no_more_room_than_one_and_one_that_insists_is_still_limited() {
        let (requests, limit) = (Requests::default(), limit());
        for _ in 0..3 {
            let _ = requests.admit(ip(7), &limit);
        }
        let mut refused = 0;
        for number in 1000..1_001_000 {
            let _ = requests.admit(ip(number), &limit);
            if number % 1000 == 0 {
                // It has the emptiest bucket there is: the others go first.
                refused += u32::from(requests.admit(ip(7), &limit).is_err());
            }
        }
        assert_eq!(refused, 1000);
        let rows = requests.rows.get().unwrap().lock().unwrap();
        assert_eq!(std::mem::size_of_val(&**rows), 256 * 1024);
    }
}
