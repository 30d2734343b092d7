//! What stands behind the connections.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use pingora::protocols::http::v1::server::HttpSession;

use super::http2::Stream;

/// How long a new connection may take to its first request when the gate is stopping.
pub(super) const FIRST_REQUEST: Duration = Duration::from_secs(2);

/// Answers requests.
pub trait Respond: Send + Sync + 'static {
    /// Answers one request over HTTP/1, whose head was read. Gives the session back when the connection is good for
    /// another.
    fn respond_http1(&self, session: HttpSession) -> impl Future<Output = Option<HttpSession>> + Send;

    /// Answers one request over HTTP/2. Returning without having answered resets its stream.
    fn respond_http2(self: Arc<Self>, stream: Stream) -> impl Future<Output = ()> + Send;
}
