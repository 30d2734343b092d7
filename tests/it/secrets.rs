//! Secrets stand where they were put and nowhere else: marked ones everywhere, and then a look at all that is shown or
//! written.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use super::support::config::{Config, HOST, Site, quoted};
use super::support::gate::{BINARY, Gate};
use super::support::http1::{Connection, find};
use super::support::pki::{Authority, scratch};
use super::support::recorder::Recorder;
use super::support::{free_port, output};

/// Each is a secret of another kind.
const IN_CONFIGURATION: &str = "c2VjcmV0LWlubGluZQ";
const IN_FILE: &str = "c2VjcmV0LWluLWZpbGU";
const IN_URL: &str = "token-4711-in-url";
const PASSWORD: &str = "pass-word-0815-marked";

/// Text, and what it was looked for in.
type Seen = Vec<(String, Vec<u8>)>;

fn note(seen: &mut Seen, name: &str, output: Output) {
    seen.push((format!("{name}, stdout"), output.stdout));
    seen.push((format!("{name}, stderr"), output.stderr));
}

/// All files below `folder` but those that are made to hold secrets.
fn files(folder: &Path, holders: &[&Path], seen: &mut Seen) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if holders.contains(&path.as_path()) {
            continue;
        }
        if path.is_dir() {
            files(&path, holders, seen);
        } else if path.is_file() {
            seen.push((path.display().to_string(), fs::read(&path).unwrap_or_default()));
        }
    }
}

/// A line from the middle of a key in PEM.
fn middle_of(key: &Path) -> String {
    let text = fs::read_to_string(key).unwrap_or_else(|error| panic!("{}: {error}", key.display()));
    text.lines().nth(1).expect("a second line").to_owned()
}

fn every_command(gate: &Gate, seen: &mut Seen, when: &str) {
    for arguments in [
        &["check"][..],
        &["check", "--json"],
        &["reload"],
        &["status"],
        &["status", "--json"],
        &["cert", "list"],
        &["cert", "list", "--json"],
        &["cert", "renew", "--force"],
        &["cache", "stats"],
        &["admin", "list"],
        &["admin", "list", "--json"],
    ] {
        note(seen, &format!("{} {when}", arguments.join(" ")), gate.command(arguments));
    }
}

#[test]
fn no_secret_is_shown_or_logged_whatever_is_asked_and_whatever_is_wrong() {
    let recorder = Recorder::ok();
    let folder = scratch("secrets");
    let (hmac, password) = (folder.join("hmac"), folder.join("password"));
    fs::write(&hmac, IN_FILE).and_then(|()| fs::write(&password, PASSWORD)).expect("files");
    let served = Authority::new(&folder.join("ca"), "/CN=CA").server(HOST);
    // Nobody is there, so that every try fails and says why.
    let directory = quoted(&format!("https://127.0.0.1:{}/dir?key={IN_URL}", free_port()));
    let path = |path: &Path| quoted(&path.display().to_string());
    let config =
        Config::new(Site::new(HOST).publish(&recorder.url()).ci(&recorder.url()).certificate(&served))
            .site(Site::new("acme.example").publish(&recorder.url()).set("certificate", "\"acme\""))
            .set("acme.directory", &directory)
            .set("acme.eab", &format!("{{ kid = \"kid\", hmac_key = \"{IN_CONFIGURATION}\" }}"))
            .set(
                "acme.fallback",
                &format!(
                    "{{ directory = {directory}, eab = {{ kid = \"kid\", hmac_key_file = {} }} }}",
                    path(&hmac)
                ),
            )
            .set("metrics.listen", "\"127.0.0.1:0\"")
            .environment("FARMGATE_LOG", "debug");
    let gate = config.clone().start();
    let mut seen = Seen::new();
    let admin = |arguments: &[&str]| {
        let mut command = Command::new(BINARY);
        command.arg("admin").args(arguments).arg("--config").arg(gate.config_path()).current_dir(&folder);
        let done = output(&mut command);
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        done
    };
    note(&mut seen, "admin init", admin(&["init"]));
    note(
        &mut seen,
        "admin issue",
        admin(&["issue", "ada", "--password-file", &password.display().to_string()]),
    );
    gate.wait_for_stderr("next try");
    every_command(&gate, &mut seen, "as it should be");
    for target in ["/", "/admin", "/static/a", "/nothing"] {
        let page = gate.https().get(target);
        seen.push((target.into(), page.body));
    }
    seen.push(("metrics".into(), Connection::plain(gate.metrics_addr(), "metrics").get("/metrics").body));
    // Every way to get a line with a secret shown: a slip in it, in the key, and beside it; and what is no TOML.
    let text = fs::read_to_string(gate.config_path()).expect("the configuration");
    for (from, to) in [
        (IN_CONFIGURATION.to_owned(), format!("{IN_CONFIGURATION} !")),
        ("hmac_key =".to_owned(), "hmac_kee =".to_owned()),
        ("kid = \"kid\"".to_owned(), "kid = 7".to_owned()),
        (format!("\"{IN_CONFIGURATION}\""), IN_CONFIGURATION.to_owned()),
        (format!("{IN_CONFIGURATION}\""), IN_CONFIGURATION.to_owned()),
        ("https://127".to_owned(), "http://127".to_owned()),
        ("https://127".to_owned(), format!("https://me:{IN_URL}@127")),
        (recorder.url(), format!("http://me:{IN_URL}@localhost:1/x?{IN_URL}")),
    ] {
        assert!(text.contains(&from), "{from}");
        gate.rewrite_text(&text.replacen(&from, &to, 1));
        let wrong = gate.command(&["check"]);
        assert_eq!(wrong.status.code(), Some(2), "{to}: {}", String::from_utf8_lossy(&wrong.stdout));
        note(&mut seen, &format!("check with {to}"), wrong);
        note(&mut seen, &format!("check --json with {to}"), gate.command(&["check", "--json"]));
        note(&mut seen, &format!("reload with {to}"), gate.command(&["reload"]));
        note(&mut seen, &format!("run with {to}"), gate.command(&["run"]));
        seen.push((format!("status with {to}"), gate.command(&["status", "--json"]).stdout));
    }
    gate.rewrite_text(&text);
    assert!(gate.sigterm_and_wait().success());
    seen.push(("the gate's own log".into(), gate.stderr().join("\n").into_bytes()));
    let ca_key = gate.folder().join("state/admin/ca.key");
    files(gate.folder(), &[gate.config_path(), &ca_key], &mut seen);

    // It was looked at where it would be found.
    let all = |name: &str| seen.iter().any(|(found, bytes)| found.contains(name) && !bytes.is_empty());
    for name in ["own log", "check", "reload with", "status --json", "cert list", "/state/", "https.log"] {
        assert!(all(name), "{name}");
    }
    let (ca_key, served_key) = (middle_of(&ca_key), middle_of(&served.key));
    for secret in [IN_CONFIGURATION, IN_FILE, IN_URL, PASSWORD, &ca_key, &served_key] {
        for (name, bytes) in &seen {
            let place = find(bytes, secret.as_bytes());
            assert!(place.is_none(), "{secret} in {name}: {}", String::from_utf8_lossy(bytes));
        }
    }
}
