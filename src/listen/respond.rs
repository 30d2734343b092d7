//! What stands behind the connections.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use pingora::protocols::http::v1::server::HttpSession;

use super::gather::Outgoing;
use super::http2::Stream;
use super::info::ConnectionInfo;
use super::plain::Plain;

/// How long a new connection may take to its first request when the gate is stopping.
pub(super) const FIRST_REQUEST: Duration = Duration::from_secs(2);

/// Answers requests.
pub trait Respond: Send + Sync + 'static {
    /// What was done for a plain request before it turned out to take more.
    type Begun: Send;

    /// Answers a plain request over HTTP/1, if it can be answered without the engine. The answer is gathered in `outgoing`.
    fn respond_plain(
        &self,
        request: &Plain<'_>,
        connection: &ConnectionInfo,
        outgoing: &Outgoing,
    ) -> impl Future<Output = Plainly<Self::Begun>> + Send;

    /// Answers one request over HTTP/1, whose head was read, and for which something may have `begun`. Gives the session
    /// back when the connection is good for another.
    fn respond_http1(
        &self,
        session: Box<HttpSession>,
        begun: Option<Self::Begun>,
    ) -> impl Future<Output = Option<Box<HttpSession>>> + Send;

    /// Answers one request over HTTP/2. Returning without having answered resets its stream.
    fn respond_http2(self: Arc<Self>, stream: Stream) -> impl Future<Output = ()> + Send;
}

/// What became of a plain request.
#[derive(Debug)]
pub enum Plainly<B> {
    /// It was answered, and the connection is good for another.
    Answered,
    /// The connection is good for nothing.
    Lost,
    /// It is the engine's, which goes on with what was begun.
    Passed(Option<B>),
}
