//! Nobody passes `/admin` without a certificate that is valid at that moment.

use std::fs;

use super::errors::assert_not_cacheable;
use super::support::config::{Config, HOST, Site};
use super::support::curl::curl;
use super::support::farm::{Farm, recorded};
use super::support::h2::{H2, Outcome};
use super::support::http1::{Connection, Response};
use super::support::pki::{Authority, Identity, Kind, scratch, world};
use super::support::recorder::Recorder;
use super::support::spellings::{DOTS, lookalikes, spellings};
use super::support::tls::TlsClient;

fn uninvited() -> Vec<(&'static str, Option<&'static Identity>)> {
    let world = world();
    vec![
        ("no certificate", None),
        ("foreign", Some(&world.foreign)),
        ("expired", Some(&world.expired)),
        ("not yet valid", Some(&world.not_yet)),
        ("foreign with our CA behind it", Some(&world.foreign_with_our_ca)),
        ("issued by a client", Some(&world.issued_by_good)),
        ("for servers only", Some(&world.server_only)),
    ]
}

fn client(identity: Option<&Identity>) -> TlsClient {
    identity.map_or_else(TlsClient::default, |identity| TlsClient::default().identity(identity))
}

/// Sends requests on one connection as long as it lasts.
struct Visitor<'a> {
    connect: Box<dyn Fn() -> Connection + 'a>,
    connection: Option<Connection>,
}

impl<'a> Visitor<'a> {
    fn new(connect: impl Fn() -> Connection + 'a) -> Visitor<'a> {
        Visitor { connect: Box::new(connect), connection: None }
    }

    /// `None`: no answer, just a close.
    fn ask(
        &mut self,
        method: &str,
        target: &[u8],
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Response> {
        let mut connection = self.connection.take().unwrap_or_else(|| (self.connect)());
        let response = connection.try_request(method, target, headers, body).ok()?;
        if !response.closes() {
            self.connection = Some(connection);
        }
        Some(response)
    }
}

fn over<'a>(farm: &'a Farm, identity: Option<&Identity>) -> Visitor<'a> {
    let client = client(identity);
    Visitor::new(move || client.connect(farm.gate.https_addr(), HOST))
}

fn assert_nothing_reached(farm: &Farm, who: &str) {
    assert_eq!(farm.cuirass.actions(), Vec::<String>::new(), "{who}");
    assert_eq!(farm.cuirass.admin_requests(), Vec::<String>::new(), "{who}");
    assert!(!farm.publish.requests().iter().any(|seen| seen.target.contains("min/")), "{who}");
}

#[test]
fn every_spelling_is_refused_to_everybody_uninvited_over_http_1() {
    let farm = Farm::start();
    for (who, identity) in uninvited() {
        let mut visitor = over(&farm, identity);
        for spelling in spellings("/build/9/restart") {
            let shown = spelling.target.escape_ascii().to_string();
            let answer = visitor.ask("GET", &spelling.target, &[], b"");
            // What is no valid target at all may be a 400; a close without an answer is none.
            let status = answer.map(|answer| answer.status);
            assert!(matches!(status, Some(403 | 400 | 421)), "{who}: {shown}: {status:?}");
            if shown.starts_with("/") && !shown.contains('#') {
                assert_eq!(status, Some(403), "{who}: {shown}");
            }
        }
        for target in DOTS {
            let status = visitor.ask("GET", target.as_bytes(), &[], b"").map(|answer| answer.status);
            assert_eq!(status, Some(403), "{who}: {target}");
        }
        assert_nothing_reached(&farm, who);
    }
}

#[test]
fn no_lookalike_runs_an_action_for_anybody_uninvited() {
    let farm = Farm::start();
    for (who, identity) in uninvited() {
        let mut visitor = over(&farm, identity);
        for target in lookalikes() {
            visitor.ask("GET", &target, &[], b"");
        }
        assert_eq!(farm.cuirass.actions(), Vec::<String>::new(), "{who}");
    }
    // And the gate is well after all that.
    assert_eq!(farm.gate.https().get("/").status, 200);
}

