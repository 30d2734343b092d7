//! The nars themselves: fetched, decompressed, and compared with what the narinfo promises.

use std::io::{self, BufReader, Read};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use flate2::bufread::MultiGzDecoder;
use http::Uri;
use lzma_rust2::LzipReader;

use super::door::Door;
use super::http::Connection;
use super::narinfo::{Form, Narinfo};
use super::reach;
use super::stream::in_words;
use super::target::Scheme;
use super::{Audience, Doctor, status_in_words};
use crate::control::figures::size;
use crate::nix_base32;

/// RFC 9110 leaves it to the client; browsers stop at twenty.
const MOST_REDIRECTS: usize = 5;
/// So much longer than other answers may a nar take to begin: `guix publish` may have to compress it first.
const TO_BEGIN: u32 = 6;
/// And so much longer to end.
const TO_END: u32 = 60;
/// What is read at once.
const CHUNK: usize = 64 * 1024;
/// How often somebody is told.
const OFTEN: Duration = Duration::from_millis(200);

impl Doctor<'_> {
    /// Each way in which the nar is offered: a client takes any.
    pub(super) fn look_at_nars(&mut self, door: &Door, narinfo: &Narinfo<'_>) {
        let mut seen = Vec::new();
        for form in &narinfo.forms {
            // What a server calls it goes into the name of a check only where it is known.
            let Some(compression) = Compression::named(form.compression) else {
                let found = format!("{}: the compression {} is not known here", form.url, form.compression);
                self.warning("nar", found, "Its bytes were not looked at");
                continue;
            };
            if seen.contains(&form.url) {
                continue;
            }
            seen.push(form.url);
            let check = format!("nar-{}", form.compression);
            if form.file_size.is_some_and(|size| size > self.settings.largest) {
                let found = format!("not fetched: it has {}", size(form.file_size.unwrap_or_default()));
                self.warning(
                    &check,
                    found,
                    "For a larger one give --max-size; or name a smaller item with --item",
                );
                continue;
            }
            self.look_at_nar(&check, door, narinfo, form, compression);
        }
    }

    fn look_at_nar(
        &mut self,
        check: &str,
        door: &Door,
        narinfo: &Narinfo<'_>,
        form: &Form<'_>,
        compression: Compression,
    ) {
        let begun = Instant::now();
        let fetched = Place { door: door.clone(), target: format!("{}/", self.target.base) }
            .goes_to(form.url)
            .and_then(Place::open)
            .map_err(Bad::Fetch)
            .and_then(|(mut connection, head)| {
                let mut body = connection.body(&head, false).map_err(|error| Bad::Fetch(in_words(&error)))?;
                let tap = Tap {
                    of: body.length().or(form.file_size),
                    source: &mut body,
                    check,
                    audience: &mut *self.audience,
                    count: 0,
                    limit: self.settings.largest,
                    broken: None,
                    told: Instant::now(),
                };
                unpack(tap, compression, narinfo.nar_size)
            });
        match fetched.and_then(|unpacked| unpacked.compare(narinfo).map(|()| unpacked)) {
            Ok(unpacked) => {
                let (fetched, took) = (size(unpacked.fetched), begun.elapsed().as_secs_f32());
                let found = format!("{fetched} in {took:.1} s; its size and SHA-256 are as the narinfo says");
                match form.file_size {
                    Some(promised) if promised != unpacked.fetched => self.warning(
                        check,
                        format!("{found}, but FileSize is {promised} and {} bytes came", unpacked.fetched),
                        "Progress bars will be wrong: look at what is between guix publish and this door",
                    ),
                    _ => self.ok(check, found),
                }
            }
            Err(bad) => {
                let (found, advice) = bad.in_words(compression);
                self.failure(check, format!("{}: {found}", form.url), advice);
            }
        }
    }
}

/// How a nar can be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Lzip,
    Zstd,
}

