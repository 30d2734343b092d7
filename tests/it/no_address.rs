//! No full address is written anywhere: a busy run from known addresses, and then a look at every byte.

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::support::config::{Config, HOST};
use super::support::eventually_true;
use super::support::farm::recorded;
use super::support::gate::Gate;
use super::support::h2::H2;
use super::support::http1::{Connection, find, from_address};
use super::support::pki::world;
use super::support::recorder::{Recorder, Then};
use super::support::tls::TlsClient;

/// Where the clients are.
const CLIENT: [u8; 4] = [127, 44, 55, 66];
/// Addresses in headers that proxies write, as clients and proxies before us may send them.
const FORWARDED: &[(&str, &str)] = &[
    ("X-Forwarded-For", "198.51.100.23, 2001:db8:77:88::99"),
    ("Forwarded", "for=\"[2001:db8:77:88::99]:4711\";by=198.51.100.23"),
    ("X-Real-IP", "198.51.100.23"),
    ("True-Client-IP", "198.51.100.23"),
];
/// What must not be found, as text; the first one is what is left of `CLIENT` when one octet is masked too little.
const SECRETS: &[&str] =
    &["127.44.55", "198.51.100.2", "2001:db8:77", "20010db8:0077", "7f2c3742", "44.55.66"];

/// So that the last request of each run is another one.
static NEXT: AtomicUsize = AtomicUsize::new(100);

/// Everything that is written, by name. What is written to a further place is a line here.
fn everything(gate: &Gate) -> Vec<(String, Vec<u8>)> {
    let mut all = vec![
        ("status".to_owned(), gate.command(&["status"]).stdout),
        ("status --json".to_owned(), gate.command(&["status", "--json"]).stdout),
        ("cache list".to_owned(), gate.command(&["cache", "list", "--json"]).stdout),
        ("cert list".to_owned(), gate.command(&["cert", "list", "--json"]).stdout),
        ("stderr".to_owned(), gate.stderr().join("\n").into_bytes()),
    ];
    if gate.is_running() {
        let scraped = Connection::plain(gate.metrics_addr(), "metrics").get("/metrics");
        assert!(scraped.text().contains("farmgate_requests_total"), "{}", scraped.text());
        all.push(("metrics".to_owned(), scraped.body));
    }
    files(gate.folder(), &mut all);
    all
}

/// Names and contents of all files below `folder`, compressed ones as they were before.
fn files(folder: &Path, all: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, all);
        } else if path.is_file() {
            // A name is written, too.
            all.push((format!("the name of {}", path.display()), path.display().to_string().into_bytes()));
            // It may have got another name meanwhile.
            let mut bytes = fs::read(&path).unwrap_or_default();
            if bytes.starts_with(&[0x1f, 0x8b]) {
                let compressed = std::mem::take(&mut bytes);
                let mut reader = flate2::read::GzDecoder::new(&compressed[..]);
                if let Err(error) = reader.read_to_end(&mut bytes) {
                    // One that is being compressed just now is read as far as it goes.
                    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{}", path.display());
                }
            }
            all.push((path.display().to_string(), bytes));
        }
    }
}

fn assert_no_address(gate: &Gate) {
    for (name, bytes) in everything(gate) {
        let lower = bytes.to_ascii_lowercase();
        for secret in SECRETS {
            if let Some(at) = find(&lower, secret.as_bytes()) {
                let around = &bytes[at.saturating_sub(80)..(at + 40).min(bytes.len())];
                panic!("{secret} in {name}: {}", around.escape_ascii());
            }
        }
        assert!(find(&bytes, &CLIENT).is_none(), "the address in four bytes, in {name}");
    }
}

fn plain(gate: &Gate) -> Connection {
    Connection::over_tcp(from_address(CLIENT, gate.http_addr()), HOST)
}

fn tls(gate: &Gate, client: &TlsClient) -> Connection {
    let tcp: TcpStream = from_address(CLIENT, gate.https_addr());
    Connection::over_tls(client.try_handshake_over(tcp, HOST).expect("a handshake"), HOST)
}

/// A backend with an answer for everything, and none for some.
fn backend() -> Recorder {
    Recorder::start(|request, tcp| {
        use std::io::Write;
        let fields = match request.target() {
            // Half an answer, and none at all.
            target if target.contains("half") => {
                let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
                return Then::Close;
            }
            target if target.contains("nothing") => return Then::Close,
            target if target.contains("vary") => {
                "Cache-Control: max-age=600\r\nVary: X-Forwarded-For, Forwarded\r\n"
            }
            target if target.contains("agent") => "Cache-Control: max-age=600\r\nVary: Accept\r\n",
            _ => "Cache-Control: max-age=600\r\n",
        };
        let _ = write!(tcp, "HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok");
        Then::Keep
    })
}

