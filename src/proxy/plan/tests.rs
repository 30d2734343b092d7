use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::admin::{Gate, Refusal};
use crate::config;
use crate::listen::TlsInfo;
use crate::log::AccessLog;
use crate::metrics::Metrics;
use crate::proxy::Logs;

const FARM: &str = r#"
    [[site]]
    names = ["ci.example.org", "farm.example.org"]
    publish = "http://127.0.0.1:3000"
    ci = "http://127.0.0.1:8081"

    [[site]]
    names = ["bordeaux.example.org"]
    publish = "http://127.0.0.1:3001"
    plain_http = "substitutes"

    [[site]]
    names = ["strict.example.org"]
    publish = "http://127.0.0.1:3002"
    ci = "http://127.0.0.1:8082"
    plain_http = "redirect"
    log_route = "publish"
"#;

struct Farm(Generation);

impl Farm {
    fn new() -> Self {
        let config = config::parse(FARM, Path::new("/farm.toml")).unwrap().config;
        let off = Arc::new(AccessLog::off());
        let gate = Arc::new(Gate::load(Path::new("/nonexistent"), &[]));
        let logs = Logs { http: off.clone(), https: off };
        Self(Generation::new(Arc::new(config), gate, logs, Metrics::new(1), Arc::default()).unwrap())
    }

    fn ask(&self, connection: &ConnectionInfo, method: &str, host: &str, target: &str) -> (usize, Plan) {
        let mut request = RequestHeader::build(method, target.as_bytes(), None).unwrap();
        request.insert_header("Host", host).unwrap();
        let planned = plan(&self.0, connection, &request);
        (planned.site, planned.plan)
    }

    fn http(&self, host: &str, target: &str) -> (usize, Plan) {
        self.ask(&connection(None), "GET", host, target)
    }

    fn https(&self, host: &str, target: &str) -> (usize, Plan) {
        self.ask(&connection(Some(host)), "GET", host, target)
    }
}

fn connection(server_name: Option<&str>) -> ConnectionInfo {
    let address = "127.0.0.1:1".parse().unwrap();
    let tls = server_name.map(|name| TlsInfo {
        server_name: Some(name.into()),
        client_chain: Vec::new(),
        http2: false,
    });
    ConnectionInfo::new(address, address, tls, None)
}

fn backend(planned: (usize, Plan)) -> Option<Which> {
    match planned.1 {
        Plan::Forward(upstream) => Some(upstream.backend),
        _ => None,
    }
}

fn refused(planned: (usize, Plan)) -> Option<u16> {
    match planned.1 {
        Plan::Refuse(problem) => Some(problem.status()),
        _ => None,
    }
}

fn redirected(planned: (usize, Plan)) -> Option<String> {
    match planned.1 {
        Plan::Redirect(host) => Some(host),
        _ => None,
    }
}

#[test]
fn each_row_of_the_table_goes_to_its_backend() {
    let farm = Farm::new();
    let to = |target| backend(farm.https("ci.example.org", target));
    for target in ["/nix-cache-info", "/abc.narinfo", "/nar/zstd/x", "/file/a/sha256/b", "/signing-key.pub"] {
        assert_eq!(to(target), Some(Which::Publish), "{target}");
    }
    for target in ["/", "/log/x", "/static/a.css", "/download/1", "/search?query=spec:admin"] {
        assert_eq!(to(target), Some(Which::Ci), "{target}");
    }
    assert_eq!(backend(farm.https("strict.example.org", "/log/x")), Some(Which::Publish));
    assert_eq!(backend(farm.https("bordeaux.example.org", "/")), Some(Which::Publish));
}

#[test]
fn the_admin_pages_are_closed_over_plain_http_whatever_the_site_says() {
    let farm = Farm::new();
    for host in ["ci.example.org", "bordeaux.example.org", "strict.example.org"] {
        let planned = farm.http(host, "/%61dmin/x");
        assert!(matches!(planned.1, Plan::Refuse(Problem::AdminOverPlainHttp)), "{host}");
    }
}

#[test]
fn without_a_client_ca_nobody_is_let_in() {
    let planned = Farm::new().https("ci.example.org", "/admin");
    let closed =
        matches!(planned.1, Plan::Refuse(Problem::NotAdmitted(Refusal::Closed | Refusal::NoCertificate)));
    assert!(closed);
}

