//! Handing the work over to another process, most often a newer version of this program.
//!
//! The running gate starts the other one, and they talk over a socket that is the other one's stdin:
//!
//! ```text
//! old                                      new
//! Sockets: all that it listens on,
//! and what Landlock leaves open      ───▶  reads its configuration, takes the sockets that it names, binds what is
//!                                          new, loads what it shows
//!                                    ◀───  Prepared; or Failed, and why
//! orders no more certificates, stores
//! and removes nothing, puts no log aside
//! Go                                 ───▶  does all that, and accepts
//!                                    ◀───  Serving; or Failed, and why
//! accepts no more: Yours             ───▶
//! Finishing: so many connections     ───▶
//!                                    ◀───  AdminRules: they may have changed
//! ends
//! ```
//!
//! Until `Serving` the old one accepts connections all the time, so that one that does not come up costs nothing. Both
//! have the same sockets, not only the same addresses: what waits in the kernel to be accepted is lost with neither.
//!
//! With `Go` the new one is also given the sockets that lead to earlier gates which still finish: it speaks with all of
//! them, whoever of those in between has gone.

mod channel;
mod message;
mod predecessor;
mod successor;

pub use channel::Channel;
pub use message::{Circumstances, FromNew, FromOld, Kind, Offer, Open, Use};
pub use predecessor::{Begun, Lost, Predecessor};
pub use successor::{Failure, Followed, Successor};
