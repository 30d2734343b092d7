//! What is fuzzed, and what must hold for any input. Shared by the fuzzers (`fuzz_targets/`), which look for inputs as
//! long as they are let, and by a short run of the ordinary tests (`tests/it/fuzz_smoke.rs`).
//!
//! Each function makes a target that works in an empty folder. All of them go by the public face of the library.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use farmgate::admin::Gate;
use farmgate::admin::ca::{self, Authority, CaError, Init, KeyType};
use farmgate::backend::{Answer, BackendStream, Incoming, no_fields};
use farmgate::cache;
use farmgate::config::{self, LogFormat};
use farmgate::control::{Reply, Request, Screen};
use farmgate::doctor::readers;
use farmgate::history::{History, Window};
use farmgate::listen::Plain;
use farmgate::log::filter::{Columns, Rule, Where, filter};
use farmgate::log::{Anonymiser, Dates, Entry, RequestId};
use farmgate::nginx;
use farmgate::route::{AdminDoor, AdminPrefix, Decision, Door, admin_door, decide, well_known_segments};
use farmgate::tls::load_pair;
use pingora::protocols::http::v1::client::HttpSession;
use pingora::protocols::http::v1::server;
use pingora::protocols::l4::stream::Stream;
use rustls::pki_types::CertificateDer;

/// Takes one input. Panics when something does not hold.
pub type Target = Box<dyn FnMut(&[u8])>;

/// Of which the key was thrown away: nobody can make anything that it signed.
const CA: &[u8] = include_bytes!("fixtures/ca.pem");
/// On both lists in `corpus/crl`.
const REVOKED: &[u8] = include_bytes!("fixtures/revoked.der");
/// An intermediate of the CA.
const INTERMEDIATE: &[u8] = include_bytes!("fixtures/intermediate.der");
/// A client of that.
const BELOW: &[u8] = include_bytes!("fixtures/below.der");
/// Clients of the CA.
const CLIENTS: [&[u8]; 2] =
    [include_bytes!("corpus/judge/client.der"), include_bytes!("corpus/judge/v1.der")];

/// A narinfo with the signature of a key that signed nothing else, and that key.
const SIGNED: &str = include_str!("corpus/narinfo/signed.narinfo");
const FARMS_KEY: &[u8] = include_bytes!("corpus/narinfo/key.pub");

/// A pair of the throw-away certificates, which belongs to nobody.
const CHAIN: &[u8] = include_bytes!("corpus/pair/chain.pem");
const KEY: &[u8] = include_bytes!("corpus/pair/key.pem");

/// A certificate request for `farmgate admin issue --csr`.
pub fn csr(folder: &Path) -> Target {
    let (state, file) = (folder.join("state"), folder.join("request"));
    let wanted = Init { subject: "CA".into(), days: 9, key_type: KeyType::P256 };
    ca::init(&state, &wanted).expect("a CA");
    let authority = Authority::open(&state).expect("the CA");
    let name = "ada".parse().expect("a name");
    let into = folder.to_owned();
    Box::new(move |data| {
        fs::write(&file, data).expect("a writable folder");
        match authority.sign(&file, Some(&name), 1, &into) {
            Ok(done) => assert_eq!(done.made.serial.len(), 32),
            // The first one that was good left its file there.
            Err(CaError::Refused { .. } | CaError::Exists(_)) => {}
            Err(error) => panic!("neither signed nor refused: {error}"),
        }
    })
}

/// A certificate that a client shows: alone, with others around it, and as the intermediate of another.
pub fn judge(folder: &Path) -> Target {
    let gate = Gate::load(&ca_file(folder), &[]);
    assert_eq!(gate.closed_because(), None);
    let opens = move |chain: &[&[u8]]| {
        let chain: Vec<_> = chain.iter().map(|der| CertificateDer::from(*der)).collect();
        gate.judge(&chain, now()).is_ok()
    };
    assert!(CLIENTS.iter().all(|client| opens(&[client])) && opens(&[BELOW, INTERMEDIATE]));
    Box::new(move |data| {
        assert!(!opens(&[data]) || CLIENTS.contains(&data));
        assert!(!opens(&[data, INTERMEDIATE]) || CLIENTS.contains(&data) || data == BELOW);
        assert!(!opens(&[BELOW, data]) || data == INTERMEDIATE);
        assert!(opens(&[CLIENTS[0], data, INTERMEDIATE]), "what comes behind keeps nobody out");
    })
}