#[test]
fn plain_http_serves_what_the_site_says() {
    let farm = Farm::new();
    assert_eq!(backend(farm.http("ci.example.org", "/")), Some(Which::Ci));
    assert_eq!(backend(farm.http("bordeaux.example.org", "/abc.narinfo")), Some(Which::Publish));
    assert_eq!(redirected(farm.http("bordeaux.example.org", "/")).unwrap(), "bordeaux.example.org");
    assert_eq!(redirected(farm.http("strict.example.org:80", "/abc.narinfo")).unwrap(), "strict.example.org");
    assert!(matches!(farm.http("strict.example.org", "/robots.txt").1, Plan::Robots));
}

#[test]
fn unknown_hosts_are_redirected_on_http_and_the_first_sites_on_https() {
    let farm = Farm::new();
    assert_eq!(redirected(farm.http("other.example.org", "/x")).unwrap(), "other.example.org");
    assert_eq!(backend(farm.http("192.0.2.1", "/")), Some(Which::Ci));
    assert_eq!(backend(farm.http("[2001:db8::1]:80", "/")), Some(Which::Ci));
    let (site, plan) = farm.https("other.example.org", "/");
    assert_eq!((site, backend((site, plan))), (0, Some(Which::Ci)));
}

#[test]
fn challenges_are_never_redirected() {
    let farm = Farm::new();
    for host in ["other.example.org", "strict.example.org", "ci.example.org"] {
        let planned = farm.http(host, "/.well-known/acme-challenge/token");
        assert!(matches!(planned.1, Plan::WellKnown), "{host}");
    }
}

#[test]
fn a_connection_made_for_one_site_does_not_serve_another() {
    let farm = Farm::new();
    let made_for_ci = connection(Some("ci.example.org"));
    assert_eq!(refused(farm.ask(&made_for_ci, "GET", "bordeaux.example.org", "/")), Some(421));
    assert_eq!(backend(farm.ask(&made_for_ci, "GET", "farm.example.org", "/")), Some(Which::Ci));
    assert_eq!(
        backend(farm.ask(&connection(Some("unknown")), "GET", "ci.example.org", "/")),
        Some(Which::Ci)
    );
}

#[test]
fn publish_is_asked_with_get_only() {
    let farm = Farm::new();
    let ask =
        |method, target| farm.ask(&connection(Some("ci.example.org")), method, "ci.example.org", target);
    assert_eq!(refused(ask("POST", "/abc.narinfo")), Some(405));
    assert_eq!(backend(ask("HEAD", "/abc.narinfo")), Some(Which::Publish));
    assert_eq!(backend(ask("POST", "/jobset/x/hook/evaluate")), Some(Which::Ci));
    assert_eq!(refused(ask("TRACE", "/")), Some(405));
}

#[test]
fn a_lookup_is_passed_on_where_the_plan_for_the_whole_request_is_to_pass_it_on() {
    let farm = Farm::new();
    let passed_on = Upstream { backend: Which::Publish, usage: Use::Pooled, repeatable: true, kept: None };
    let targets = [
        "/abc.narinfo",
        "/nix-cache-info",
        "/signing-key.pub",
        "/nar/x",
        "/file/a/sha256/b",
        "/log/x",
        "/admin",
        "/admin/x.narinfo",
        "/%61dmin/x.narinfo",
        "//admin/x.narinfo",
        "/x/../admin/y.narinfo",
        "/static/a.narinfo",
        "/.well-known/x.narinfo",
        "/robots.txt",
        "/",
        "/%zz.narinfo",
        "/a%2Fb.narinfo",
        "//abc.narinfo",
    ];
    let hosts = [
        "ci.example.org",
        "FARM.example.org.:80",
        "bordeaux.example.org",
        "strict.example.org",
        "other.example.org",
        "192.0.2.1",
        "[2001:db8::1]:80",
        "a/b",
    ];
    let connections = [None, Some("ci.example.org"), Some("bordeaux.example.org"), Some("unknown")];
    let mut lookups = 0;
    for connection in connections.map(connection) {
        for (host, target) in hosts.iter().flat_map(|host| targets.map(|target| (host, target))) {
            let Some((site, door)) = lookup(&farm.0, &connection, target.as_bytes(), host.as_bytes()) else {
                continue;
            };
            lookups += 1;
            let mut request = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
            request.insert_header("Host", *host).unwrap();
            let planned = plan(&farm.0, &connection, &request);
            assert_eq!((planned.site, planned.door), (site, Some(door)), "{host} {target}");
            assert!(
                matches!(planned.plan, Plan::Forward(upstream) if upstream == passed_on),
                "{host} {target}"
            );
        }
    }
    assert!(lookups > 20, "{lookups}");
}

#[test]
fn targets_and_hosts_that_are_none_are_refused() {
    let farm = Farm::new();
    assert_eq!(refused(farm.https("ci.example.org", "/%zz")), Some(400));
    assert_eq!(refused(farm.http("a/b", "/")), Some(400));
}
