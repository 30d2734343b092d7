//! What the phases of one request tell each other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderValue;

use super::ask::UnderWay;
use super::generation::{Generation, Live, Site};
use super::lookup::Begun;
use super::plan::Upstream;
use super::session::Session;
use crate::admin::Administrator;
use crate::listen::ConnectionInfo;
use crate::log::RequestId;
use crate::metrics::{CacheOutcome, Route, Spent};

/// The state of one request.
pub struct Context {
    /// The configuration this request began with.
    pub generation: Arc<Generation>,
    /// The site it is for.
    pub site: usize,
    /// What was asked for.
    pub route: Route,
    /// Where it goes, once that is decided.
    pub upstream: Option<Upstream>,
    /// How long the backend may say nothing, where that is not as for all.
    pub read_timeout: Option<Duration>,
    /// The administrator that was let in.
    pub administrator: Option<Administrator>,
    /// What it is called in the logs, and on an error page.
    pub id: RequestId,
    /// What the cache did, where it was asked.
    pub cache: Option<CacheOutcome>,
    /// What the client is told of the cache, where there is no answer.
    pub cache_failed: Option<HeaderValue>,
    /// When its head was here.
    pub began: Instant,
    /// Where its time went since then.
    pub spent: Spent,
    /// What its backend was asked already.
    pub under_way: Option<UnderWay>,
}

impl Context {
    /// Of a request that comes now, or for which something has `begun`.
    pub(super) fn new(live: &Live, begun: Option<Begun>) -> Self {
        match begun {
            None => Self::at(live.load_full(), Instant::now()),
            Some(begun) => {
                let context = Self::at(begun.generation, begun.began);
                Self { spent: begun.spent, under_way: Some(begun.under_way), ..context }
            }
        }
    }

    fn at(generation: Arc<Generation>, began: Instant) -> Self {
        Self {
            generation,
            site: 0,
            route: Route::Malformed,
            upstream: None,
            read_timeout: None,
            administrator: None,
            id: RequestId::next(),
            cache: None,
            cache_failed: None,
            began,
            spent: Spent::default(),
            under_way: None,
        }
    }

    /// The site the request is for.
    pub fn site(&self) -> &Site {
        self.generation.site(self.site)
    }
}

/// The facts of the connection a request came on.
pub fn connection(session: &Session) -> &ConnectionInfo {
    session.connection()
}