#[test]
fn every_method_is_refused() {
    let farm = Farm::start();
    let methods = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "get", "Get", "PROPFIND",
        "MKCOL", "X",
    ];
    for (who, identity) in uninvited() {
        let mut visitor = over(&farm, identity);
        for method in methods {
            for target in ["/admin", "/%61dmin/specification/add", "/admin//build/9/restart"] {
                let body: &[u8] = if matches!(method, "POST" | "PUT" | "PATCH") { b"spec=1" } else { b"" };
                let status = visitor.ask(method, target.as_bytes(), &[], body).map(|answer| answer.status);
                assert!(
                    matches!(status, Some(403 | 400 | 405 | 501)),
                    "{who}: {method} {target}: {status:?}"
                );
            }
        }
        for target in ["/admin", "farm.example:443", "/admin/build/9/restart"] {
            visitor.ask("CONNECT", target.as_bytes(), &[], b"");
        }
    }
    for who in ["X-HTTP-Method-Override", "X-Original-URL", "X-Rewrite-URL"] {
        farm.gate.https().get_with("/jobset/x", &[(who, "/admin/build/9/restart")]);
    }
    assert_nothing_reached(&farm, "methods");
}

#[test]
fn every_spelling_is_refused_over_http_2() {
    let farm = Farm::start();
    for (who, identity) in uninvited() {
        let client = client(identity);
        let mut h2 = H2::connect(&client, farm.gate.https_addr(), HOST);
        let exact = spellings("/build/9/restart").into_iter().map(|spelling| (spelling.target, true));
        let dots = DOTS.iter().map(|target| (target.as_bytes().to_vec(), true));
        let near = lookalikes().into_iter().map(|target| (target, false));
        for (target, exact) in exact.chain(dots).chain(near) {
            for method in ["GET", "POST"] {
                if !h2.is_open() {
                    h2 = H2::connect(&client, farm.gate.https_addr(), HOST);
                }
                let body: &[u8] = if method == "POST" { b"spec=1" } else { b"" };
                let outcome = h2.request(method, HOST, &target, &[], body);
                let refused = match &outcome {
                    Outcome::Refused(_) => true,
                    Outcome::Answer { status, .. } => matches!(status, 403 | 400 | 421),
                };
                let shown = target.escape_ascii().to_string();
                if exact && shown.starts_with('/') && !shown.contains('#') {
                    assert_eq!(outcome.status(), Some(403), "{who}: {method} {shown}: {outcome:?}");
                }
                assert!(refused || !exact, "{who}: {method} {}: {outcome:?}", target.escape_ascii());
            }
        }
        assert_nothing_reached_by_action(&farm, who);
    }
}

fn assert_nothing_reached_by_action(farm: &Farm, who: &str) {
    assert_eq!(farm.cuirass.actions(), Vec::<String>::new(), "{who}");
}

#[test]
fn pseudo_headers_of_http_2_do_not_open_the_gate() {
    let farm = Farm::start();
    let connect = || H2::connect(&TlsClient::default(), farm.gate.https_addr(), HOST);
    let (method, scheme) = ((&b":method"[..], &b"GET"[..]), (&b":scheme"[..], &b"https"[..]));
    let authority = (&b":authority"[..], HOST.as_bytes());
    let path = (&b":path"[..], &b"/admin/build/9/restart"[..]);
    let innocent = (&b":path"[..], &b"/"[..]);
    let host = (&b"host"[..], HOST.as_bytes());
    let requests: [Vec<(&[u8], &[u8])>; 7] = [
        vec![method, scheme, authority, innocent, path],
        vec![method, scheme, authority, path, innocent],
        vec![method, scheme, path, host],
        vec![method, path, authority],
        vec![method, scheme, (b":authority", b"other.example"), path, host],
        vec![(b":method", b"CONNECT"), authority, path, scheme, (b":protocol", b"websocket")],
        vec![method, scheme, (b":authority", b"farm.example/admin/build/9/restart?"), innocent],
    ];
    for headers in requests {
        let outcome = connect().raw_request(&headers, b"");
        let status = outcome.status();
        assert!(matches!(status, None | Some(403 | 400 | 421 | 405 | 501)), "{headers:?}: {outcome:?}");
    }
    assert_nothing_reached(&farm, "pseudo-headers");
}

