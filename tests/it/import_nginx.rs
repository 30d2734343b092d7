//! `farmgate import-nginx`: what a farm's nginx.conf says, said to the gate. The same requests go to real nginx and to the gate
//! that takes its place, on the same ports.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use super::support::gate::BINARY;
use super::support::http1::{Connection, Response};
use super::support::pki::{Authority, Identity, Kind, scratch};
use super::support::recorder::{Recorder, Then};
use super::support::tls::TlsClient;
use super::support::{eventually_true, free_port, need, output, tests_folder};

/// The configurations in `tests/nginx`, as they are.
fn sample(name: &str) -> PathBuf {
    tests_folder().join("nginx").join(name)
}

fn import(path: &Path, arguments: &[&str]) -> Output {
    output(Command::new(BINARY).arg("import-nginx").arg(path).args(arguments))
}

fn stdout(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Two backends, nginx or the gate in front of them, and who asks.
struct Scene {
    folder: PathBuf,
    name: &'static str,
    http: SocketAddr,
    https: SocketAddr,
    /// Of the sample, with the addresses and files of this machine.
    nginx: PathBuf,
    admin: Identity,
    stranger: Identity,
    _publish: Recorder,
    _cuirass: Recorder,
}

impl Scene {
    /// `name` is the site's, `file` the sample's main file below `tests/nginx`.
    fn new(name: &'static str, file: &str) -> Scene {
        let folder = scratch("import");
        let (publish, cuirass) = (backend("publish"), backend("cuirass"));
        let loopback = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let (http, https) = (loopback(free_port()), loopback(free_port()));
        let authority = Authority::new(&folder.join("ca"), "/CN=admins");
        let other = Authority::new(&folder.join("other"), "/CN=others");
        let server = Authority::new(&folder.join("tls"), "/CN=tls").server(name);
        let well_known = folder.join("www/.well-known/acme-challenge");
        fs::create_dir_all(&well_known).expect("a folder");
        fs::write(well_known.join("token"), "key authorization").expect("a file");
        let change = |text: String| {
            let live = format!("/etc/letsencrypt/live/{name}");
            let www = folder.join("www").display().to_string();
            text.replace("listen 80;", &format!("listen {http};"))
                .replace("listen 443 ssl", &format!("listen {https} ssl"))
                // The machine may have no IPv6; port 80 belongs to nobody here.
                .replace("listen [::]:80", "# listen")
                .replace("listen [::]:443", "# listen")
                .replace("listen 80 default_server", &format!("listen {http} default_server"))
                .replace("localhost:3000", &publish.addr.to_string())
                .replace("127.0.0.1:3000", &publish.addr.to_string())
                .replace("localhost:8081", &cuirass.addr.to_string())
                .replace(&format!("{live}/fullchain.pem"), &server.chain.display().to_string())
                .replace(&format!("{live}/privkey.pem"), &server.key.display().to_string())
                .replace("/etc/ssl-ca/certs/ca.crt", &authority.cert.display().to_string())
                .replace("/var/www/letsencrypt", &www)
                .replace("/var/www;", &format!("{www};"))
                .replace(
                    "/gnu/store/0sh9x0j0q5v0hqr0w0q2zkq3vdqphk0n-nginx-1.23.4/share/nginx/conf/mime.types",
                    "mime.types",
                )
                .replace("include modules-enabled/*.conf;", "")
                // Users, files and folders of the machine that the sample is from.
                .replace("user nginx nginx;", "")
                .replace("user www-data;", "")
                .replace("ssl_dhparam /etc/dhparams.pem;", "")
                .replace("/var/", &format!("{}/var/", folder.display()))
                .replace("/run/nginx.pid", &folder.join("nginx.pid").display().to_string())
        };
        let from = sample(file);
        let from = from.parent().expect("a folder");
        copy(from, &folder.join("conf"), &change);
        fs::write(folder.join("conf/mime.types"), "types { text/plain txt; }\n").expect("a file");
        for part in ["var/run/nginx", "var/run/anonip", "var/log/nginx", "var/cache/nginx", "logs"] {
            fs::create_dir_all(folder.join(part)).expect("a folder");
        }
        let nginx = folder.join("conf").join(Path::new(file).file_name().expect("a name"));
        let admin = authority.issue("ada", Kind::Client);
        let stranger = other.issue("eve", Kind::Client);
        Scene { folder, name, http, https, nginx, admin, stranger, _publish: publish, _cuirass: cuirass }
    }

    fn nginx(&self) -> Running {
        assert!(need("nginx"), "this needs nginx");
        let mut command = Command::new("nginx");
        command.arg("-c").arg(&self.nginx).arg("-p").arg(&self.folder);
        Running::start(command.args(["-g", "daemon off; master_process off;"]), self, None)
    }

    /// The gate, with the imported configuration and a place of its own to keep things.
    fn gate(&self) -> Running {
        let imported = stdout(&import(&self.nginx, &[]));
        let own = format!(
            "\n[metrics]\nlisten = \"off\"\n\n[paths]\nstate = {:?}\ncache = {:?}\ncontrol = {:?}\npid = {:?}\n\n[access_log]\nhttp = {:?}\nhttps = {:?}\n",
            self.folder.join("gate/state"),
            self.folder.join("gate/cache"),
            self.folder.join("gate/control"),
            self.folder.join("gate/pid"),
            self.folder.join("gate/http.log"),
            self.folder.join("gate/https.log"),
        );
        fs::create_dir_all(self.folder.join("gate")).expect("a folder");
        let path = self.folder.join("farmgate.toml");
        fs::write(&path, imported + &own).expect("a configuration");
        stdout(&output(Command::new(BINARY).args(["check", "--config"]).arg(&path)));
        Running::start(Command::new(BINARY).args(["run", "--config"]).arg(&path), self, Some("ready"))
    }

    /// What `target` is answered with, by each way to ask for it.
    fn ask(&self, method: &str, target: &str, body: &[u8]) -> Vec<String> {
        let tls = |client: TlsClient| client.connect(self.https, self.name);
        let ways: [(&str, &dyn Fn() -> Connection); 4] = [
            ("http", &|| Connection::plain(self.http, self.name)),
            ("https", &|| tls(TlsClient::default())),
            ("admin", &|| tls(TlsClient::default().identity(&self.admin))),
            ("stranger", &|| tls(TlsClient::default().identity(&self.stranger))),
        ];
        // nginx answers a certificate that it does not know with 400, whatever was asked for.
        let is_admin = target.starts_with("/admin");
        let asked = ways.into_iter().filter(|(way, _)| is_admin || *way != "stranger");
        asked
            .map(|(way, connect)| {
                let response = connect().request(method, target, &[], body);
                format!("{way} {}", seen(self, is_admin, &response))
            })
            .collect()
    }
}

/// Of an answer, what a client goes by: who answered and how, where a redirect leads, how long it may be kept.
fn seen(scene: &Scene, is_admin: bool, response: &Response) -> String {
    let status = response.status;
    match status {
        // Without TLS nginx may lead to https, where the gate says no at once.
        300..=499 if is_admin => "refused".to_owned(),
        300..=399 => format!("to {}", response.header("location").unwrap_or_default()),
        200 => {
            let age =
                response.header("cache-control").filter(|value| value.contains("max-age")).unwrap_or("-");
            format!("200 {} ({age})", response.text().trim().replace(scene.name, "NAME"))
        }
        other => other.to_string(),
    }
}

/// Says who it is and what it was asked for.
fn backend(name: &'static str) -> Recorder {
    Recorder::start(move |request, tcp| {
        let body = format!("{name} {}", request.target());
        let _ = tcp.write_all(
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
                .as_bytes(),
        );
        Then::Close
    })
}

/// The files of a folder and those below, with another text.
fn copy(from: &Path, to: &Path, change: &dyn Fn(String) -> String) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target, change);
        } else {
            fs::write(target, change(fs::read_to_string(entry.path()).expect("a text"))).expect("a file");
        }
    }
}

