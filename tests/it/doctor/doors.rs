//! TLS, the admin pages, and what CAs and crawlers see: of this gate, of nginx, and of servers that let people in.

use std::fs;
use std::process::{Child, Command, Stdio};

use super::substitutes::{Answer, HASH, is_admin, ok, serve, status};
use super::{Said, doctor, doctor_through, examined};
use crate::support::config::{Config, HOST, Site};
use crate::support::gate::{BINARY, Gate};
use crate::support::pki::{Authority, Identity, scratch};
use crate::support::recorder::Recorder;
use crate::support::{eventually_true, free_port, need};

/// A gate in front of the item, and whom to trust about it.
struct Scene {
    gate: Gate,
    authority: Authority,
    _publish: Recorder,
}

impl Scene {
    fn start(name: &str) -> Scene {
        let authority = Authority::new(&scratch("doctor"), "/CN=Doctor CA");
        let identity = authority.server(name);
        Scene::with(authority, |site| site.certificate(&identity))
    }

    fn with(authority: Authority, change: impl FnOnce(Site) -> Site) -> Scene {
        let publish = serve(|_| None);
        let gate = Config::new(change(Site::new(HOST).publish(&publish.url()))).start();
        Scene { gate, authority, _publish: publish }
    }

    fn examined_as(&self, host: &str, through: &mut Command) -> Said {
        let url = format!("https://{host}:{}", self.gate.https_addr().port());
        let (http, ca) =
            (self.gate.http_addr().port().to_string(), self.authority.cert.display().to_string());
        let arguments = [
            &url,
            "--http",
            &http,
            "--address",
            "127.0.0.1",
            "--ca-file",
            &ca,
            "--item",
            HASH,
            "--no-download",
        ];
        doctor_through(through, &arguments)
    }

    fn examined(&self) -> Said {
        self.examined_as(HOST, &mut Command::new(BINARY))
    }
}

#[test]
fn our_own_gate_is_well() {
    Scene::start(HOST).examined().assert_well();
}

#[test]
fn a_gate_that_redirects_plain_http_is_reminded_of_what_that_costs() {
    let authority = Authority::new(&scratch("doctor"), "/CN=Doctor CA");
    let identity = authority.server(HOST);
    let scene = Scene::with(authority, |site| site.certificate(&identity).plain_http("redirect"));
    let told = scene.examined().only_warning("pipelining-http");
    assert!(told.contains("1000 of 1000") && told.contains("a redirect"), "{told}");
}

#[test]
fn a_certificate_for_another_name_is_told_so() {
    let told = Scene::start("other.example").examined().only_failure("names");
    assert!(told.contains("for other.example, not for farm.example"), "{told}");
}

#[test]
fn a_certificate_of_an_unknown_issuer_and_a_self_signed_one_are_told_apart() {
    let folder = scratch("doctor");
    let (known, unknown) = (
        Authority::new(&folder.join("known"), "/CN=Known"),
        Authority::new(&folder.join("unknown"), "/CN=Unknown"),
    );
    let identity = unknown.server(HOST);
    let told =
        Scene::with(known.clone(), |site| site.certificate(&identity)).examined().only_failure("certificate");
    assert!(told.contains("issuer is not known here: CN=Unknown"), "{told}");
    let told = Scene::with(known, |site| site).examined().only_failure("certificate");
    assert!(told.contains("signed by itself") && told.contains("farmgate cert list"), "{told}");
}

#[test]
fn a_certificate_that_has_expired_or_soon_will_is_told_by_when() {
    if !need("faketime") {
        return;
    }
    let scene = Scene::start(HOST);
    // The certificate is good for a year.
    for (days, verdict, says) in [(400, "failure", "it has expired"), (355, "warning", "renewed by now")] {
        let mut faketime = Command::new("faketime");
        faketime.args(["-f", &format!("+{days}d"), BINARY]).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        let said = scene.examined_as(HOST, &mut faketime);
        let told = said.of(verdict, "certificate");
        assert!(told.contains(says), "{told}");
        // It is our clock that is wrong; whoever reads this cannot know.
        assert!(said.of("failure", "clock").contains("behind"), "{said:#?}");
    }
}

/// nginx with this configuration. Ends when dropped.
struct Nginx(Child);

