//! The combined log as others read it: goaccess and AWStats take every line.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::support::curl::curl;
use super::support::farm::Farm;
use super::support::h2::H2;
use super::support::tls::TlsClient;
use super::support::{need, run};

/// How many lines goaccess takes, and how many it rejects.
fn read_by_goaccess(log: &Path) -> (u64, u64) {
    assert!(need("goaccess"), "this needs goaccess");
    let report = log.with_extension("json");
    run(Command::new("goaccess")
        .arg(log)
        .args(["--log-format=COMBINED", "--no-global-config", "--no-progress", "--output"])
        .arg(&report));
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(report).expect("a report")).expect("JSON");
    let count = |name: &str| report["general"][name].as_u64().expect("a number");
    (count("valid_requests"), count("failed_requests"))
}

/// Where Debian has it: it is made to run behind a web server.
const AWSTATS: &str = "/usr/lib/cgi-bin/awstats.pl";

/// How many lines AWStats has looked at, and what it says of those it would not count.
fn read_by_awstats(log: &Path) -> (usize, Vec<String>) {
    let folder = log.with_extension("awstats");
    fs::create_dir_all(&folder).expect("a folder");
    let settings = format!(
        "LogFile={log:?}\nLogType=W\nLogFormat=1\nSiteDomain=\"farm.example\"\nDNSLookup=0\nDirData={folder:?}\n"
    );
    fs::write(folder.join("awstats.farm.conf"), settings).expect("a file");
    let said = run(Command::new("perl")
        .args([AWSTATS, "-config=farm", "-update", "-showcorrupted", "-showdropped"])
        .arg(format!("-configdir={}", folder.display())));
    let parsed = said.lines().find_map(|line| line.strip_prefix("Parsed lines in file: ")).expect("a number");
    let not_counted = |line: &&str| line.starts_with("Corrupted") || line.starts_with("Dropped");
    (parsed.trim().parse().expect("a number"), said.lines().filter(not_counted).map(str::to_owned).collect())
}

/// A gate whose log has lines of every kind, and that many in each of its logs at least.
fn odd_lines() -> Farm {
    let farm = Farm::start();
    let (gate, good) = (&farm.gate, &farm.world.good);
    for target in [
        "/nix-cache-info",
        "/abc.narinfo",
        "/nar/zstd/abc",
        "/admin",
        "/robots.txt",
        "/.well-known/x",
        "/%zz",
    ] {
        gate.http().get(target);
        gate.https().get(target);
    }
    gate.https_as(good).get("/admin?x");
    for (agent, referer) in
        [("\"quoted\\\"", "-"), ("", ""), ("\u{e9}\u{1f403}", "\" 200 \""), ("a  b", "[x]")]
    {
        gate.https().get_with("/jobset/x", &[("User-Agent", agent), ("Referer", referer)]);
    }
    for method in ["HEAD", "POST", "OPTIONS", "FOO", "PROPFIND"] {
        gate.http().request(method, "/jobset/x?\"'<>|", &[], b"");
    }
    let mut old = gate.http();
    old.send("GET /nix-cache-info HTTP/1.0\r\n\r\n");
    let _ = old.drain();
    for nonsense in ["NONSENSE\r\n\r\n", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "GET /x y HTTP/1.1\r\n\r\n"] {
        let mut connection = gate.http();
        connection.send(nonsense);
        connection.finish_writing();
        let _ = connection.drain();
    }
    let mut h2 = H2::connect(&TlsClient::default(), gate.https_addr(), super::support::config::HOST);
    h2.raw_request(
        &[(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"farm.example"), (b":path", b"/h2")],
        b"",
    );
    curl(&[&format!("https://{}/last", gate.https_addr())]);
    gate.wait_for_access("https", "/last");
    gate.http().get("/last");
    gate.wait_for_access("http", "/last");
    farm
}

#[test]
fn goaccess_reads_every_line_whatever_clients_send() {
    let farm = odd_lines();
    let gate = &farm.gate;
    for which in ["http", "https"] {
        let lines = gate.access_log(which).len() as u64;
        assert!(lines > 10, "{lines}");
        let log = gate.folder().join(format!("{which}.log"));
        assert_eq!(read_by_goaccess(&log), (lines, 0), "{:#?}", gate.access_log(which));
    }
    // And it would say so.
    let broken = gate.folder().join("broken.log");
    let text = fs::read_to_string(gate.folder().join("http.log")).expect("the log");
    fs::write(&broken, text.clone() + "127.0.0.0 - - no line\n").expect("a file");
    assert_eq!(read_by_goaccess(&broken), (text.lines().count() as u64, 1));
}

#[test]
fn awstats_reads_every_line_whatever_clients_send() {
    if !Path::new(AWSTATS).is_file() {
        let may_skip = std::env::var_os("FARMGATE_TEST_SKIP_MISSING").is_some();
        assert!(may_skip, "this needs {AWSTATS}: apt-get install awstats");
        return;
    }
    let farm = odd_lines();
    let gate = &farm.gate;
    for which in ["http", "https"] {
        let lines = gate.access_log(which).len();
        assert!(lines > 10, "{lines}");
        let (parsed, not_counted) = read_by_awstats(&gate.folder().join(format!("{which}.log")));
        assert_eq!(parsed, lines);
        // It counts what it knows to be methods of the web, and takes all other lines apart just as well.
        for said in not_counted {
            assert!(said.starts_with("Dropped record (method/protocol"), "{said}");
        }
    }
    let broken = gate.folder().join("broken.log");
    let text = fs::read_to_string(gate.folder().join("http.log")).expect("the log");
    fs::write(&broken, text + "127.0.0.0 - - no line\n").expect("a file");
    let (_, said) = read_by_awstats(&broken);
    assert_eq!(said.iter().filter(|said| said.starts_with("Corrupted")).count(), 1, "{said:?}");
}