impl Compression {
    fn named(name: &str) -> Option<Self> {
        match name {
            "none" => Some(Self::None),
            "gzip" => Some(Self::Gzip),
            "lzip" => Some(Self::Lzip),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Why a nar is good for nothing.
enum Bad {
    Fetch(String),
    TooLarge(u64),
    Compressed(String),
    /// Bytes of it, and how many there should be.
    Size(u64, u64),
    /// SHA-256, and what it should be.
    Hash(String, String),
}

impl Bad {
    fn in_words(self, compression: Compression) -> (String, &'static str) {
        const CHANGED: &str =
            "It is not what was signed: have guix publish make it anew, and look at caches in between";
        match self {
            Self::Fetch(why) => {
                (why, "See what the server's log says, and that it gives nars a minute to begin")
            }
            Self::TooLarge(limit) => (
                format!("it has more than {}", size(limit)),
                "For a larger one give --max-size; or name another --item",
            ),
            Self::Compressed(why) => (
                format!("it does not decompress as {compression:?}: {why}").to_lowercase(),
                "Whoever fetches it gets an error: have guix publish make it anew, and look at caches in between",
            ),
            Self::Size(is, promised) => (
                format!(
                    "unpacked it has {is} bytes{}, NarSize is {promised}",
                    if is > promised { " or more" } else { "" }
                ),
                CHANGED,
            ),
            Self::Hash(is, promised) => (format!("its SHA-256 is {is}, NarHash is {promised}"), CHANGED),
        }
    }
}

/// What came out of a nar.
#[derive(Debug)]
struct Unpacked {
    /// Bytes as they were sent.
    fetched: u64,
    /// Bytes of the nar, up to one more than there should be.
    size: u64,
    /// SHA-256 in base 32.
    hash: String,
}

impl Unpacked {
    fn compare(&self, narinfo: &Narinfo<'_>) -> Result<(), Bad> {
        if self.size != narinfo.nar_size {
            return Err(Bad::Size(self.size, narinfo.nar_size));
        }
        if self.hash != narinfo.nar_hash {
            return Err(Bad::Hash(self.hash.clone(), narinfo.nar_hash.to_owned()));
        }
        Ok(())
    }
}

/// Reads it all, and no more than `nar_size` and a byte of what comes out: nobody unpacks a bomb here.
fn unpack(mut tap: Tap<'_>, compression: Compression, nar_size: u64) -> Result<Unpacked, Bad> {
    let copied = {
        let source = BufReader::with_capacity(CHUNK, &mut tap);
        match compression {
            Compression::None => hash(source, nar_size),
            Compression::Gzip => hash(MultiGzDecoder::new(source), nar_size),
            // A member says how large a dictionary it needs; the format allows 512 MiB at most.
            Compression::Lzip => hash(LzipReader::new(source), nar_size),
            // Windows of more than 128 MiB are refused by the library.
            Compression::Zstd => {
                zstd::stream::read::Decoder::with_buffer(source).and_then(|decoder| hash(decoder, nar_size))
            }
        }
    };
    match (tap.broken, copied) {
        (Some(Broken::TooLarge), _) => Err(Bad::TooLarge(tap.limit)),
        (Some(Broken::Source(why)), _) => Err(Bad::Fetch(why)),
        (None, Err(error)) => Err(Bad::Compressed(error.to_string())),
        (None, Ok((size, hash))) => Ok(Unpacked { fetched: tap.count, size, hash }),
    }
}

/// The same for bytes that are no part of an answer. What went wrong, in words.
pub(super) fn unpack_all(
    source: &mut dyn Read,
    compression: &str,
    nar_size: u64,
    audience: &mut dyn Audience,
) -> Result<(u64, String), String> {
    let compression = Compression::named(compression).ok_or("the compression is not known here")?;
    let (check, limit, told) = ("nar", u64::MAX, Instant::now());
    let tap = Tap { source, check, audience, count: 0, of: None, limit, broken: None, told };
    let unpacked = unpack(tap, compression, nar_size).map_err(|bad| bad.in_words(compression).0)?;
    Ok((unpacked.size, unpacked.hash))
}

fn hash(source: impl Read, nar_size: u64) -> io::Result<(u64, String)> {
    let mut source = source.take(nar_size.saturating_add(1));
    let (mut context, mut size, mut buffer) = (Context::new(&SHA256), 0, vec![0; CHUNK]);
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok((size, nix_base32::encode(context.finish().as_ref()))),
            Ok(count) => {
                context.update(&buffer[..count]);
                size += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Counts what comes, and remembers what went wrong on the way: a decoder would only say that its input is bad.
struct Tap<'a> {
    source: &'a mut dyn Read,
    check: &'a str,
    audience: &'a mut dyn Audience,
    count: u64,
    of: Option<u64>,
    limit: u64,
    broken: Option<Broken>,
    told: Instant,
}

enum Broken {
    Source(String),
    TooLarge,
}

impl Read for Tap<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(room);
        match &read {
            Ok(count) => self.count += *count as u64,
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                self.broken = Some(Broken::Source(in_words(error)));
            }
            Err(_) => {}
        }
        if self.count > self.limit {
            self.broken = Some(Broken::TooLarge);
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if self.told.elapsed() >= OFTEN {
            self.told = Instant::now();
            self.audience.progress(self.check, self.count, self.of);
        }
        read
    }
}

/// A thing at a server.
struct Place {
    door: Door,
    target: String,
}

impl Place {
    /// Asks for it, and follows redirects as Guix does.
    fn open(mut self) -> Result<(Connection, super::http::Head), String> {
        for _ in 0..=MOST_REDIRECTS {
            let (connection, head) = self.ask().map_err(|error| in_words(&error))?;
            if head.status == 200 {
                return Ok((connection, head));
            }
            let location = head.header("location").filter(|_| head.is_redirect());
            let Some(location) = location else {
                return Err(format!("it is answered {}", status_in_words(head.status)));
            };
            self = self.goes_to(location)?;
        }
        Err(format!("more than {MOST_REDIRECTS} redirects, one after the other"))
    }

    fn ask(&self) -> io::Result<(Connection, super::http::Head)> {
        let mut connection = self.door.connect()?;
        connection.allow(self.door.patience * TO_BEGIN, self.door.patience * TO_END);
        connection.send(self.door.request("GET", &self.target).as_bytes())?;
        let head = connection.head()?;
        Ok((connection, head))
    }

    /// Where `url` leads from here: a URL, an absolute path, or a path beside this one.
    fn goes_to(&self, url: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("it leads to {url:?}: {why}");
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong("that is no URL"));
        }
        if !url.contains("://") {
            let folder = self.target.split(['?', '#']).next().unwrap_or_default();
            let folder = &folder[..folder.rfind('/').map_or(0, |slash| slash + 1)];
            let target = if url.starts_with('/') { url.to_owned() } else { format!("{folder}{url}") };
            return Ok(Self { door: self.door.clone(), target });
        }
        let uri: Uri = url.parse().map_err(|error| wrong(&format!("that is no URL: {error}")))?;
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            _ => return Err(wrong("expected http or https")),
        };
        let target = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let authority = uri.authority().map_or_else(String::new, ToString::to_string);
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(scheme.usual_port());
        // The same host is where we are, whatever its name resolves to.
        let here =
            self.door.authority.rsplit_once(':').map_or(self.door.authority.as_str(), |(host, _)| host);
        let address = if host.eq_ignore_ascii_case(here.trim_matches(['[', ']'])) {
            self.door.address.ip()
        } else {
            let addresses = reach::addresses(host, self.door.patience).map_err(|why| wrong(&why))?;
            *addresses.first().ok_or_else(|| wrong("it has no address"))?
        };
        let address = SocketAddr::new(address, port);
        let door = reach::door(scheme, address, host, authority, self.door.patience)?;
        Ok(Self { door, target })
    }
}