#[test]
fn a_real_client_is_refused_over_http_2_too() {
    let farm = Farm::start();
    let base = format!("https://{}", farm.gate.https_addr());
    let host = format!("Host: {HOST}");
    for path in
        ["/admin", "/%61dmin/build/9/restart", "//admin//build/9/restart", "/x/%2e%2e/admin/build/9/restart"]
    {
        let answer = curl(&["--http2", "-H", &host, &format!("{base}{path}")]);
        assert_eq!((answer.status, answer.version.as_str()), (403, "2"), "{path}");
    }
    let world = world();
    let (cert, key) = (world.good.chain.display().to_string(), world.good.key.display().to_string());
    let answer = curl(&[
        "--http2",
        "--cert",
        &cert,
        "--key",
        &key,
        "-H",
        &host,
        &format!("{base}/%61dmin/build/9/restart"),
    ]);
    assert_eq!((answer.status, answer.version.as_str()), (302, "2"));
    assert_eq!(farm.cuirass.actions(), ["restart 9"]);
}

#[test]
fn good_certificates_pass_over_every_version_with_the_target_as_it_was_sent() {
    let farm = Farm::start();
    for (who, identity) in [("version 1", &farm.world.good), ("version 3", &farm.world.good_v3)] {
        let mut visitor = over(&farm, Some(identity));
        for target in
            ["/admin/build/9/restart", "/%61dmin/build/9/restart", "/admin//build///9/restart/?x=%2f"]
        {
            let before = farm.cuirass.requests().len();
            let status = visitor.ask("GET", target.as_bytes(), &[], b"").map(|answer| answer.status);
            assert_eq!(status, Some(302), "{who}: {target}");
            assert_eq!(farm.cuirass.requests()[before].target, target);
        }
        let mut h2 = H2::connect(&client(Some(identity)), farm.gate.https_addr(), HOST);
        assert_eq!(h2.request("GET", HOST, b"/%61dmin/build/9/restart", &[], b"").status(), Some(302));
        assert_eq!(h2.request("POST", HOST, b"/admin/specification/add", &[], b"spec=1").status(), Some(302));
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let mut connection =
                TlsClient::only(version).identity(identity).connect(farm.gate.https_addr(), HOST);
            assert_eq!(connection.get("/admin").status, 200, "{who}: {version:?}");
        }
    }
    assert_eq!(farm.cuirass.actions().len(), 10);
}

#[test]
fn public_pages_are_served_to_everybody_whatever_they_show() {
    let farm = Farm::start();
    for (who, identity) in uninvited() {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let client = match identity {
                Some(identity) => TlsClient::only(version).identity(identity),
                None => TlsClient::only(version),
            };
            let mut connection = client.connect(farm.gate.https_addr(), HOST);
            assert_eq!(connection.get("/jobset/x").status, 200, "{who}");
            assert_eq!(connection.get("/abc.narinfo").status, 200, "{who}");
        }
    }
}

#[test]
fn a_certificate_without_its_key_does_not_shake_hands() {
    let farm = Farm::start();
    let stolen = Identity { chain: farm.world.good.chain.clone(), key: farm.world.good_v3.key.clone() };
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = TlsClient::only(version).identity(&stolen);
        // In TLS 1.3 the client believes itself done before the server has looked.
        let answer = client.try_handshake(farm.gate.https_addr(), HOST).ok().and_then(|stream| {
            let mut connection = Connection::over_tls(stream, HOST);
            connection.try_request("GET", b"/admin/build/9/restart", &[], b"").ok()
        });
        assert!(answer.as_ref().is_none_or(|answer| answer.status == 403), "{answer:?}");
    }
    assert_nothing_reached(&farm, "stolen");
}