/// A server that ends with the test, or before.
struct Running(Child);

impl Running {
    /// Returns when it has said `ready`, and takes connections on both ports.
    fn start(command: &mut Command, scene: &Scene, ready: Option<&str>) -> Running {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut running = Running(child.unwrap_or_else(|error| panic!("{command:?}: {error}")));
        let mut lines =
            BufReader::new(running.0.stderr.take().expect("it is piped")).lines().map_while(Result::ok);
        if let Some(ready) = ready {
            assert!(lines.any(|line| line.contains(ready)), "{command:?} ended early");
        }
        for address in [scene.http, scene.https] {
            eventually_true("a server that listens", || {
                if let Some(status) = running.0.try_wait().expect("a child") {
                    panic!("{command:?}: {status}: {:?}", lines.by_ref().collect::<Vec<_>>());
                }
                TcpStream::connect(address).is_ok()
            });
        }
        // Whoever writes more must not have to wait for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const CHALLENGES: [&str; 2] = ["/.well-known/acme-challenge/token", "/.well-known/acme-challenge/other"];

const HASH: &str = "0mdqa9w1p6cmli6976v4wi0sw9r4p5pr";

fn targets() -> Vec<String> {
    let fixed = [
        "/nix-cache-info",
        "/log/x-hello",
        "/static/css/a.css",
        "/download/1",
        "/",
        "/jobset/guix?x=%2F",
        "/build/7/details",
        "/api/latestbuilds?nr=1",
        "/admin",
        "/admin/",
        "/admin/build/1/restart",
        "/admin?x",
        "/.well-known/acme-challenge/token",
        "/.well-known/acme-challenge/other",
    ];
    let made = [format!("/{HASH}.narinfo"), format!("/nar/gzip/{HASH}-hello"), format!("/nar/{HASH}-hello")];
    fixed.into_iter().map(str::to_owned).chain(made).collect()
}

/// Asks both for everything; they must agree but for `different`, of which each must differ.
fn agrees(scene: &Scene, different: &[&str]) {
    let ask = |running: Running| -> Vec<(String, Vec<String>)> {
        let mut all: Vec<_> =
            targets().into_iter().map(|target| (target.clone(), scene.ask("GET", &target, b""))).collect();
        for target in different {
            all.push(((*target).to_owned(), scene.ask("GET", target, b"")));
        }
        // Whether a body of that size is taken where pages are.
        let upload = scene.ask("POST", "/jobset/x/hook/evaluate", &vec![b'x'; 2 << 20]);
        let is_taken = upload.iter().any(|seen| seen.starts_with("https 200"));
        all.push(("POST".into(), vec![format!("taken: {is_taken}")]));
        drop(running);
        all
    };
    let (nginx, gate) = (ask(scene.nginx()), ask(scene.gate()));
    for ((target, nginx), (_, gate)) in nginx.iter().zip(&gate) {
        if different.contains(&target.as_str()) {
            assert_ne!(nginx, gate, "{target} is the same, after all");
        } else {
            assert_eq!(nginx, gate, "{target}: nginx, and the gate");
        }
    }
}

#[test]
fn the_gate_answers_as_nginx_did_with_the_configuration_of_the_article() {
    agrees(&Scene::new("cuirass.example.org", "article.conf"), &["/signing-key.pub", "/file/x/sha256/y"]);
}

#[test]
fn the_gate_answers_as_nginx_did_with_what_guix_writes() {
    // nginx says nothing of how long a download may be kept, and has a webroot on one port only. The import says so.
    agrees(&Scene::new("ci.example.org", "guix.conf"), &[&["/download/1"][..], &CHALLENGES].concat());
}

#[test]
fn the_gate_answers_as_nginx_did_with_what_debian_and_certbot_leave() {
    // publish has no admin pages, and would say so: the gate guards the path all the same.
    let admin = ["/admin", "/admin/", "/admin/build/1/restart", "/admin?x"];
    agrees(
        &Scene::new("guix.example.org", "debian/nginx.conf"),
        &[&["/download/1"][..], &CHALLENGES, &admin].concat(),
    );
}

#[test]
fn every_directive_is_carried_over_or_named_with_its_line_and_a_reason() {
    for (file, count) in [("article.conf", 22), ("guix.conf", 24), ("debian/nginx.conf", 27)] {
        let output = import(&sample(file), &[]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let toml = stdout(&output);
        let left: Vec<&str> = told.lines().filter(|line| line.contains(" -- ")).collect();
        assert!(left.len() >= count - 4, "{file}: {told}");
        for line in told.lines() {
            assert!(toml.contains(&format!("# {line}\n")), "{line} is told and not written, in\n{toml}");
        }
        for line in left {
            let (place, rest) = line.split_once(": ").expect("a place");
            let (path, number) = place.rsplit_once(':').expect("a line");
            let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
            let word = rest.split([' ', ';']).next().expect("a directive");
            let number: usize = number.parse().expect("a number");
            assert!(text.lines().nth(number - 1).is_some_and(|text| text.contains(word)), "{line}");
        }
    }
}

#[test]
fn a_file_that_is_there_is_never_written_over() {
    let folder = scratch("import-output");
    let path = folder.join("farmgate.toml");
    let name = path.display().to_string();
    let written = import(&sample("article.conf"), &["--output", &name]);
    assert_eq!(stdout(&written), "");
    let first = fs::read_to_string(&path).expect("it is written");
    assert_eq!(first, stdout(&import(&sample("article.conf"), &[])));
    let again = import(&sample("guix.conf"), &["--output", &name]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("there already"));
    assert_eq!(fs::read_to_string(&path).expect("still there"), first);
}

#[test]
fn what_would_be_a_guess_ends_with_a_2_and_writes_nothing() {
    let folder = scratch("import-refused");
    let (nginx, toml) = (folder.join("nginx.conf"), folder.join("farmgate.toml"));
    let text = fs::read_to_string(sample("article.conf")).expect("a text");
    fs::write(&nginx, text.replace("ssl_verify_client optional", "ssl_verify_client optional_no_ca"))
        .expect("a file");
    let refused = import(&nginx, &["--output", &toml.display().to_string()]);
    assert_eq!(refused.status.code(), Some(2));
    let told = String::from_utf8_lossy(&refused.stderr);
    let line = text.lines().position(|line| line.contains("ssl_verify_client")).expect("it is there") + 1;
    assert!(told.contains(&format!("nginx.conf:{line}: who may see /admin")), "{told}");
    assert!(!toml.exists());
    assert!(stdout(&import(&nginx, &["--admin-closed"])).contains("[[site]]"));
}

#[test]
fn a_hostile_file_is_refused_in_words_and_never_ends_the_program() {
    let folder = scratch("import-hostile");
    let path = folder.join("nginx.conf");
    let endless =
        "http { server { server_name a.example; location ~ (a*)*(b*)*{9} { proxy_pass http://b; } } }";
    let wide = format!(
        "http {{ {} }}",
        "server { server_name a.example; location / { proxy_pass http://b; } }".repeat(2000)
    );
    let control = "http { server { server_name a.example; # \u{1b}[31m\n proxy_bind \"\u{1b}]0;x\u{7}\n\n[admin]\nprefix = 1\"; \
                   location / { proxy_pass http://b; } } }";
    for (text, code) in [
        ("http {".repeat(200_000).into_bytes(), 2),
        ("a ".repeat(1 << 20).into_bytes(), 2),
        (vec![b'{'; 1 << 20], 2),
        (vec![0xff; 100], 2),
        (vec![0; 100], 2),
        (b"include *;".to_vec(), 2),
        (endless.as_bytes().to_vec(), 2),
        (wide.into_bytes(), 0),
        (control.as_bytes().to_vec(), 0),
    ] {
        let begin = String::from_utf8_lossy(&text[..text.len().min(60)]).into_owned();
        fs::write(&path, text).expect("a file");
        let output = import(&path, &[]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{begin}: {told}");
        assert!(!told.contains("PANIC") && !told.contains("panicked"), "{begin}: {told}");
        let all = [&output.stdout[..], &output.stderr].concat();
        assert!(all.iter().all(|byte| *byte >= b' ' || *byte == b'\n'), "{begin}: control characters");
    }
}
