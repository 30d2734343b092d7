//! The gate as a service, with a fault that no request can bring about.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::*;
use crate::acme::Challenges;
use crate::admin::Gate;
use crate::cache::Cache;
use crate::config;
use crate::control::Status;
use crate::history::History;
use crate::limits::Limiter;
use crate::listen::{Acceptor, Caps, Limits, Protocol};
use crate::log::AccessLog;
use crate::metrics::Metrics;
use crate::page::{Overview, Page};

/// A site whose publish answers everything with "ok".
fn site() -> String {
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let publish = backend.local_addr().unwrap();
    thread::spawn(move || {
        for mut tcp in backend.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut request = [0; 4096];
                while tcp.read(&mut request).is_ok_and(|read| read > 0) {
                    let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                }
            });
        }
    });
    format!(
        "[[site]]\nnames = [\"farm.example\"]\npublish = \"http://{publish}\"\nci = \"http://127.0.0.1:9\"\n"
    )
}

struct Nothing;

impl Overview for Nothing {
    fn status(&self) -> Status {
        Status::default()
    }
}

/// A gate with one worker, in which `fault` is given every target.
fn serve(folder: &Path, fault: fn(&[u8])) -> SocketAddr {
    let config = Arc::new(config::parse(&site(), Path::new("/farm.toml")).unwrap().config);
    let cache = Cache::open(&folder.join("cache"), &config.cache);
    let off = Arc::new(AccessLog::off());
    let logs = Logs { http: off.clone(), https: off };
    let gate = Arc::new(Gate::load(Path::new("/nonexistent"), &[]));
    let metrics = Metrics::new(1);
    let worker = metrics.worker(0);
    let generation = Generation::new(config, gate, logs, metrics, Arc::default()).unwrap();
    let live: Arc<Live> = Arc::new(ArcSwap::from_pointee(generation));
    let history = Arc::new(History::load(folder, Instant::now()));
    let page = Arc::new(Page::new(folder, Arc::new(Nothing), history, Arc::default()).unwrap());
    let challenges = Arc::new(Challenges::new(folder));
    let limiter = Limiter::new(&live.load().config.limits);
    let mut app = Gatekeeper::new(live.clone(), cache, limiter, challenges, page, worker.clone());
    app.fault = Some(fault);
    let seconds = Duration::from_secs;
    let limits = Limits {
        connections: 9,
        per_client: 9,
        header_timeout: seconds(60),
        send_timeout: seconds(60),
        idle: seconds(60),
        requests: 100,
        age: seconds(60),
    };
    let acceptor = Acceptor {
        app: Arc::new(app),
        protocol: Protocol::Http,
        caps: Arc::new(Caps::default()),
        limits: Arc::new(move || limits),
        refusals: Arc::new(ParserRefusals::new(live, worker.clone())),
        worker,
    };
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (_never, shutdown) = watch::channel(false);
        runtime.block_on(acceptor.run(socket, shutdown)).unwrap();
    });
    address
}

/// Asks, and reads until there is an answer that ends with `end`, or no more.
fn ask(connection: &mut TcpStream, target: &str, end: &str) -> String {
    // In one piece, as clients do.
    let request = format!("GET {target} HTTP/1.1\r\nHost: farm.example\r\n\r\n");
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while !answer.ends_with(end.as_bytes()) || end.is_empty() {
        match connection.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&piece[..count]),
            Err(error) => panic!("{target}: {error}"),
        }
    }
    String::from_utf8(answer).unwrap()
}

/// In a process of its own, which has the program's way of telling of panics.
fn child() {
    let _logging = crate::server::logging::to_stderr();
    let folder = tempfile::tempdir().unwrap();
    let address = serve(folder.path(), |target| {
        assert!(!target.starts_with(b"/panic"), "no room for 203.0.113.77");
    });
    let connect = || {
        let connection = TcpStream::connect(address).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        connection
    };
    let robots = local::ROBOTS;
    let mut other = connect();
    assert!(ask(&mut other, "/robots.txt", robots).starts_with("HTTP/1.1 200"));
    let answer = ask(&mut connect(), "/panic", "");
    assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    let id = answer.trim_end().rsplit(' ').next().unwrap();
    println!("\nthe page has {id}");
    // The same where the engine has no part in it: a lookup on a connection that had one.
    let mut lookups = connect();
    for _ in 0..3 {
        assert!(ask(&mut lookups, "/a.narinfo", "ok").starts_with("HTTP/1.1 200"));
    }
    assert_eq!(ask(&mut lookups, "/panic.narinfo", ""), "", "the connection ends");
    // One that was there before, and one that comes.
    for mut connection in [other, connect()] {
        assert!(ask(&mut connection, "/robots.txt", robots).starts_with("HTTP/1.1 200"));
        assert!(ask(&mut connection, "/a.narinfo", "ok").starts_with("HTTP/1.1 200"));
    }
}

#[test]
fn a_panic_in_one_request_is_told_once_with_its_id_and_others_are_served() {
    const CHILD: &str = "FARMGATE_TEST_PANIC_IN_REQUEST";
    if std::env::var_os(CHILD).is_some() {
        return child();
    }
    let name = "proxy::tests::a_panic_in_one_request_is_told_once_with_its_id_and_others_are_served";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    let id = stdout.lines().find_map(|line| line.strip_prefix("the page has ")).expect("an id");
    let telling: Vec<_> = stderr.lines().filter(|line| line.contains(id)).collect();
    assert_eq!(telling.len(), 1, "{stderr}");
    assert!(
        telling[0].starts_with("PANIC in ") && telling[0].contains("no room for (an address)"),
        "{stderr}"
    );
    assert_eq!(stderr.matches("PANIC").count(), 2, "{stderr}");
    assert!(!stderr.contains("203.0.113.77") && !stderr.contains("127.0.0.1"), "{stderr}");
}
