//! TLS: the server configuration, the certificates, and how new ones replace old ones.

pub mod client_auth;
pub mod dev_keys;
mod files;
mod resolver;
pub mod roots;
mod self_signed;
mod server_config;

pub use files::{Pair, PairError, load_pair, pair_from_pem};
pub use resolver::{CertificateStore, Certificates};
pub use self_signed::self_signed;
pub use server_config::{RECORD, server_config};