/// All routes in all ways, and all that can go wrong.
fn busy(gate: &Gate) {
    let good = TlsClient::default().identity(&world().good);
    for target in [
        "/",
        "/nix-cache-info",
        "/abc.narinfo",
        "/nar/zstd/abc",
        "/file/x/sha256/y",
        "/signing-key.pub",
        "/log/abc",
        "/static/a",
        "/static/vary",
        "/static/agent",
        "/download/1",
        "/download/vary",
        "/admin",
        "/%61dmin/x",
        "/robots.txt",
        "/.well-known/acme-challenge/x",
        "/.well-known/none",
        "/%zz",
        "/jobset/nothing",
        "/jobset/half",
        "/static/nothing",
        "/log/half",
        "/admin/nothing",
    ] {
        for _ in 0..2 {
            let _ = plain(gate).try_request("GET", target.as_bytes(), FORWARDED, b"");
            let _ = tls(gate, &TlsClient::default()).try_request("GET", target.as_bytes(), FORWARDED, b"");
            let _ = tls(gate, &good).try_request("GET", target.as_bytes(), FORWARDED, b"");
        }
    }
    for method in ["HEAD", "POST", "TRACE", "FOO"] {
        let _ = plain(gate).try_request(method, b"/jobset/x", FORWARDED, b"body");
    }
    let mut h2 = H2::over(&good, from_address(CLIENT, gate.https_addr()), HOST);
    for path in ["/h2", "/static/h2", "/admin/h2", "/jobset/nothing"] {
        h2.raw_request(
            &[
                (b":method", b"GET"),
                (b":scheme", b"https"),
                (b":authority", HOST.as_bytes()),
                (b":path", path.as_bytes()),
                (b"x-forwarded-for", b"198.51.100.23"),
                (b"forwarded", b"for=198.51.100.23"),
            ],
            b"",
        );
        if !h2.is_open() {
            h2 = H2::over(&good, from_address(CLIENT, gate.https_addr()), HOST);
        }
    }
    // Requests that are none, a handshake that is none, and clients that leave in the middle of everything.
    for bytes in [
        "NONSENSE\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nX-Forwarded-For: 198.51.100.23\r\n",
    ] {
        for address in [gate.http_addr(), gate.https_addr()] {
            let mut connection = Connection::over_tcp(from_address(CLIENT, address), HOST);
            connection.send(bytes);
            connection.finish_writing();
            let _ = connection.drain();
        }
    }
    for target in ["/nar/zstd/abc", "/static/left", "/jobset/left"] {
        let mut connection = plain(gate);
        connection.send(format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\nX-Real-IP: 198.51.100.23\r\n\r\n"));
        drop(connection);
    }
    let last = format!("/last?{}", NEXT.fetch_add(1, Ordering::Relaxed));
    plain(gate).get(&last);
    eventually_true("the last line", || {
        let mut all = Vec::new();
        files(gate.folder(), &mut all);
        all.iter().any(|(name, bytes)| name.contains("http.log") && find(bytes, last.as_bytes()).is_some())
    });
}

fn run(format: &str) {
    let backend = backend();
    let change = |config: Config| {
        config
            .set("access_log.format", &format!("{format:?}"))
            .set("access_log.rotate", "{ size = \"4KiB\", keep = 1000 }")
            .set("timeouts.backend_restart", "\"0s\"")
            .set("metrics.listen", "\"127.0.0.1:0\"")
    };
    let gate = recorded(&backend, change);
    busy(&gate);
    gate.sighup();
    gate.rewrite(&gate.config.clone().set("access_log.ipv6_mask", "100"));
    gate.reload();
    busy(&gate);
    eventually_true("files that were put aside and compressed", || {
        let names =
            fs::read_dir(gate.folder()).expect("a folder").map(|entry| entry.expect("one").file_name());
        names.filter(|name| name.to_string_lossy().ends_with(".gz")).count() > 4
    });
    assert_no_address(&gate);
    assert!(gate.sigterm_and_wait().success());

    let config = gate.config.clone();
    let gate = gate.again(&config);
    busy(&gate);
    assert_no_address(&gate);
    gate.signal("KILL");
    gate.wait_for_exit();
    assert_no_address(&gate);

    // It was looked at where it would be found.
    let all = everything(&gate);
    let holds = |name: &str, text: &str| {
        all.iter().any(|(found, bytes)| found.contains(name) && find(bytes, text.as_bytes()).is_some())
    };
    assert!(holds("http.log", "127.44.48.0") && holds("https.log", "127.44.48.0"), "masked, in the logs");
    assert!(holds("http.log-", "127.44.48.0"), "and in those put aside");
    assert!(holds("stderr", "502") && holds("/cache/", "ok"), "and there was more to look at");
}

#[test]
fn no_byte_of_a_clients_address_is_left_of_a_busy_run() {
    run("combined");
}

#[test]
fn no_byte_of_a_clients_address_is_left_of_a_busy_run_in_json() {
    run("json");
}
