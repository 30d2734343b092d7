//! The engine against Pebble, and against a small CA of our own that can do what Pebble cannot: misbehave on demand.

mod pebble;
mod pebble_ways;
mod restarts;
mod schedule;
mod stub;
mod support;
mod unreasonable;
mod with_pebble;
mod with_stub;
