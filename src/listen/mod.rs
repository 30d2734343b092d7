//! Listening sockets, the accept loop, and the connections it makes.

mod accept;
mod caps;
mod connection;
mod gather;
mod given;
mod http1;
mod http2;
mod info;
mod linger;
mod plain;
mod respond;
mod socket;

pub use accept::{Acceptor, Limits, Protocol};
pub use caps::Caps;
pub use connection::{Connection, Refusals};
pub use gather::Outgoing;
pub use given::{Given, GivenSocket, Source, Unfit, share};
pub use http2::Stream;
pub use info::{ConnectionInfo, TlsInfo, info_of};
pub use plain::Plain;
pub use respond::{Plainly, Respond};
pub use socket::{Bound, bind};
