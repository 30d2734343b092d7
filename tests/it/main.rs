//! The real binary against real peers. One module per capability; `support` has the peers.

// A test's helper fails the test, as the test itself would.
#![allow(clippy::panic)]

mod access_log;
mod acme;
mod admin;
mod anonip;
mod backend_care;
mod backend_faults;
mod backends;
mod cache;
mod check;
mod chromium;
mod completions;
mod demo;
mod doctor;
mod endings;
mod errors;
mod faults;
mod forwarding;
mod fuzz_smoke;
mod gate;
mod gate_page;
mod goaccess;
mod guix;
mod hot_swap;
mod http2;
mod import_nginx;
mod least_privilege;
mod lifecycle;
mod limits;
mod lookups;
mod metrics;
mod no_address;
#[cfg(feature = "otlp")]
mod otlp;
mod own_log;
mod peers;
mod pipelining;
mod plain_http;
mod reference;
mod rotation;
mod routes;
mod secrets;
mod service_manager;
mod shares;
mod slow;
mod smuggling;
mod status;
mod support;
mod tls;
mod upgrade;