#[test]
fn plain_http_never_leads_to_admin() {
    for policy in ["serve", "substitutes", "redirect"] {
        let farm = Farm::with_site(|site| site.plain_http(policy), |config| config);
        let mut visitor = Visitor::new(|| farm.gate.http());
        for spelling in spellings("/build/9/restart") {
            let answer = visitor.ask("GET", &spelling.target, &[("X-Forwarded-Proto", "https")], b"");
            let status = answer.map(|answer| answer.status);
            let shown = spelling.target.escape_ascii();
            assert!(matches!(status, Some(403 | 400 | 421 | 308 | 301)), "{policy}: {shown}: {status:?}");
        }
        assert_nothing_reached(&farm, policy);
        let answer = farm.gate.http().get_with("/admin", &[("Accept", "text/html")]);
        if answer.status == 403 {
            assert!(answer.text().to_lowercase().contains("https"), "{}", answer.text());
        } else {
            assert!(
                answer.header("location").is_some_and(|location| location.starts_with("https://")),
                "{answer:?}"
            );
        }
    }
}

#[test]
fn the_refusal_says_what_is_missing() {
    let farm = Farm::start();
    let page = |identity: Option<&Identity>| {
        let mut connection = client(identity).connect(farm.gate.https_addr(), HOST);
        let answer = connection.get_with("/admin", &[("Accept", "text/html")]);
        assert_eq!(answer.status, 403);
        assert_not_cacheable(&answer);
        answer.text().to_lowercase()
    };
    let (none, foreign, expired) =
        (page(None), page(Some(&farm.world.foreign)), page(Some(&farm.world.expired)));
    assert!(none.contains("certificate"), "{none}");
    assert!(expired.contains("expired"), "{expired}");
    assert!(!none.contains("expired") && !foreign.contains("expired"));
    assert_ne!(none, foreign);
}

