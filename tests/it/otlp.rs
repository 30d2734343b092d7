//! Spans that arrive at a collector: only with `--features otlp`.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::support::Latch;
use super::support::config::{Config, HOST, Site};
use super::support::eventually;
use super::support::gate::Gate;
use super::support::http1::{Connection, from_address};
use super::support::recorder::{Recorder, Then};

/// A field of a protobuf message: its number, and what stands in it.
#[derive(Debug)]
enum Value<'m> {
    Number(u64),
    Bytes(&'m [u8]),
}

/// Takes a message apart (protobuf.dev, "Encoding"): no more of it than OTLP's traces need.
fn fields(mut message: &[u8]) -> Vec<(u64, Value<'_>)> {
    let mut all = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let mut take = |count: usize| {
            let (taken, rest) = message.split_at(count);
            message = rest;
            taken
        };
        let value = match tag & 7 {
            0 => Value::Number(varint(&mut message)),
            1 => Value::Number(u64::from_le_bytes(take(8).try_into().expect("eight"))),
            2 => {
                let length = varint(&mut message) as usize;
                let (taken, rest) = message.split_at(length);
                message = rest;
                Value::Bytes(taken)
            }
            5 => Value::Number(u32::from_le_bytes(take(4).try_into().expect("four")).into()),
            other => panic!("wire type {other}"),
        };
        all.push((tag >> 3, value));
    }
    all
}

fn varint(message: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = message.split_first().expect("a number has an end");
        *message = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    number
}

fn inner(message: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
    fields(message).into_iter().filter_map(move |(field, value)| match value {
        Value::Bytes(bytes) if field == number => Some(bytes),
        _ => None,
    })
}

fn text(message: &[u8], number: u64) -> String {
    inner(message, number).next().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
}

/// A span as it arrived.
#[derive(Debug, Clone)]
struct Span {
    name: String,
    id: Vec<u8>,
    parent: Vec<u8>,
    took: u64,
    attributes: Vec<(String, String)>,
}

