//! The cache as a whole, between an origin that does as it is told and a disk that fails as it is told.

mod disk;
mod model;
mod stale;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use pingora::ErrorType;
use tokio::sync::watch;

use super::fixture::headers;
use super::*;
use crate::config;

/// An answer in the making: status, fields, and the body in parts, which may break off.
#[derive(Clone)]
struct Script {
    status: u16,
    fields: Vec<(&'static str, String)>,
    parts: Vec<Bytes>,
    breaks: bool,
    /// Nothing but the first part comes until this is true.
    held: Option<watch::Receiver<bool>>,
}

impl Script {
    fn ok(cache_control: &str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let fields =
            vec![("cache-control", cache_control.to_owned()), ("content-length", body.len().to_string())];
        let parts = if body.is_empty() { Vec::new() } else { vec![body] };
        Self { status: 200, fields, parts, breaks: false, held: None }
    }

    fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    fn field(mut self, name: &'static str, value: &str) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    fn unsized_in(mut self, parts: usize) -> Self {
        self.fields.retain(|(name, _)| *name != "content-length");
        let whole = self.parts.concat();
        self.parts = whole.chunks(whole.len().div_ceil(parts)).map(Bytes::copy_from_slice).collect();
        self
    }
}

/// Plays its scripts in turn, the last of them over and over; none is a backend that is away.
#[derive(Default)]
struct Scripted {
    scripts: Mutex<VecDeque<Script>>,
    asked: AtomicUsize,
    conditions: Mutex<Vec<Vec<String>>>,
}

impl Scripted {
    fn new(scripts: impl IntoIterator<Item = Script>) -> Arc<Self> {
        Arc::new(Self { scripts: Mutex::new(scripts.into_iter().collect()), ..Self::default() })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Origin for Scripted {
    async fn ask(&self, conditions: &[(HeaderName, HeaderValue)]) -> Result<Answer, Failure> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let names = conditions.iter().map(|(name, _)| name.to_string()).collect();
        self.conditions.lock().unwrap().push(names);
        let script = {
            let mut scripts = self.scripts.lock().unwrap();
            if scripts.len() > 1 { scripts.pop_front() } else { scripts.front().cloned() }
        };
        let Some(script) = script else { return Err(Failure::new(ErrorType::ConnectRefused, "away")) };
        let mut headers = HeaderMap::new();
        for (name, value) in &script.fields {
            headers.append(*name, value.parse().unwrap());
        }
        Ok(Answer {
            status: script.status,
            headers,
            body: Box::new(Parts {
                left: script.parts.into(),
                breaks: script.breaks,
                held: script.held,
                begun: false,
            }),
        })
    }
}

struct Parts {
    left: VecDeque<Bytes>,
    breaks: bool,
    held: Option<watch::Receiver<bool>>,
    begun: bool,
}

#[async_trait]
impl Arriving for Parts {
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        tokio::task::yield_now().await;
        if let Some(held) = self.held.as_mut().filter(|_| self.begun) {
            held.wait_for(|go_on| *go_on).await.expect("a test that goes on");
        }
        self.begun = true;
        match self.left.pop_front() {
            None if self.breaks => Err(Failure::new(ErrorType::ReadError, "broke off")),
            part => Ok(part),
        }
    }
}

/// What a client got.
#[derive(Debug, PartialEq)]
struct Got {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Got {
    fn cache_status(&self) -> &str {
        self.text("cache-status")
    }