#[test]
fn requests_from_other_sites_are_refused_even_with_a_certificate() {
    let farm = Farm::start();
    let ask = |headers: &[(&str, &str)]| {
        let mut connection = farm.gate.https_as(&farm.world.good);
        connection.get_with("/admin/build/9/restart", headers).status
    };
    let origin = format!("https://{HOST}");
    for headers in [
        &[("Sec-Fetch-Site", "cross-site")][..],
        &[("sec-fetch-site", "CROSS-SITE")],
        &[("Origin", "https://evil.example")],
        &[("Origin", "null")],
        &[("Origin", "http://farm.example.evil.example")],
        &[("Origin", &origin), ("Sec-Fetch-Site", "cross-site")],
        &[("Origin", &origin), ("Origin", "https://evil.example")],
        &[("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "cross-site")],
    ] {
        assert!(matches!(ask(headers), 403 | 400), "{headers:?}");
    }
    assert_nothing_reached(&farm, "cross-site");
    for headers in
        [&[][..], &[("Sec-Fetch-Site", "none")], &[("Sec-Fetch-Site", "same-origin"), ("Origin", &origin)]]
    {
        assert_eq!(ask(headers), 302, "{headers:?}");
    }
    // Elsewhere that is nobody's business.
    let status = farm.gate.https().get_with("/jobset/x", &[("Sec-Fetch-Site", "cross-site")]).status;
    assert_eq!(status, 200);
}

#[test]
fn the_backend_learns_who_the_admin_is_and_nobody_else_can_say_so() {
    let farm = Farm::start();
    let forged = [
        ("X-Client-Cert-CN", "mallory"),
        ("x-client-cert-serial", "01"),
        ("X-CLIENT-CERT-CN", "eve"),
        ("X_Client_Cert_CN", "eve"),
    ];
    for (identity, name) in [(&farm.world.good, "alice"), (&farm.world.good_v3, "bob")] {
        let target = format!("/admin?{name}");
        assert_eq!(farm.gate.https_as(identity).get_with(&target, &forged).status, 200);
        let seen = farm.cuirass.wait_for(&target);
        assert_eq!(seen.header("x-client-cert-cn"), Some(name), "{:?}", seen.headers);
        let names = seen.header_names();
        assert_eq!(names.iter().filter(|name| name.starts_with("x-client-cert-cn")).count(), 1, "{names:?}");
        let serial = seen.header("x-client-cert-serial").expect("a serial").replace(':', "").to_uppercase();
        assert_eq!(serial.trim_start_matches('0'), identity.serial().trim_start_matches('0'));
        assert!(
            !seen.headers.iter().any(|(_, value)| value == "mallory" || value == "eve"),
            "{:?}",
            seen.headers
        );
    }
    let with_forged = |mut connection: Connection, target: &str| {
        connection.get_with(target, &forged);
        let seen = farm.cuirass.wait_for(target);
        let leaked =
            seen.headers.iter().any(|(_, value)| value == "mallory" || value == "eve" || value == "01");
        assert!(!leaked, "{target}: {:?}", seen.headers);
    };
    with_forged(farm.gate.https(), "/jobset/a");
    with_forged(farm.gate.https_as(&farm.world.foreign), "/jobset/b");
    with_forged(farm.gate.http(), "/jobset/c");
    let mut h2 = H2::connect(&TlsClient::default(), farm.gate.https_addr(), HOST);
    let lower = [("x-client-cert-cn", "mallory"), ("x-client-cert-serial", "01")];
    assert_eq!(h2.request("GET", HOST, b"/jobset/d", &lower, b"").status(), Some(200));
    assert!(!farm.cuirass.wait_for("/jobset/d").header_names().iter().any(|name| name.contains("cert")));
}

#[test]
fn a_resumed_session_is_judged_anew_after_the_authority_was_replaced() {
    let folder = scratch("replaced");
    let ca = folder.join("ca.crt");
    fs::copy(&world().authority.cert, &ca).expect("copy");
    let farm = Farm::with(|config| config.client_ca(&ca));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        fs::copy(&world().authority.cert, &ca).expect("copy");
        farm.gate.reload();
        let client = TlsClient::only(version).identity(&farm.world.good);
        let mut open = client.connect(farm.gate.https_addr(), HOST);
        assert_eq!(open.get("/admin").status, 200);

        fs::copy(&world().impostor.cert, &ca).expect("copy");
        farm.gate.reload();
        assert_eq!(open.get("/admin").status, 403, "a connection opened before");
        let mut resumed = client.connect(farm.gate.https_addr(), HOST);
        assert_eq!(resumed.get("/admin").status, 403, "a resumed session");
        assert_eq!(resumed.tls().handshake_kind(), Some(rustls::HandshakeKind::Resumed), "{version:?}");
        assert_eq!(resumed.get("/jobset/x").status, 200);
    }
}

#[test]
fn a_revoked_certificate_is_refused_at_once_on_connections_already_open() {
    let folder = scratch("revoked");
    let authority = Authority::new(&folder, "/CN=Revoking CA");
    let (kept, lost) = (authority.issue("kept", Kind::V1), authority.issue("lost", Kind::V1));
    let farm = Farm::with(|config| config.client_ca(&authority.cert));
    let mut open = farm.gate.https_as(&lost);
    assert_eq!(open.get("/admin").status, 200);
    let crl = authority.revoke(&lost);
    farm.gate
        .rewrite(&farm.gate.config.clone().set("admin.crl", &format!("[{:?}]", crl.display().to_string())));
    farm.gate.reload();
    let answer = open.get_with("/admin", &[("Accept", "text/html")]);
    assert_eq!(answer.status, 403);
    assert!(answer.text().to_lowercase().contains("revoked"), "{}", answer.text());
    assert_eq!(farm.gate.https_as(&lost).get("/admin").status, 403);
    assert_eq!(farm.gate.https_as(&kept).get("/admin").status, 200);
}

#[test]
fn an_authority_that_cannot_be_read_closes_the_gate_and_nothing_else() {
    let folder = scratch("unreadable");
    let missing = folder.join("missing.crt");
    let farm = Farm::with(|config| config.client_ca(&missing));
    assert_eq!(farm.gate.https_as(&farm.world.good).get("/admin").status, 403);
    assert_eq!(farm.gate.https_as(&farm.world.good).get("/jobset/x").status, 200);

    // It is taken up when it appears, and closed again when it goes bad.
    fs::copy(&farm.world.authority.cert, &missing).expect("copy");
    farm.gate.command(&["reload"]);
    assert_eq!(farm.gate.https_as(&farm.world.good).get("/admin").status, 200);
    assert_eq!(farm.gate.https_as(&farm.world.foreign).get("/admin").status, 403);
    for garbage in ["", "garbage\n", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let gate = Farm::with(|config| {
            fs::write(&missing, garbage).expect("write");
            config.client_ca(&missing)
        });
        assert_eq!(gate.gate.https_as(&gate.world.foreign).get("/admin").status, 403, "{garbage:?}");
        assert_eq!(gate.gate.https_as(&gate.world.good).get("/admin").status, 403, "{garbage:?}");
    }
}

#[test]
fn without_any_authority_the_gate_is_closed() {
    let farm = Farm::with(|config| config.without("admin.client_ca"));
    for identity in [&farm.world.good, &farm.world.foreign] {
        assert_eq!(farm.gate.https_as(identity).get("/admin").status, 403);
    }
    assert_nothing_reached(&farm, "no authority");
}

#[test]
fn nothing_at_all_reaches_a_backend_of_a_refused_request() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config);
    let mut visitor = Visitor::new(|| gate.https());
    for spelling in spellings("/build/9/restart") {
        visitor.ask("POST", &spelling.target, &[], b"spec=1");
    }
    assert_eq!(recorder.connections(), 0, "{:?}", recorder.requests());
}