/// A revocation list of `admin.crl`.
pub fn crl(folder: &Path) -> Target {
    let (ca, list) = (ca_file(folder), folder.join("list"));
    let revoked = [CertificateDer::from(REVOKED)];
    assert!(Gate::load(&ca, &[]).judge(&revoked, now()).is_ok(), "it is revoked by nothing but the list");
    Box::new(move |data| {
        fs::write(&list, data).expect("a writable folder");
        let gate = Gate::load(&ca, std::slice::from_ref(&list));
        // Closed, or the list of the CA.
        assert!(gate.judge(&revoked, now()).is_err());
        let open = gate.judge(&[CertificateDer::from(CLIENTS[0])], now()).is_ok();
        assert_eq!(open, gate.closed_because().is_none());
    })
}

/// The register of the admin CA: as it is, and with a checksum that is right.
pub fn register(folder: &Path) -> Target {
    let (ca, state) = (ca_file(folder), folder.join("state"));
    fs::create_dir_all(state.join("admin")).expect("a writable folder");
    let file = state.join("admin/register");
    let read = move |contents: &[u8]| {
        fs::write(&file, contents).expect("a writable folder");
        let gate = Gate::load(&ca, &[]).with_own_revocations(&state);
        let listed = ca::list(&state);
        assert_eq!(gate.closed_because().is_none(), listed.is_ok(), "the gate and the list read it alike");
        listed.map(|rows| rows.len())
    };
    Box::new(move |data| {
        let _ = read(data);
        // All lines but the last, which is the checksum.
        let end = data.iter().rposition(|&byte| byte == b'\n').unwrap_or(0);
        let end = data[..end].iter().rposition(|&byte| byte == b'\n').map_or(data.len(), |end| end + 1);
        let digest = digest::digest(&digest::SHA256, &data[..end]);
        let sha256: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let sealed = [&data[..end], format!("{{\"sha256\":\"{sha256}\"}}\n").as_bytes()].concat();
        if let Ok(rows) = read(&sealed) {
            let lines = data[..end].iter().filter(|&&byte| byte == b'\n').count();
            assert_eq!(rows + 1, lines, "a line was skipped");
        }
    })
}

/// The chain of a site with a key that is none of the fuzzer's, and the key with a chain that is not.
pub fn pair(folder: &Path) -> Target {
    let [chain, key, tried] = ["chain.pem", "key.pem", "tried.pem"].map(|name| folder.join(name));
    fs::write(&chain, CHAIN).and_then(|()| fs::write(&key, KEY)).expect("a writable folder");
    let good = load_pair(&chain, &key).expect("they belong together");
    let public = good.key.public_key().expect("a key").to_vec();
    Box::new(move |data| {
        fs::write(&tried, data).expect("a writable folder");
        // A leaf that the key is for, whoever signed it and whatever comes behind; or the key, however it is written.
        if let Ok(pair) = load_pair(&tried, &key) {
            let leaf = pair.end_entity_cert().expect("a leaf");
            assert!(leaf.windows(public.len()).any(|part| part == public));
        }
        if let Ok(pair) = load_pair(&chain, &tried) {
            assert_eq!(pair.key.public_key().as_deref(), Some(&public[..]));
        }
    })
}

/// A file of the cache: as it is, and with checksums that are right.
pub fn cache_file(folder: &Path) -> Target {
    let file = folder.join("file");
    let read = move |contents: &[u8]| {
        fs::write(&file, contents).expect("a writable folder");
        cache::examine(fs::File::open(&file).expect("it was written"))
    };
    Box::new(move |data| {
        let _ = read(data);
        // Body, meta, and how long meta is: the last two bytes say.
        let Some((data, length)) = data.split_last_chunk::<2>() else { return };
        let meta = usize::from(u16::from_be_bytes(*length)).min(data.len());
        let (body, meta) = data.split_at(data.len() - meta);
        let blocks: Vec<u8> =
            body.chunks(BLOCK).flat_map(|block| crc32fast::hash(block).to_be_bytes()).collect();
        let footer = footer_of(body.len(), &blocks, meta);
        if let Ok((told, length)) = read(&[body, &blocks, meta, &footer].concat()) {
            assert_eq!(length, body.len() as u64);
            // Fields may come in another order; what was read once is read again and is the same.
            let again = [body, &blocks, &told, &footer_of(body.len(), &blocks, &told)].concat();
            assert_eq!(read(&again).expect("what was read is good"), (told, length));
        }
    })
}

/// Bytes under one checksum.
const BLOCK: usize = 128 * 1024;

