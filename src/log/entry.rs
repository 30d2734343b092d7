//! What is known of a request when it is over.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::anonymise::Anonymiser;
use super::request_id::RequestId;
use super::time::Dates;
use super::{combined, json};
use crate::config::LogFormat;

/// A request that was answered. Nothing in it is masked or escaped yet.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The client; it is masked before it is written.
    pub client: IpAddr,
    /// The request's id, which is also on the page where an error page was sent.
    pub id: RequestId,
    /// The administrator that was let in, where one was.
    pub user: Option<&'a str>,
    /// When the request was answered.
    pub time: SystemTime,
    /// From the end of its head to the end of the answer.
    pub duration: Duration,
    /// How much of that was waiting for the backend, where one was asked.
    pub backend: Option<Duration>,
    /// Whether it came over TLS.
    pub secure: bool,
    /// The first name of the site it was for, where that can be told.
    pub site: Option<&'a str>,
    /// The row of the route table, as the metrics call it.
    pub route: &'static str,
    /// What the cache did, where it was asked; as the metrics call it.
    pub cache: Option<&'static str>,
    /// Method, target and version.
    pub method: &'a str,
    /// The target as sent.
    pub target: &'a [u8],
    /// "HTTP/1.1".
    pub version: &'a str,
    /// The status sent, or 499 where the client left before there was one, as nginx has it.
    pub status: u16,
    /// Bytes of the body that were sent.
    pub bytes: usize,
    /// The Referer field.
    pub referer: Option<&'a [u8]>,
    /// The User-Agent field.
    pub user_agent: Option<&'a [u8]>,
}

impl Entry<'_> {
    /// Appends the line for it to `lines`, with its address masked. `dates` is kept from one line to the next.
    pub fn write(&self, format: LogFormat, anonymiser: Anonymiser, dates: &mut Dates, lines: &mut Vec<u8>) {
        match format {
            LogFormat::Combined => combined::write(self, anonymiser, dates, lines),
            LogFormat::Json => json::write(self, anonymiser, dates, lines),
        }
    }
}

/// Writes `number` in decimal.
pub(super) fn push_number(line: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    line.extend_from_slice(&digits[at..]);
}

/// Writes an address without going through the formatting machinery where it is IPv4, as most are.
pub(super) fn push_address(line: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            for (at, octet) in v4.octets().into_iter().enumerate() {
                if at > 0 {
                    line.push(b'.');
                }
                push_number(line, octet.into());
            }
        }
        IpAddr::V6(v6) => {
            use std::io::Write;
            // Writing to a vector cannot fail.
            let _ = write!(line, "{v6}");
        }
    }
}