#[test]
fn another_prefix_is_guarded_the_same_way() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config.set("admin.prefix", "\"/control\""));
    let mut visitor = Visitor::new(|| gate.https());
    for target in
        ["/control", "/control//room/x", "/%63ontro%6C", "//control/", "/x/../control/room", "/./control/"]
    {
        let status = visitor.ask("GET", target.as_bytes(), &[], b"").map(|answer| answer.status);
        assert_eq!(status, Some(403), "{target}");
    }
    // Wherever the configuration puts the prefix: this is what Cuirass has there.
    assert_eq!(gate.https().get("/admin/build/9/restart").status, 403);
    for target in ["/controls", "/contro", "/x/control/room"] {
        assert_eq!(gate.https().get(target).status, 200, "{target}");
    }
}

#[test]
fn a_body_that_comes_after_the_authority_is_gone_reaches_nobody() {
    let recorder = Recorder::ok();
    let folder = scratch("late-body");
    let ca = folder.join("client-ca.crt");
    let other = Authority::new(&folder.join("other"), "/CN=Other CA");
    let gate = recorded(&recorder, |config| config.client_ca(&ca));
    let put = |authority: &Authority| drop(fs::copy(&authority.cert, &ca));
    let changes: [&dyn Fn(); 2] = [&|| put(&other), &|| fs::remove_file(&ca).expect("remove the CA")];
    for change in changes {
        put(&world().authority);
        gate.reload();
        let mut connection = gate.https_as(&world().good);
        connection.send(format!(
            "POST /admin/specification/add HTTP/1.1\r\nHost: {HOST}\r\n\
             Content-Length: 6\r\nExpect: 100-continue\r\n\r\n"
        ));
        // It was let in, and its body is waited for.
        let interim = connection.peek_bytes(12).expect("an interim answer").to_vec();
        assert!(interim.starts_with(b"HTTP/1.1 100"), "{}", interim.escape_ascii());
        change();
        gate.reload();
        connection.send("spec=1");
        assert_eq!(connection.response().status, 403);
        assert_eq!(recorder.connections(), 0, "{:?}", recorder.requests());
    }
    // With the authority in its place, the very same is passed on.
    put(&world().authority);
    gate.reload();
    let posted = gate.https_as(&world().good).request("POST", "/admin/specification/add", &[], b"spec=1");
    assert_eq!((posted.status, recorder.requests().len()), (200, 1));
}