fn footer_of(body: usize, blocks: &[u8], meta: &[u8]) -> Vec<u8> {
    let mut footer = b"fgcache\x01".to_vec();
    footer.extend_from_slice(&(body as u64).to_be_bytes());
    footer.extend_from_slice(&(meta.len() as u32).to_be_bytes());
    footer.extend_from_slice(&crc32fast::hash(meta).to_be_bytes());
    footer.extend_from_slice(&crc32fast::hash(blocks).to_be_bytes());
    footer.extend_from_slice(&crc32fast::hash(&footer).to_be_bytes());
    footer
}

/// The history file: as it is, and with a checksum that is right.
pub fn history(folder: &Path) -> Target {
    let (state, file) = (folder.to_owned(), folder.join("history"));
    let read = move |contents: &[u8]| {
        fs::write(&file, contents).expect("a writable folder");
        let history = History::load(&state, Instant::now());
        let views = |history: &History| {
            Window::ALL.map(|window| [0, 1_798_761_600, u64::MAX].map(|now| history.view(window, now)))
        };
        let before = views(&history);
        history.save().expect("a writable folder");
        assert_eq!(views(&History::load(&state, Instant::now())), before, "what was written is read");
    };
    Box::new(move |data| {
        read(data);
        let digest = digest::digest(&digest::SHA256, data);
        let sha256: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        read(&[data, format!("{{\"sha256\":\"{sha256}\"}}\n").as_bytes()].concat());
    })
}

/// The answer of a backend: a byte that says where it is cut in two, then its bytes, until the connection is closed.
pub fn answer(_: &Path) -> Target {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    Box::new(move |data| {
        let Some((&at, data)) = data.split_first() else { return };
        let at = usize::from(at).min(data.len());
        runtime.block_on(async {
            let whole = read_answer(&[data], Reader::Ours).await;
            let in_two = read_answer(&[&data[..at], &data[at..]], Reader::Ours).await;
            let told = |answered: &Option<Answered>| answered.as_ref().map(|one| one.told.clone());
            assert_eq!(told(&whole), told(&in_two), "cut at {at}");
            let Some(whole) = whole else {
                assert!(!matches!(Answer::of(data, &mut no_fields()), Answer::Whole(_)));
                return;
            };
            // What a lookup passes on without that is the same.
            let mut fields = no_fields();
            if let Answer::Whole(short) = Answer::of(data, &mut fields) {
                assert_eq!((short.status, short.body), (whole.told.status, &whole.told.body[..]));
                assert_eq!((true, short.is_reusable), (whole.is_plain, whole.is_reusable));
                let gates_own = |name: &str| name == "connection" || name == "date";
                let mut told = whole.told.fields.clone();
                told.retain(|(name, _)| !gates_own(name));
                let mut passed_on: Vec<_> =
                    short.fields().map(|(name, value)| (name.to_ascii_lowercase(), value.to_vec())).collect();
                told.sort();
                passed_on.sort();
                assert_eq!(passed_on, told);
            }
            // Whatever we read ourselves the engine reads alike: nobody is told of a body that another would end elsewhere.
            let engine = read_answer(&[data], Reader::Engine).await.expect("an answer to the engine, too");
            assert_eq!(whole.told, engine.told);
            if whole.is_plain && whole.is_reusable {
                assert!(
                    data.ends_with(&whole.told.body),
                    "what is behind the answer would be taken for the next"
                );
            }
        });
    })
}

/// The head of a request: one that is taken for plain is the same to the engine, and has no body.
pub fn plain(_: &Path) -> Target {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    Box::new(move |data| {
        let Some(plain) = Plain::of(data) else { return };
        // Who has another host is refused where it is looked up.
        let is_host = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':');
        if !plain.host.iter().all(is_host) {
            return;
        }
        runtime.block_on(async {
            let (ours, mut theirs) = streams();
            ours.set_nonblocking(true).expect("a socket");
            theirs.write_all(data).and_then(|()| theirs.shutdown(Shutdown::Write)).expect("a socket");
            let tcp = tokio::net::TcpStream::from_std(ours).expect("a runtime");
            let mut session = server::HttpSession::new(Box::new(Stream::from(tcp)));
            let size = session.read_request().await.expect("a request to the engine, too");
            assert_eq!(size, Some(plain.size));
            assert!(session.is_body_empty());
            let head = session.req_header();
            assert_eq!((head.method.as_str(), head.raw_path()), ("GET", plain.target));
            let values = |name: &str| {
                let values = head.headers.get_all(name).iter().map(|value| value.as_bytes().to_vec());
                values.collect::<Vec<_>>()
            };
            assert_eq!(values("host"), [plain.host.to_vec()]);
            assert_eq!(values("referer").first().map(Vec::as_slice), plain.referer);
            assert_eq!(values("user-agent").first().map(Vec::as_slice), plain.user_agent);
            assert!(["connection", "upgrade", "expect"].iter().all(|name| values(name).is_empty()));
        });
    })
}