impl Span {
    fn attribute(&self, name: &str) -> &str {
        self.attributes.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

/// Of an ExportTraceServiceRequest: opentelemetry/proto/trace/v1/trace.proto has the numbers.
fn spans(request: &[u8]) -> Vec<Span> {
    let scopes: Vec<&[u8]> =
        inner(request, 1).flat_map(|resource| inner(resource, 2).collect::<Vec<_>>()).collect();
    let spans: Vec<&[u8]> =
        scopes.into_iter().flat_map(|scope| inner(scope, 2).collect::<Vec<_>>()).collect();
    let number = |span: &[u8], wanted: u64| {
        fields(span).iter().find_map(|(field, value)| match value {
            Value::Number(number) if *field == wanted => Some(*number),
            _ => None,
        })
    };
    spans
        .into_iter()
        .map(|span| Span {
            name: text(span, 5),
            id: inner(span, 2).next().expect("an id").to_vec(),
            parent: inner(span, 4).next().unwrap_or_default().to_vec(),
            took: number(span, 8).expect("an end") - number(span, 7).expect("a start"),
            attributes: inner(span, 9)
                .map(|pair| (text(pair, 1), any(inner(pair, 2).next().expect("a value"))))
                .collect(),
        })
        .collect()
}

fn any(value: &[u8]) -> String {
    match fields(value).first() {
        Some((1, Value::Bytes(text))) => String::from_utf8_lossy(text).into_owned(),
        Some((_, Value::Number(number))) => number.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Takes everything, in its own time.
fn collector(answer: impl Fn() + Send + Sync + 'static) -> Recorder {
    Recorder::start(move |_, tcp| {
        answer();
        let _ = tcp.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n",
        );
        Then::Keep
    })
}

fn gate(collector: &str, backend: &Recorder) -> Gate {
    let site = Site::new(HOST).publish(&backend.url());
    Config::new(site)
        .environment("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
        .environment("OTEL_BSP_SCHEDULE_DELAY", "50")
        .start()
}

fn arrived(collector: &Recorder) -> Vec<Span> {
    collector.requests().iter().flat_map(|request| spans(&request.body)).collect()
}

#[test]
fn a_collector_gets_a_span_for_each_request_and_no_address() {
    let (collector, backend) = (collector(|| ()), Recorder::ok());
    let gate = gate(&collector.url(), &backend);
    // An address that stands nowhere else.
    let from = |target: &str| {
        let tcp = from_address([127, 9, 8, 7], gate.http_addr());
        Connection::over_tcp(tcp, HOST).get_with(target, &[("X-Forwarded-For", "203.0.113.77")]);
    };
    from("/abc.narinfo");
    from("/admin");
    let found = eventually("two requests and a question to a backend", Duration::from_secs(20), || {
        let found = arrived(&collector);
        (found.iter().filter(|span| span.name == "request").count() == 2).then_some(found)
    });
    let request = |route: &str| {
        let of_route = |span: &&Span| span.name == "request" && span.attribute("route") == route;
        found.iter().find(of_route).unwrap_or_else(|| panic!("{route} in {found:#?}")).clone()
    };
    let (narinfo, admin) = (request("narinfo"), request("admin"));
    assert_eq!((narinfo.attribute("status"), admin.attribute("status")), ("200", "403"));
    let id = narinfo.attribute("id").to_owned();
    gate.wait_for_access("http", "/abc.narinfo");
    let line =
        gate.access_log("http").into_iter().find(|line| line.contains("/abc.narinfo")).expect("a line");
    assert!(!id.is_empty() && line.contains(&id), "{id} in {line}");
    let asked = found.iter().find(|span| span.name == "backend").expect("a question to the backend");
    assert_eq!(asked.parent, narinfo.id);
    assert!(asked.took <= narinfo.took && narinfo.took > 0);
    for request in collector.requests() {
        assert_eq!(request.line(), "POST /v1/traces HTTP/1.1");
        assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
        let all = [request.head.as_bytes(), &request.body].concat();
        let all = String::from_utf8_lossy(&all);
        assert!(all.contains("farmgate"), "{all}");
        for address in ["127.9.8.7", "203.0.113.77"] {
            assert!(!all.contains(address), "{address} in {all:?}");
        }
    }
}

#[test]
fn the_thread_that_sends_them_is_one_of_a_workers_and_so_under_landlock() {
    let (collector, backend) = (collector(|| ()), Recorder::ok());
    let gate = gate(&collector.url(), &backend);
    let is_there = || {
        let threads = fs::read_dir(format!("/proc/{}/task", gate.pid())).expect("a process").flatten();
        // The kernel keeps fifteen bytes of a name.
        let names = threads.filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok());
        names.into_iter().any(|name| name.starts_with("OpenTelemetry"))
    };
    assert!(!is_there(), "it began before the gate had put itself under Landlock");
    gate.http().get("/abc.narinfo");
    eventually("a span", Duration::from_secs(20), || (!arrived(&collector).is_empty()).then_some(()));
    assert!(is_there());
}

#[test]
fn what_is_left_is_sent_when_the_gate_ends() {
    let (collector, backend) = (collector(|| ()), Recorder::ok());
    let site = Site::new(HOST).publish(&backend.url());
    let gate = Config::new(site)
        .environment("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("{}/other/path", collector.url()))
        .environment("OTEL_BSP_SCHEDULE_DELAY", "3600000")
        .start();
    gate.http().get("/abc.narinfo");
    assert!(arrived(&collector).is_empty());
    gate.signal("TERM");
    assert!(gate.wait_for_exit().success());
    assert_eq!(arrived(&collector).iter().filter(|span| span.name == "request").count(), 1);
    assert!(collector.requests().iter().all(|request| request.target() == "/other/path"));
}

#[test]
fn a_collector_that_never_answers_holds_up_no_request() {
    let latch = Latch::default();
    let (waits, backend) = (latch.clone(), Recorder::ok());
    let stuck = collector(move || {
        waits.wait();
    });
    let site = Site::new(HOST).publish(&backend.url());
    let gate = Config::new(site)
        .environment("OTEL_EXPORTER_OTLP_ENDPOINT", &stuck.url())
        .environment("OTEL_BSP_SCHEDULE_DELAY", "10")
        .environment("OTEL_BSP_MAX_QUEUE_SIZE", "8")
        .environment("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
        .start();
    let mut connection = gate.http();
    connection.get("/abc.narinfo");
    eventually("a batch that is on its way", Duration::from_secs(20), || {
        (!stuck.requests().is_empty()).then_some(())
    });
    // Many more than the queue has room for, while the only batch is waited for.
    for _ in 0..200 {
        assert_eq!(connection.get("/abc.narinfo").status, 200);
    }
    assert_eq!(stuck.requests().len(), 1);
    latch.open();
}

#[test]
fn without_a_collector_nobody_is_told_anything_and_a_bad_one_is_said() {
    let backend = Recorder::ok();
    // What is not there may come: the gate goes on.
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("an address");
    let gone = gate(&format!("http://{closed}"), &backend);
    assert_eq!(gone.http().get("/abc.narinfo").status, 200);
    let wrong = gate("not a URL", &backend);
    wrong.wait_for_stderr("OTEL_EXPORTER_OTLP_ENDPOINT: no spans are sent");
    assert_eq!(wrong.http().get("/abc.narinfo").status, 200);
}

/// Somebody who sends garbage in answer.
#[test]
fn an_answer_that_is_none_does_the_gate_no_harm() {
    let backend = Recorder::ok();
    let garbage = Recorder::start(|_, tcp: &mut TcpStream| {
        let _ = tcp.write_all(b"\x00\xff nonsense\r\n\r\n");
        let _ = tcp.take(0).read(&mut []);
        Then::Close
    });
    let gate = gate(&garbage.url(), &backend);
    gate.http().get("/abc.narinfo");
    eventually("a batch", Duration::from_secs(20), || (!garbage.requests().is_empty()).then_some(()));
    assert_eq!(gate.http().get("/abc.narinfo").status, 200);
    assert!(gate.is_running());
}
