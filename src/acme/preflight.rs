//! What is looked at before a CA is asked: better a clear log line than a burnt rate limit.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::StatusCode;
use tokio::time::Instant;
use tracing::info;

use super::challenges::Challenges;
use super::failure::{Failure, clean};
use super::http::get_plain;
use super::settings::Timings;
use crate::files::{self, SECRET};

/// A certificate, its key, the account and the order take less.
const ROOM: usize = 64 * 1024;
/// For all names together: a site may have a hundred.
const LONGEST: Duration = Duration::from_secs(30);

/// Whether what the CA will send can be kept: the folder is ours to write, and the disk has room.
pub(super) fn check_folder(state: &Path) -> Result<(), Failure> {
    for folder in [state.join("acme"), state.join("certificates")] {
        let probe = files::temporary_name(&folder.join("probe"));
        let written = files::make_folder(&folder)
            .and_then(|()| files::remove(&probe))
            .and_then(|()| files::create(&probe, &[0; ROOM], SECRET, &folder));
        let removed = files::remove(&probe);
        written.and(removed).map_err(|error| {
            Failure::us(format!("{} cannot be written: {error}; nothing was ordered", folder.display()))
        })?;
    }
    Ok(())
}

/// What port 80 of a name says.
#[derive(Debug, PartialEq)]
enum Reached {
    /// Our own answer.
    Us,
    /// Something else, or nobody knows the name.
    Other(String),
    /// Nobody: a machine behind a router may be unable to reach its own public address, where the CA is not.
    Unknown(String),
}

/// Whether a challenge for each of `names` reaches us through port 80 (RFC 8555 section 8.3).
///
/// `dns_counts` says whether a name that has no address here has none for the CA either.
pub(super) async fn check_names(
    names: &[String],
    challenges: &Arc<Challenges>,
    port: u16,
    timings: &Timings,
    dns_counts: bool,
) -> Result<(), Failure> {
    let token = random_token()?;
    let answer = random_token()?;
    let presented = challenges.present(&token, &answer).map_err(|error| {
        Failure::us(format!("challenges cannot be answered: {error}; nothing was ordered"))
    })?;
    let deadline = Instant::now() + LONGEST;
    let mut wrong = Vec::new();
    for name in names {
        let patience = timings.preflight.min(deadline.saturating_duration_since(Instant::now()));
        match reach(name, port, &token, &answer, patience, dns_counts).await {
            Reached::Us => {}
            Reached::Other(what) => wrong.push(format!("{name}: {what}")),
            Reached::Unknown(why) => info!("acme: {name}: not tried from here: {why}"),
        }
    }
    presented.withdraw();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Failure::us(format!(
        "a challenge would not reach this machine, nothing was ordered: {}; each name's A and AAAA records have to \
         lead here, and port {port} to us",
        wrong.join("; ")
    )))
}

async fn reach(
    name: &str,
    port: u16,
    token: &str,
    answer: &str,
    patience: Duration,
    dns_counts: bool,
) -> Reached {
    let addresses = match tokio::time::timeout(patience, tokio::net::lookup_host((name, port))).await {
        Ok(Ok(addresses)) => addresses.take(8).collect::<Vec<SocketAddr>>(),
        Ok(Err(error)) if dns_counts => return Reached::Other(format!("it has no address: {error}")),
        Ok(Err(error)) => return Reached::Unknown(format!("it has no address: {error}")),
        Err(_) => return Reached::Unknown("it could not be resolved in time".into()),
    };
    let path = format!("/.well-known/acme-challenge/{token}");
    let mut best = Reached::Unknown("it has no address".into());
    // The CA picks any of them, IPv6 by preference: every one that answers has to be us.
    for address in addresses {
        match get_plain(name, address, &path, patience).await {
            Ok((StatusCode::OK, body)) if body.trim_ascii() == answer.as_bytes() => best = Reached::Us,
            Ok((status, _)) => return Reached::Other(format!("{address} answers {status}, and is not us")),
            Err(error) if best != Reached::Us => {
                best = Reached::Unknown(format!("{address}: {}", clean(&error.to_string())));
            }
            Err(_) => {}
        }
    }
    best
}

fn random_token() -> Result<String, Failure> {
    let mut bytes = [0; 24];
    rand::fill(&mut bytes).map_err(|_| Failure::us("the system gives no random numbers"))?;
    Ok(format!("farmgate-{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)))
}