enum Reader {
    Ours,
    Engine,
}

struct Answered {
    told: Told,
    is_plain: bool,
    is_reusable: bool,
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    status: u16,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

/// What comes of these pieces, each of which is read before the next one is sent; none: an error.
async fn read_answer(pieces: &[&[u8]], reader: Reader) -> Option<Answered> {
    let (ours, mut theirs) = streams();
    theirs.set_nonblocking(true).expect("a socket");
    ours.set_nonblocking(true).expect("a socket");
    let stream = Box::new(BackendStream::new(tokio::net::TcpStream::from_std(ours).expect("a runtime")));
    let sending = async {
        for piece in pieces {
            // What does not fit into the socket is missing for every reader alike.
            let _ = theirs.write_all(piece);
            tokio::task::yield_now().await;
        }
        let _ = theirs.shutdown(Shutdown::Write);
    };
    let reading = async {
        let mut incoming = match reader {
            Reader::Ours => Incoming::read(stream).await.ok()?,
            Reader::Engine => Incoming::of(Box::new(HttpSession::new(stream))).await.ok()?,
        };
        let is_plain = matches!(incoming, Incoming::Plain(_));
        let head = incoming.take_head()?;
        let fields = head.headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
        let (status, fields) = (head.status.as_u16(), fields.collect());
        let mut body = Vec::new();
        while let Some(part) = incoming.part().await.ok()? {
            body.extend_from_slice(part);
        }
        let is_reusable = incoming.into_reusable().await.is_some();
        Some(Answered { told: Told { status, fields, body }, is_plain, is_reusable })
    };
    tokio::join!(reading, sending).0
}

/// Two ends of a connection. A Unix one: of addresses there are not as many as a fuzzer would use up.
fn streams() -> (TcpStream, TcpStream) {
    let (one, other) = UnixStream::pair().expect("a socket");
    (OwnedFd::from(one).into(), OwnedFd::from(other).into())
}

/// An answer to `farmgate doctor`: a byte whose lowest bit says whether it is one to HEAD, then its bytes.
pub fn doctor_answer(_: &Path) -> Target {
    const LONGEST: usize = 2000;
    Box::new(|data| {
        let Some((&kind, data)) = data.split_first() else { return };
        let (ours, mut theirs) = streams();
        let is_head = kind % 2 == 1;
        theirs.set_nonblocking(true).expect("a socket");
        let _ = theirs.write_all(data);
        drop(theirs);
        if let Ok((status, body)) = readers::answer(ours, is_head, LONGEST) {
            assert!((200..1000).contains(&status) && body.len() <= LONGEST);
            assert!(body.is_empty() || !is_head);
        }
    })
}

/// A narinfo, as `farmgate doctor` reads it: with the farm's key, and with whichever it names.
pub fn narinfo(_: &Path) -> Target {
    let good = readers::narinfo(SIGNED, Some(FARMS_KEY)).expect("it is well-formed");
    assert!(good.is_signed);
    Box::new(move |data| {
        let text = String::from_utf8_lossy(data);
        let _ = readers::narinfo(SIGNED, Some(data));
        let any = readers::narinfo(&text, None);
        let ours = readers::narinfo(&text, Some(FARMS_KEY));
        assert_eq!(any.is_ok(), ours.is_ok());
        if let (Ok(any), Ok(ours)) = (any, ours) {
            assert!(text.starts_with(&ours.signed));
            assert!(any.is_signed || !ours.is_signed);
            // The farm has signed one thing here: nobody makes it say another.
            assert!(!ours.is_signed || ours == good);
        }
    })
}

/// A nar as it is sent: a byte for the compression, then its bytes.
pub fn nar(_: &Path) -> Target {
    const SIZE: u64 = 100_000;
    Box::new(|data| {
        let Some((&kind, data)) = data.split_first() else { return };
        let compression = ["none", "gzip", "lzip", "zstd"][usize::from(kind) % 4];
        match readers::unpack(compression, data, SIZE) {
            Ok((size, hash)) => {
                assert!(size <= SIZE + 1 && hash.len() == 52);
                // One that is too long is too long for any promise below.
                let (less, _) = readers::unpack(compression, data, size / 2).expect("its beginning is good");
                assert_eq!(less, size.min(size / 2 + 1));
            }
            Err(why) => assert!(compression != "none" && !why.is_empty()),
        }
    })
}

/// The target of a request.
pub fn route(_: &Path) -> Target {
    let admin = AdminPrefix::parse("/admin").expect("a prefix");
    let page = AdminPrefix::parse("/admin/gate").expect("a prefix");
    Box::new(move |data| {
        let decision = decide(data, &admin);
        if admin_door(data, &page).is_ok_and(|door| door != AdminDoor::Ci) {
            assert!(
                matches!(&decision, Ok(Decision { door: Door::Admin, .. })),
                "the page is not behind the gate"
            );
        }
        if guile_runs_admin(data) {
            assert!(matches!(&decision, Err(_) | Ok(Decision { door: Door::Admin, .. })));
        }
        if decision.is_ok_and(|decision| decision.door == Door::AcmeChallenge) {
            let segments = well_known_segments(data).expect("the router called it one");
            assert!(segments.len() == 2 && *segments[0] == *b"acme-challenge");
        }
        if let Ok(segments) = well_known_segments(data) {
            let is_safe = |segment: &[u8]| {
                !matches!(segment, b"" | b"." | b"..") && !segment.iter().any(|byte| matches!(byte, b'/' | 0))
            };
            assert!(segments.iter().all(|segment| is_safe(segment)), "a component of a file name");
        }
    })
}

/// Guile's reading, written down once more: split at slashes, decode each part, drop the empty ones.
fn guile_runs_admin(target: &[u8]) -> bool {
    let path = target.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default();
    if path.first() != Some(&b'/') {
        return false;
    }
    let mut segments = path.split(|&byte| byte == b'/').map(percent_decoded);
    segments.find(|segment| !segment.is_empty()).is_some_and(|first| first == b"admin")
}

fn percent_decoded(segment: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = segment;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let digits = digits.filter(|two| two.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(value) if byte == b'%' => {
                decoded.push(value);
                rest = &after[2..];
            }
            _ => {
                decoded.push(byte);
                rest = after;
            }
        }
    }
    decoded
}