#[test]
fn another_state_folder_in_the_file_lets_nobody_else_in_before_a_restart() {
    let recorder = Recorder::ok();
    let folder = scratch("states");
    let other = Authority::new(&folder.join("other"), "/CN=Other CA");
    let stranger = other.issue("stranger", Kind::Client);
    for (state, ca) in [("old", &world().authority.cert), ("new", &other.cert)] {
        fs::create_dir_all(folder.join(state).join("admin")).expect("a folder");
        fs::copy(ca, folder.join(state).join("admin/ca.crt")).expect("a CA");
    }
    let config = |state: &str| {
        Config::new(Site::new(HOST).ci(&recorder.url()))
            .set("paths.state", &format!("{:?}", folder.join(state).display().to_string()))
    };
    let gate = config("old").start();
    let admits = |identity| gate.https_as(identity).get("/admin").status == 200;
    assert!(admits(&world().good) && !admits(&stranger));
    for state in ["new", "none"] {
        gate.rewrite(&config(state));
        let said = gate.command(&["reload"]);
        assert!(String::from_utf8_lossy(&said.stdout).contains("[paths]"), "{said:?}");
        assert!(admits(&world().good), "{state}");
        assert!(!admits(&stranger), "{state}");
    }
}

#[test]
fn a_name_that_no_site_has_is_no_way_to_the_admin_pages() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config);
    let good = &world().good;
    let client = TlsClient::default().identity(good);
    for sni in [HOST, "evil.example"] {
        let mut connection = client.connect(gate.https_addr(), sni);
        connection.host = "evil.example".into();
        let refused = connection.get("/admin/build/9/restart");
        assert_eq!(refused.status, 421, "{sni}");
        assert_not_cacheable(&refused);
        let mut h2 = H2::connect(&client, gate.https_addr(), sni);
        assert_eq!(h2.request("GET", "evil.example", b"/%61dmin", &[], b"").status(), Some(421), "{sni}");
    }
    assert_eq!(recorder.connections(), 0, "{:?}", recorder.requests());
    assert_eq!(gate.https_as(good).get("/admin").status, 200);
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// Paths that Guile's splitting calls `/admin`: empty segments anywhere, any letter encoded.
    fn admin_paths() -> impl Strategy<Value = String> {
        let encoded = proptest::collection::vec(any::<(bool, bool)>(), 5);
        let segments = proptest::collection::vec("[a-z0-9%/.]{0,6}", 0..4);
        ("/{1,4}", encoded, "/{1,3}", segments).prop_map(|(lead, encoded, between, segments)| {
            let word: String = "admin"
                .bytes()
                .zip(encoded)
                .map(|(byte, choice)| match choice {
                    (true, true) => format!("%{byte:02X}"),
                    (true, false) => format!("%{byte:02x}"),
                    _ => char::from(byte).to_string(),
                })
                .collect();
            format!("{lead}{word}{between}{}", segments.join("/"))
        })
    }

    #[test]
    fn whatever_guile_splits_into_admin_is_refused_without_a_certificate() {
        let recorder = Recorder::ok();
        let gate = recorded(&recorder, |config| config);
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
            cases: 500,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let visitor = std::cell::RefCell::new(Visitor::new(|| gate.https()));
        runner
            .run(&admin_paths(), |path| {
                let status =
                    visitor.borrow_mut().ask("GET", path.as_bytes(), &[], b"").map(|answer| answer.status);
                prop_assert!(matches!(status, Some(403 | 400)), "{path}: {status:?}");
                prop_assert_eq!(recorder.connections(), 0);
                Ok(())
            })
            .unwrap_or_else(|error| panic!("{error}"));
    }
}