impl Nginx {
    fn start(servers: &str, port: u16) -> Nginx {
        let folder = scratch("nginx");
        let config = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr;\nevents {{ }}\n\
             http {{\naccess_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; \
             uwsgi_temp_path u; scgi_temp_path s;\n{servers}\n}}\n"
        );
        fs::write(folder.join("nginx.conf"), config).expect("write a configuration");
        let child = Command::new("nginx")
            .arg("-p")
            .arg(&folder)
            .args(["-c", "nginx.conf", "-e", "stderr"])
            .stdin(Stdio::null())
            .stderr(fs::File::create(folder.join("stderr")).expect("a file"))
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .spawn()
            .expect("start nginx");
        eventually_true("nginx listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Nginx(child)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// nginx as farms have it, in front of the item.
fn nginx(identity: &Identity, publish: &Recorder, http: u16, https: u16, more: &str) -> Nginx {
    let servers = format!(
        "server {{ listen 127.0.0.1:{http}; listen 127.0.0.1:{https} ssl http2; server_name {HOST};\n\
         ssl_certificate {}; ssl_certificate_key {};\n{more}\nlocation / {{ proxy_pass {}; }}\n}}",
        identity.chain.display(),
        identity.key.display(),
        publish.url()
    );
    Nginx::start(&servers, https)
}

#[test]
fn nginx_in_front_of_a_farm_is_judged_by_what_it_does() {
    let authority = Authority::new(&scratch("doctor"), "/CN=Doctor CA");
    let (identity, publish) = (authority.server(HOST), serve(|_| None));
    let ca = authority.cert.display().to_string();
    let examine = |more: &str| {
        let (http, https) = (free_port(), free_port());
        let _nginx = nginx(&identity, &publish, http, https, more);
        let (url, http) = (format!("https://{HOST}:{https}"), http.to_string());
        doctor(&[&url, "--http", &http, "--address", "127.0.0.1", "--ca-file", &ca, "--item", HASH])
    };
    examine("ssl_protocols TLSv1.2 TLSv1.3;").assert_well();
    let told = examine("ssl_protocols TLSv1 TLSv1.1 TLSv1.2; ssl_ciphers ALL:@SECLEVEL=0;")
        .only_warning("tls-versions");
    assert!(told.contains("1.3 is not; still accepted: TLS 1.0 and TLS 1.1"), "{told}");
    let said = examine("ssl_protocols TLSv1.2 TLSv1.3; keepalive_requests 100;");
    for check in ["pipelining-http", "pipelining-https"] {
        let told = said.checks.iter().find(|finding| finding["check"] == check).expect(check);
        assert!(told["verdict"] != "ok" && told.to_string().contains("keepalive_requests"), "{told}");
    }
}

/// A server whose Cuirass answers, with this for all that speaks of admin.
fn with_admin(admin: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Recorder {
    serve(move |target| match target {
        "/api/latestbuilds?nr=20" => Some(ok("[]")),
        "/robots.txt" => Some(ok("User-agent: *\nDisallow: /\n")),
        target if is_admin(target) => Some(admin(target)),
        _ => None,
    })
}

#[test]
fn an_admin_door_that_one_spelling_opens_is_told_which() {
    let quick = ["--no-download"];
    examined(&with_admin(|_| status(403)), &quick).assert_well();
    for (spelling, answer) in [
        ("/%61dmin/farmgate-doctor", status(200)),
        ("//admin/farmgate-doctor", status(200)),
        ("/static/../admin/farmgate-doctor", status(500)),
        // That is Cuirass's answer to what it does not have: the request came through.
        ("/admin//farmgate-doctor/", status(404)),
    ] {
        let server = with_admin(move |target| if target == spelling { answer.clone() } else { status(403) });
        let told = examined(&server, &quick).only_failure("admin-http");
        assert!(
            told.contains(&format!("GET {spelling} is answered")) && told.contains("close it now"),
            "{told}"
        );
    }
    let told = examined(&with_admin(|_| ok("welcome")), &quick).only_failure("admin-http");
    assert!(told.contains("GET /admin is answered 200 OK, and 17 more ways to ask"), "{told}");
}

#[test]
fn a_server_that_answers_everything_alike_is_not_accused() {
    let server = serve(|target| match target {
        "/nix-cache-info" | "/signing-key.pub" => None,
        target if target.ends_with(".narinfo") => None,
        _ => Some(ok("welcome")),
    });
    let said = examined(&server, &["--no-download"]);
    assert!(said.of("warning", "admin-http").contains("200 to everything"), "{said:#?}");
    assert_eq!(said.exit, Some(0), "{said:#?}");
}

#[test]
fn nothing_that_is_asked_runs_an_admin_action() {
    let farm = crate::support::farm::Farm::start();
    let _ = doctor(&[&farm.cuirass.url()]);
    assert_eq!(farm.cuirass.actions(), Vec::<String>::new());
    assert!(farm.cuirass.admin_requests().len() >= 8);
}

#[test]
fn what_our_own_gate_promises_is_only_held_against_our_own() {
    let server = serve(|target| match target {
        target if target.starts_with("/.well-known/") => {
            Some((301, "Location: https://elsewhere.example/\r\n".into(), vec![]))
        }
        "/robots.txt" => Some(ok("User-agent: *\nDisallow:\n")),
        _ => None,
    });
    let said = examined(&server, &["--no-download"]);
    assert!(said.of("warning", "acme").contains("sent to https://elsewhere.example/"), "{said:#?}");
    assert!(said.of("warning", "robots").contains("keeps nobody out"), "{said:#?}");
    assert_eq!(said.exit, Some(0));
    let config = scratch("doctor").join("farmgate.toml");
    let text = format!(
        "[listen]\nhttp = [\"127.0.0.1:{}\"]\nhttps = [\"127.0.0.1:{}\"]\n[[site]]\nnames = [\"{HOST}\"]\n\
         publish = \"http://localhost:3000\"\n",
        server.addr.port(),
        free_port()
    );
    fs::write(&config, text).expect("write a configuration");
    let config = config.display().to_string();
    let said = doctor(&["--config", &config, "--address", "127.0.0.1", "--item", HASH, "--no-download"]);
    for check in ["acme", "robots"] {
        said.of("failure", check);
    }
    assert!(said.checks.iter().any(|finding| finding["found"] == "127.0.0.1: the connection was refused"));
    assert_eq!(said.exit, Some(1));
}

#[test]
fn a_server_that_speaks_no_tls_where_it_should_is_told_so() {
    let server = serve(|_| None);
    let url = format!("https://localhost:{}", server.addr.port());
    let told = doctor(&[&url, "--address", "127.0.0.1", "--timeout", "1s"]).only_failure("handshake");
    assert!(told.contains("no TLS connection to 127.0.0.1"), "{told}");
}