/// The configuration file.
pub fn config(_: &Path) -> Target {
    let origin = Path::new("/etc/farmgate/farmgate.toml");
    Box::new(move |data| {
        match config::parse(&String::from_utf8_lossy(data), origin) {
            Ok(loaded) => assert!(!loaded.config.sites.is_empty()),
            Err(diagnostics) => {
                assert!(!diagnostics.is_empty());
                // With the line and the caret, wherever the trouble is.
                assert!(!diagnostics.to_string().is_empty());
            }
        }
    })
}

/// An nginx configuration, as `farmgate import-nginx` reads it.
pub fn import_nginx(folder: &Path) -> Target {
    let file = folder.join("nginx.conf");
    Box::new(move |data| {
        fs::write(&file, data).expect("a writable folder");
        match nginx::import(&file, nginx::Options::default()) {
            Ok(imported) => {
                let read = config::parse(&imported.toml, &file).expect("what was written is read");
                // Nobody is let in whom nginx did not ask for a certificate.
                let asks = data.windows(22).any(|window| window == b"ssl_client_certificate");
                assert!(asks || !read.given.contains("admin.client_ca"));
                assert!(imported.toml.chars().all(|c| c == '\n' || !c.is_control()));
            }
            Err(refusal) => assert!(!refusal.to_string().is_empty()),
        }
    })
}

/// What comes over the control socket, from either side.
pub fn control(_: &Path) -> Target {
    Box::new(|data| {
        let line = String::from_utf8_lossy(data);
        if let Ok(request) = serde_json::from_str::<Request>(&line) {
            let again = serde_json::to_string(&request).expect("JSON");
            assert_eq!(serde_json::from_str::<Request>(&again).expect("what was written is read"), request);
        }
        if let Ok(reply) = serde_json::from_str::<Reply>(&line) {
            let screen = Screen { colour: true, width: 80 };
            let _ = reply.status().map(|status| screen.show(status, 1_800_000_000));
        }
    })
}

