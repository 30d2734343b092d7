//! Listening sockets, the accept loop, and the connections it makes.

mod accept;
mod caps;
mod connection;
mod gather;
mod info;
mod linger;
mod socket;

pub use accept::{Acceptor, Limits, Protocol};
pub use caps::{Caps, network_of};
pub use connection::{Connection, Refusals};
pub use gather::Outgoing;
pub use info::{ConnectionInfo, TlsInfo, info_of};
pub use socket::{Bound, bind};
