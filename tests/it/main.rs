//! The real binary against real peers. One module per capability; `support` has the peers.

// A test's helper fails the test, as the test itself would.
#![allow(clippy::panic)]

mod access_log;
mod acme;
mod admin;
mod anonip;
mod backend_care;
mod backends;
mod cache;
mod check;
mod chromium;
mod completions;
mod demo;
mod errors;
mod faults;
mod forwarding;
mod fuzz_smoke;
mod gate;
mod gate_page;
mod goaccess;
mod hot_swap;
mod lifecycle;
mod limits;
mod metrics;
mod no_address;
mod own_log;
mod peers;
mod pipelining;
mod plain_http;
mod rotation;
mod routes;
mod smuggling;
mod status;
mod support;
mod tls;