/// A line of the access log: a byte for the kind of address, the address, then fields with a byte of length each.
pub fn access_log(_: &Path) -> Target {
    Box::new(|data| {
        let mut fields = Fields(data);
        let six = fields.take(1).first().is_some_and(|byte| byte % 2 == 1);
        let mut octets = [0; 16];
        let given = fields.take(if six { 16 } else { 4 });
        octets[..given.len()].copy_from_slice(given);
        let client = match six {
            true => IpAddr::from(octets),
            false => IpAddr::from([octets[0], octets[1], octets[2], octets[3]]),
        };
        let [user, method, target, referer, user_agent] = std::array::from_fn(|_| fields.field());
        let (user, method) = (String::from_utf8_lossy(user), String::from_utf8_lossy(method));
        let entry = Entry {
            client,
            id: RequestId::from(data.len() as u64),
            user: Some(&user),
            time: now(),
            duration: Duration::from_micros(data.len() as u64),
            backend: None,
            secure: six,
            site: Some("farm.example"),
            route: "page",
            cache: None,
            method: &method,
            target,
            version: "HTTP/1.1",
            status: 200,
            bytes: 1,
            referer: Some(referer),
            user_agent: Some(user_agent),
        };
        let anonymiser = Anonymiser::new(12, 84);
        let masked = anonymiser.mask(client).to_string();
        let line = |format| {
            let mut line = Vec::new();
            entry.write(format, anonymiser, &mut Dates::default(), &mut line);
            let text = String::from_utf8(line).expect("plain ASCII");
            let text = text.strip_suffix('\n').expect("a line").to_owned();
            assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{text:?}");
            text
        };
        let combined = line(LogFormat::Combined);
        assert_eq!(combined.matches('"').count(), 6, "{combined:?}");
        // Address, id and user are a word each, whatever is in them.
        let fourth = combined.split(' ').nth(3).unwrap_or_default();
        assert_eq!(fourth, "[01/Jan/2027:00:00:00", "{combined:?}");
        assert!(combined.starts_with(&format!("{masked} ")), "{combined:?}");
        let json: serde_json::Value = serde_json::from_str(&line(LogFormat::Json)).expect("JSON");
        for (name, value) in [("target", target), ("referer", referer), ("user_agent", user_agent)] {
            assert_eq!(json[name].as_str().expect("a text"), String::from_utf8_lossy(value));
        }
        assert_eq!(json["client"].as_str().expect("a text"), masked);
    })
}

/// Log lines for `farmgate anonip`.
pub fn anonip(_: &Path) -> Target {
    let rule = Rule { anonymiser: Anonymiser::new(12, 84), increment: 0, skip_private: false };
    let columns = Columns::new(&[1, 3], b" ", None).expect("good columns");
    Box::new(move |data| {
        for at in [Where::Everywhere, Where::Columns(columns.clone())] {
            let run = |input: &mut dyn std::io::Read| {
                let mut output = Vec::new();
                filter(input, &mut output, &at, &rule).expect("memory");
                output
            };
            let output = run(&mut &data[..]);
            assert_eq!(run(&mut Dribble(data)), output, "it matters how the input comes");
            if matches!(at, Where::Columns(_)) {
                continue;
            }
            // A word that is an address is one for everybody.
            let words = |bytes: &[u8]| -> Vec<Option<IpAddr>> {
                let words = bytes.split(|&byte| byte == b' ').map(std::str::from_utf8);
                words.map(|word| word.ok()?.parse().ok()).collect()
            };
            let (before, after) = (words(data), words(&output));
            assert_eq!(before.len(), after.len(), "no word is lost");
            for (before, after) in before.into_iter().zip(after) {
                let is_nobodys = before.is_some_and(|address| address.is_unspecified());
                assert!(
                    is_nobodys
                        || after == before.map(|address| rule.anonymiser.mask(address))
                        || before.is_none()
                );
            }
        }
    })
}

/// Gives three bytes at a time.
struct Dribble<'a>(&'a [u8]);

impl std::io::Read for Dribble<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.len().min(buffer.len()).min(3);
        let (now, later) = self.0.split_at(count);
        buffer[..count].copy_from_slice(now);
        self.0 = later;
        Ok(count)
    }
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// So many bytes, or what is left.
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn field(&mut self) -> &'a [u8] {
        let length = self.take(1).first().map_or(0, |&length| usize::from(length));
        self.take(length)
    }
}

fn ca_file(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("ca.pem");
    fs::write(&path, CA).expect("a writable folder");
    path
}

/// In 2027: what is in `corpus` is valid then, whenever this runs.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_798_761_600)
}
