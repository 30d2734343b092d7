#![no_main]

#[macro_use]
#[path = "../fuzzer.rs"]
mod fuzzer;

fuzzer!(plain);
