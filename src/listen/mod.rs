//! Listening sockets, the accept loop, and the connections it makes.

mod accept;
mod caps;
mod connection;
mod linger;
mod socket;

pub use accept::{Acceptor, Limits, Protocol};
pub use caps::Caps;
pub use connection::{Connection, ConnectionInfo, Refusals, TlsInfo, info_of};
pub use socket::{Bound, bind};