    fn text(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

/// A cache in a folder of its own.
struct Bench {
    folder: PathBuf,
    _temporary: Option<tempfile::TempDir>,
    cache: Arc<Cache>,
}

const RULES: Rules =
    Rules { fallback: Duration::from_secs(60), fallback_other: Some(Duration::from_secs(60)) };

impl Bench {
    fn new() -> Self {
        Self::on(Arc::new(NoFaults), &settings(1 << 30, 0))
    }

    fn on(faults: Arc<dyn Faults>, settings: &config::Cache) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().to_owned();
        let cache = Cache::open_with(&folder, settings, faults);
        Self { folder, _temporary: Some(temporary), cache }
    }

    /// Another cache on the same folder, as after a crash: the old one is not told.
    fn reopen(&mut self, settings: &config::Cache) {
        self.cache = Cache::open(&self.folder, settings);
        self.cache.wait_until_indexed();
    }

    async fn ask(
        &self,
        origin: &Arc<Scripted>,
        target: &str,
        fields: &[(&'static str, &str)],
    ) -> Result<Got, Failure> {
        self.ask_with(origin, &Method::GET, target, fields).await
    }

    async fn ask_with(
        &self,
        origin: &Arc<Scripted>,
        method: &Method,
        target: &str,
        fields: &[(&'static str, &str)],
    ) -> Result<Got, Failure> {
        let fields = headers(fields);
        let key = Key::new("site", "host", target.as_bytes());
        let ask = Ask { space: Which::Static, key, rules: RULES, method, headers: &fields };
        let response = match self.cache.stored(&ask).await {
            Some(response) => response,
            None => self.cache.respond(&ask, origin.clone()).await?,
        };
        let mut delivery = response.for_request(method, &fields);
        let mut body = Vec::new();
        while !delivery.is_head_only
            && let Some(bytes) = delivery.next().await?
        {
            body.extend_from_slice(&bytes);
        }
        Ok(Got { status: delivery.status, headers: delivery.headers, body })
    }

    /// Asks until what came is stored.
    async fn store(&self, origin: &Arc<Scripted>, target: &str) {
        let stored = |bench: &Self| bench.cache.list(&Purge::Url(target.into())).len();
        let before = stored(self);
        assert!(self.ask(origin, target, &[]).await.is_ok());
        while stored(self) == before && before == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.settled().await;
    }

    /// Waits until nothing is being fetched.
    async fn settled(&self) {
        while !self.cache.flights.matching(|_| true).is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn files(&self) -> usize {
        files_below(&self.folder)
    }
}

fn files_below(folder: &Path) -> usize {
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { 1 })
        .sum()
}

fn settings(max_size: u64, memory: u64) -> config::Cache {
    let text = format!(
        "[[site]]\nnames = [\"a.example\"]\nci = \"http://127.0.0.1:1\"\n[cache]\nmemory = \"{memory}B\"\n\
         [cache.static]\nmax_size = \"{max_size}B\"\n"
    );
    config::parse(&text, Path::new("/f.toml")).unwrap().config.cache
}

#[tokio::test]
async fn rfc9111_4_a_hit_is_the_response_with_its_age() {
    for memory in [0, 1 << 20] {
        let bench = Bench::on(Arc::new(NoFaults), &settings(1 << 30, memory));
        let origin = Scripted::new([Script::ok("max-age=60", "body").field("age", "7").field("x-a", "1")]);
        bench.store(&origin, "/a").await;
        let hit = bench.ask(&origin, "/a", &[]).await.unwrap();
        assert_eq!((hit.status, &hit.body[..], origin.asked()), (200, &b"body"[..], 1));
        assert_eq!((hit.text("age"), hit.text("x-a")), ("7", "1"));
        assert_eq!(hit.cache_status(), "farmgate; hit; ttl=53");
    }
}

#[tokio::test]
async fn rfc9111_4_many_who_ask_at_once_are_one() {
    let bench = Bench::new();
    let origin = Scripted::new([Script::ok("max-age=60", vec![7; 3_000_000]).unsized_in(100)]);
    let answers = futures_join((0..50).map(|_| bench.ask(&origin, "/a", &[]))).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().body == vec![7; 3_000_000]));
    assert_eq!(origin.asked(), 1);
}

#[tokio::test]
async fn rfc9111_3_3_what_breaks_off_is_never_the_whole() {
    let bench = Bench::new();
    let whole = Script::ok("max-age=60", vec![7; 300_000]);
    let mut short = whole.clone();
    short.parts = vec![Bytes::from(vec![7; 100_000])];
    let broken = Script { breaks: true, ..short.clone() };
    let origin = Scripted::new([broken, short, whole]);
    let answers = futures_join((0..5).map(|_| bench.ask(&origin, "/a", &[]))).await;
    assert!(answers.iter().all(Result::is_err));
    bench.settled().await;
    assert!(bench.ask(&origin, "/a", &[]).await.is_err(), "shorter than it says");
    bench.settled().await;
    assert_eq!((bench.files(), bench.cache.list(&Purge::All).len()), (0, 0));
    assert_eq!(bench.ask(&origin, "/a", &[]).await.unwrap().body.len(), 300_000);
}

#[tokio::test]
async fn rfc9111_4_1_variants_wait_for_their_own() {
    let bench = Bench::new();
    let origin = Scripted::new([Script::ok("max-age=60", "x").field("vary", "accept")]);
    let languages = ["a", "b", "a", "c", "b", "a"];
    futures_join(
        languages
            .iter()
            .map(|accept| async { bench.ask(&origin, "/a", &[("accept", *accept)]).await.unwrap() }),
    )
    .await;
    assert_eq!(origin.asked(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_who_comes_just_when_a_fetch_ends_does_not_begin_another() {
    let bench = Arc::new(Bench::new());
    for round in 0..50 {
        let target = format!("/{round}");
        let origin = Scripted::new([Script::ok("max-age=60", "x")]);
        let mut clients = Vec::new();
        for _ in 0..8 {
            let (bench, origin, target) = (bench.clone(), origin.clone(), target.clone());
            clients.push(tokio::spawn(async move {
                for _ in 0..4 {
                    assert_eq!(bench.ask(&origin, &target, &[]).await.unwrap().body, b"x");
                }
            }));
        }
        for client in clients {
            client.await.unwrap();
        }
        assert_eq!(origin.asked(), 1, "round {round}");
    }
}

#[tokio::test]
async fn what_may_not_be_shared_goes_to_each_for_itself() {
    let bench = Bench::new();
    let scripts = (0..20).map(|at| Script::ok("private", format!("{at}")));
    let origin = Scripted::new(scripts);
    let answers = futures_join((0..20).map(|_| bench.ask(&origin, "/a", &[]))).await;
    let mut bodies: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().body).collect();
    bodies.sort();
    bodies.dedup();
    assert_eq!((bodies.len(), origin.asked(), bench.files()), (20, 20, 0));
}

#[tokio::test]
async fn rfc9111_5_2_2_7_a_field_that_is_private_goes_to_the_one_who_asked() {
    let bench = Bench::new();
    let origin = Scripted::new([Script::ok("max-age=60, private=\"x-mine\"", "x").field("x-mine", "1")]);
    assert!(bench.ask(&origin, "/a", &[]).await.unwrap().headers.contains_key("x-mine"));
    bench.settled().await;
    assert!(!bench.ask(&origin, "/a", &[]).await.unwrap().headers.contains_key("x-mine"));
    assert_eq!(origin.asked(), 1);
}

#[tokio::test]
async fn a_head_is_answered_from_a_get_that_is_under_way() {
    let bench = Bench::new();
    let origin = Scripted::new([Script::ok("max-age=60", vec![7; 1_000_000])]);
    let head = bench.ask_with(&origin, &Method::HEAD, "/a", &[]).await.unwrap();
    assert_eq!((head.status, head.text("content-length"), origin.asked()), (200, "1000000", 1));
    bench.store(&origin, "/a").await;
    let head = bench.ask_with(&origin, &Method::HEAD, "/a", &[]).await.unwrap();
    assert_eq!((head.text("content-length"), origin.asked()), ("1000000", 2));
}

#[tokio::test]
async fn an_empty_body_and_one_of_exactly_a_block_are_kept() {
    let mut bench = Bench::new();
    for (target, length) in [("/empty", 0), ("/block", 131_072), ("/more", 131_073)] {
        let origin = Scripted::new([Script::ok("max-age=60", vec![1; length])]);
        bench.store(&origin, target).await;
        bench.reopen(&settings(1 << 30, 0));
        assert_eq!(bench.ask(&origin, target, &[]).await.unwrap().body.len(), length);
        assert_eq!(origin.asked(), 1, "{target}");
    }
}

/// Drives all of them at once.
async fn futures_join<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|cx| {
        let mut done = true;
        for (future, output) in &mut futures {
            if output.is_none() {
                match future.as_mut().poll(cx) {
                    std::task::Poll::Ready(ready) => *output = Some(ready),
                    std::task::Poll::Pending => done = false,
                }
            }
        }
        if done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    futures.into_iter().filter_map(|(_, output)| output).collect()
}

#[tokio::test]
async fn what_was_stored_is_found_again_after_a_restart_while_requests_are_served() {
    const ENTRIES: usize = 2_000;
    let mut bench = Bench::new();
    let origin = Scripted::new([Script::ok("max-age=6000", vec![7; 200])]);
    for at in 0..ENTRIES {
        assert!(bench.ask(&origin, &format!("/static/some/longer/path/{at}.css"), &[]).await.is_ok());
    }
    bench.settled().await;
    bench.cache = Cache::open(&bench.folder, &settings(1 << 30, 0));
    assert_eq!(bench.ask(&origin, "/not/there/yet", &[]).await.unwrap().status, 200);
    bench.cache.wait_until_indexed();
    assert_eq!(bench.cache.list(&Purge::Prefix("/static/".into())).len(), ENTRIES);
}
