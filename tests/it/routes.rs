//! Each path is answered by the backend that the table names.

use super::support::config::{Config, HOST, Site};
use super::support::gate::Gate;
use super::support::recorder::Recorder;

struct Both {
    gate: Gate,
    publish: Recorder,
    ci: Recorder,
}

impl Both {
    fn with(site: impl FnOnce(Site) -> Site) -> Both {
        let (publish, ci) = (Recorder::ok(), Recorder::ok());
        let gate = Config::new(site(Site::new(HOST).publish(&publish.url()).ci(&ci.url()))).start();
        Both { gate, publish, ci }
    }

    fn assert_goes(&self, target: &str, to_publish: bool) {
        let before = (self.publish.requests().len(), self.ci.requests().len());
        assert_eq!(self.gate.https().get(target).status, 200, "{target}");
        let after = (self.publish.requests().len(), self.ci.requests().len());
        let expected = if to_publish { (before.0 + 1, before.1) } else { (before.0, before.1 + 1) };
        assert_eq!(after, expected, "{target}: requests at (publish, CI)");
    }
}

#[test]
fn substitutes_go_to_publish_and_pages_to_cuirass() {
    let both = Both::with(|site| site);
    for target in [
        "/nix-cache-info",
        "/abc.narinfo",
        "//abc.narinfo",
        "/%61bc.narinfo",
        "/abc.nar%69nfo",
        "/nar/abc",
        "/nar/zstd/abc",
        "//nar//zstd/abc",
        "/n%61r/zstd/abc",
        "/file/a/sha256/b",
        "/signing-key.pub",
    ] {
        both.assert_goes(target, true);
    }
    for target in [
        "/",
        "/jobset/x",
        "/static/x.css",
        "/download/7",
        "/log/abc",
        "/search?query=x",
        "/api/queue",
        "/narx",
        "/nix-cache-infos",
        "/eval/1",
        "/index.html",
        "/NAR/abc",
    ] {
        both.assert_goes(target, false);
    }
}

#[test]
fn logs_go_where_log_route_says() {
    Both::with(|site| site.set("log_route", "\"publish\"")).assert_goes("/log/abc", true);
    Both::with(|site| site.set("log_route", "\"ci\"")).assert_goes("/log/abc", false);
}

#[test]
fn a_site_without_a_ci_asks_publish_for_everything() {
    let publish = Recorder::ok();
    let gate = Config::new(Site::new(HOST).publish(&publish.url())).start();
    for (at, target) in ["/", "/abc.narinfo", "/log/abc", "/index.html"].iter().enumerate() {
        assert_eq!(gate.https().get(target).status, 200, "{target}");
        assert_eq!(publish.requests().len(), at + 1, "{target}");
    }
    assert_eq!(gate.https().get("/admin").status, 403);
}

#[test]
fn a_site_without_a_publish_has_no_substitutes() {
    let ci = Recorder::ok();
    let gate = Config::new(Site::new(HOST).ci(&ci.url())).start();
    for target in ["/abc.narinfo", "/nar/gzip/abc"] {
        assert_eq!(gate.https().get(target).status, 404, "{target}");
    }
    assert_eq!(ci.requests().len(), 0);
    assert_eq!(gate.https().get("/jobset/x").status, 200);
}
