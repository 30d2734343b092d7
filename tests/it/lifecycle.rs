//! Starting, stopping, and being told what is wrong.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use super::support::config::{Config, HOST, Site};
use super::support::farm::Farm;
use super::support::gate::BINARY;
use super::support::guix_client::hashes;
use super::support::http1::Broken;
use super::support::pki::Identity;
use super::support::recorder::Recorder;
use super::support::tls::TlsClient;
use super::support::{Latch, eventually_true, free_port, tests_folder};

fn simple(recorder: &Recorder) -> Config {
    Config::new(Site::new(HOST).publish(&recorder.url()).ci(&recorder.url()))
}

#[test]
fn sigterm_finishes_what_is_in_flight_and_exits_with_0() {
    for signal in ["TERM", "INT"] {
        let farm = Farm::start();
        let mut download = farm.gate.https();
        download.send(format!("GET /nar/slow/20 HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        farm.publish.wait_for("/nar/slow/20");
        let (http, https) = (farm.gate.http_addr(), farm.gate.https_addr());
        farm.gate.signal(signal);
        eventually_true("no more connections are accepted", || {
            TcpStream::connect(http).is_err() && TcpStream::connect(https).is_err()
        });
        assert!(farm.gate.is_running(), "it waits for the download");
        assert_eq!(download.response().body.len(), 20 * 1024, "{signal}");
        assert_eq!(farm.gate.wait_for_exit().code(), Some(0), "{signal}");
    }
}

#[test]
fn told_twice_it_does_not_wait_for_anybody() {
    let farm = Farm::start();
    let mut download = farm.gate.https();
    download.send(format!("GET /nar/slow/600 HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    farm.publish.wait_for("/nar/slow/600");
    farm.gate.signal("TERM");
    farm.gate.wait_for_stderr("stopping");
    farm.gate.signal("TERM");
    assert_eq!(farm.gate.wait_for_exit().code(), Some(0));
}

#[test]
fn a_gate_whose_file_is_half_edited_can_still_be_asked() {
    let farm = Farm::start();
    let text = fs::read_to_string(farm.gate.config_path()).expect("the configuration");
    farm.gate.rewrite_text(&text.replace("[[site]]", "[[site]]\nnonsense = 1"));
    assert!(farm.gate.command(&["status"]).status.success());
    let reload = farm.gate.command(&["reload"]);
    assert_eq!(reload.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&reload.stderr).contains("nonsense"));
    assert_eq!(farm.gate.https().get("/nix-cache-info").status, 200);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let farm = Farm::start();
    for command in ["status", "check"] {
        let mut child = Command::new(BINARY)
            .args([command, "--config"])
            .arg(farm.gate.config_path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("its end");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && stderr.is_empty(), "{command}: {stderr}");
    }
}

#[test]
fn an_idle_gate_goes_at_once_though_clients_keep_connections_open() {
    let recorder = Recorder::ok();
    let gate = simple(&recorder).start();
    let (mut http, mut https) = (gate.http(), gate.https());
    assert_eq!((http.get("/x").status, https.get("/x").status), (200, 200));
    let started = std::time::Instant::now();
    assert_eq!(gate.sigterm_and_wait().code(), Some(0));
    assert!(started.elapsed() < super::support::SOON, "{:?}", started.elapsed());
    for mut connection in [http, https] {
        let ended = connection.closed();
        assert!(matches!(ended, Ok(()) | Err(Broken::Truncated(_))), "a clean close: {ended:?}");
    }
}

#[test]
fn a_batch_in_flight_when_sigterm_comes_loses_no_answer_it_was_given() {
    let farm = Farm::start();
    let hashes = hashes(1000);
    let mut connection = farm.gate.https();
    let batch: String =
        hashes.iter().map(|hash| format!("GET /{hash}.narinfo HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).collect();
    connection.send(batch);
    assert_eq!(connection.response().status, 200);
    farm.gate.signal("TERM");
    let mut answered = 1;
    let last = loop {
        match connection.try_response(false) {
            Ok(response) => {
                assert!(response.text().contains(&hashes[answered]), "in order");
                answered += 1;
                if response.closes() || answered == hashes.len() {
                    break Ok(());
                }
            }
            Err(broken) => break Err(broken),
        }
    };
    assert!(last.is_ok(), "after {answered} answers: {last:?}");
    assert_eq!(farm.gate.wait_for_exit().code(), Some(0));
}

#[test]
fn a_port_that_is_taken_is_a_clear_error() {
    let recorder = Recorder::ok();
    for key in ["http", "https"] {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("a bound socket").to_string();
        let gate = simple(&recorder).set(&format!("listen.{key}"), &format!("[{address:?}]")).spawn();
        assert_eq!(gate.wait_for_exit().code(), Some(1), "{key}");
        let said = gate.wait_for_stderr(&address).to_lowercase();
        assert!(said.contains("in use") || said.contains("taken"), "{said}");
        assert!(!gate.stderr().join("\n").contains("panicked"), "{:?}", gate.stderr());
    }
}

#[test]
fn a_second_gate_on_the_same_port_does_not_share_it() {
    // With SO_REUSEPORT two could listen on one port, and each would get half the clients.
    let recorder = Recorder::ok();
    let port = free_port();
    let listen = format!("[\"127.0.0.1:{port}\"]");
    let first = simple(&recorder).set("listen.http", &listen).start();
    let second = simple(&recorder).set("listen.http", &listen).spawn();
    assert_eq!(second.wait_for_exit().code(), Some(1), "{:?}", second.stderr());
    assert_eq!(first.http().get("/x").status, 200);
}

#[test]
fn the_pid_file_names_the_process_and_goes_with_it() {
    let recorder = Recorder::ok();
    let gate = simple(&recorder).start();
    let path = gate.folder().join("pid");
    assert_eq!(fs::read_to_string(&path).expect("a pid file").trim(), gate.pid().to_string());
    assert_eq!(gate.sigterm_and_wait().code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn the_control_socket_and_the_state_are_for_nobody_else() {
    let recorder = Recorder::ok();
    let gate = simple(&recorder).start();
    let mode = |name: &str| {
        let meta = fs::metadata(gate.folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        meta.permissions().mode() & 0o777
    };
    assert_eq!(mode("control.sock"), 0o600);
    assert_eq!(mode("state"), 0o700);
}

#[test]
fn status_tells_where_it_listens() {
    let recorder = Recorder::ok();
    let gate = simple(&recorder).start();
    let output = gate.command(&["status", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(status["listen"]["http"][0], gate.http_addr().to_string());
    assert_eq!(status["listen"]["https"][0], gate.https_addr().to_string());
    assert!(gate.command(&["status"]).status.success());
}

#[test]
fn status_and_reload_without_a_running_gate_are_a_clear_error() {
    let recorder = Recorder::ok();
    let gate = simple(&recorder).start();
    assert_eq!(gate.sigterm_and_wait().code(), Some(0));
    for command in [&["status"][..], &["status", "--json"], &["reload"]] {
        let output = gate.command(command);
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("control.sock") && !said.contains("panicked"), "{said}");
    }
}

#[test]
fn a_gate_killed_without_a_word_is_started_again_over_what_it_left() {
    let recorder = Recorder::ok();
    let gate = simple(&recorder).start();
    gate.signal("KILL");
    gate.wait_for_exit();
    // The socket and the pid file of the dead one are in the way.
    let mut child = std::process::Command::new(super::support::gate::BINARY)
        .args(["run", "--config"])
        .arg(gate.config_path())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("start again");
    eventually_true("the new one answers", || gate.command(&["status"]).status.success());
    child.kill().and_then(|()| child.wait()).expect("kill");
}

#[test]
fn help_and_version_are_answered_and_nonsense_is_a_2() {
    let run = |arguments: &[&str]| {
        super::support::output(std::process::Command::new(super::support::gate::BINARY).args(arguments))
    };
    assert_eq!(run(&["--help"]).status.code(), Some(0));
    assert_eq!(run(&["--version"]).status.code(), Some(0));
    for nonsense in [&["nonsense"][..], &["run", "--nonsense"], &["run", "--config"]] {
        let output = run(nonsense);
        assert_eq!(output.status.code(), Some(2), "{nonsense:?}");
        assert!(!output.stderr.is_empty());
    }
    let output = run(&["run", "--config", "/nonexistent/farmgate.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/farmgate.toml"));
}

#[test]
fn a_gate_that_finishes_leaves_the_next_one_its_names() {
    let latch = Latch::default();
    let recorder = Recorder::in_two_halves(&latch);
    // Short: the name of a socket has room for about a hundred bytes.
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let named =
        |key: &str, name: &str| (format!("paths.{key}"), format!("{:?}", path(name).display().to_string()));
    let config =
        [named("state", "state"), named("cache", "cache"), named("control", "sock"), named("pid", "pid")]
            .into_iter()
            .fold(simple(&recorder), |config, (key, value)| config.set(&key, &value));
    let first = config.clone().start();
    assert_eq!(first.status()["pid"], first.pid());
    let mut download = first.https();
    download.send(format!("GET /nar/gzip/abc HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    download.peek_bytes(1).expect("a beginning");
    first.signal("TERM");
    eventually_true("its names are free at once", || !path("pid").exists() && !path("sock").exists());
    assert!(first.is_running(), "it waits for the download");

    let second = config.start();
    let owns_its_names = || {
        assert_eq!(fs::read_to_string(path("pid")).expect("a pid file").trim(), second.pid().to_string());
        assert_eq!(second.status()["pid"], second.pid());
    };
    owns_its_names();
    assert!(first.is_running(), "both were there at a time");
    latch.open();
    assert_eq!(download.response().text(), "abcd");
    assert_eq!(first.wait_for_exit().code(), Some(0));
    owns_its_names();
    assert_eq!(second.sigterm_and_wait().code(), Some(0));
    assert!(!path("pid").exists() && !path("sock").exists());
}

/// What everybody finds in the source.
fn throw_away(name: &str) -> Identity {
    let file = |name: String| tests_folder().with_file_name("certs-dev").join(name);
    Identity { chain: file(format!("{name}.crt")), key: file(format!("{name}.key")) }
}

#[test]
fn the_throw_away_certificates_do_for_a_name_that_stays_at_home() {
    let recorder = Recorder::ok();
    let site = Site::new("localhost").ci(&recorder.url()).certificate(&throw_away("localhost"));
    let gate = Config::new(site).client_ca(&throw_away("ca").chain).start();
    let ask = |client: TlsClient| {
        let mut connection = client.connect(gate.https_addr(), "localhost");
        let shown = connection.tls().peer_certificates().expect("a certificate")[0].clone();
        assert_eq!(shown, throw_away("localhost").chain_der()[0]);
        connection.get("/admin").status
    };
    assert_eq!(ask(TlsClient::default()), 403);
    assert_eq!(ask(TlsClient::default().identity(&throw_away("client"))), 200);
}

#[test]
fn the_throw_away_certificates_are_refused_for_a_name_that_others_can_reach() {
    let recorder = Recorder::ok();
    let site = |name: &str| Site::new(name).ci(&recorder.url());
    let public = "cuirass.example.org";
    let own = Config::new(site("localhost").also(public).certificate(&throw_away("localhost")));
    let ca = Config::new(site("localhost")).site(site(public)).client_ca(&throw_away("ca").chain);
    for (bad, file) in [(own, "certs-dev/localhost.key"), (ca, "certs-dev/ca.crt")] {
        let refused = bad.clone().spawn();
        assert_eq!(refused.wait_for_exit().code(), Some(1), "{file}");
        let said = refused.wait_for_stderr(file);
        assert!(said.contains(public), "{said}");
        assert!(!refused.stderr().join("\n").contains("ready"), "{:?}", refused.stderr());
        let check = refused.command(&["check"]);
        assert!(!check.status.success(), "{file}");
        // Neither by way of a reload.
        let running = simple(&recorder).start();
        running.rewrite(&bad);
        let line = running.sighup();
        assert!(line.contains("reload refused"), "{file}: {line}");
        assert_eq!(running.http().get("/x").status, 200);
    }
}

#[test]
fn who_has_just_connected_when_the_gate_stops_is_answered() {
    let recorder = Recorder::ok();
    let gate = simple(&recorder).start();
    let mut connection = gate.http();
    eventually_true("the connection is taken", || gate.status()["connections"] == 1);
    gate.signal("TERM");
    gate.wait_for_stderr("stopping");
    let answer = connection.get("/nix-cache-info");
    assert!(answer.status == 200 && answer.closes(), "{answer:?}");
    assert_eq!(gate.wait_for_exit().code(), Some(0));
}
