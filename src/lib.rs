//! farmgate stands in front of a GNU Guix build farm: TLS, routing, the gate to the admin pages, and a log that
//! holds nobody's address.
//!
//! The program is a thin layer over this library, so that tests, benches and fuzzers use what users use.
//! [`server::run`] is where to begin reading; [`route`] and [`admin`] are where the promises are kept.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod acme;
pub mod admin;
pub mod backend;
pub mod cache;
pub mod cli;
pub mod config;
pub mod control;
mod date;
pub mod demo;
pub mod doctor;
mod files;
pub mod history;
pub mod limits;
pub mod listen;
pub mod log;
pub mod metrics;
pub mod nginx;
mod nix_base32;
pub mod page;
mod process;
pub mod proxy;
pub mod route;
pub mod server;
pub mod tls;
pub mod upgrade;
