//! `deploy/guix` on Debian's Guile: the modules load, and what they make is what farmgate takes. `tests/guix/stand-ins`
//! has what Guix itself would bring.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use farmgate::config;

use super::support::config::{Config, HOST, Site};
use super::support::gate::BINARY;
use super::support::pki::{scratch, world};
use super::support::{need, output, run, tests_folder};

/// `tests/guix/inspect.scm`, which says what it sees in the modules.
fn inspect(what: &[&str]) -> Command {
    let tests = tests_folder().join("guix");
    let mut command = Command::new("guile");
    command
        .args(["--no-auto-compile", "-L"])
        .arg(tests.join("stand-ins"))
        .arg("-L")
        .arg(deployed("modules"))
        .arg(tests.join("inspect.scm"))
        .args(what);
    // Names with other letters in them are UTF-8, whatever the locale of who runs this.
    command.env("LC_ALL", "C.UTF-8").env("GUILE_INSTALL_LOCALE", "1");
    // What somebody has compiled with the real Guix is not what is meant here.
    command.env("XDG_CACHE_HOME", "/nonexistent");
    command
}

fn deployed(name: &str) -> PathBuf {
    tests_folder().with_file_name("deploy").join("guix").join(name)
}

/// The configuration that sets every field, with its files in `folder`.
fn everything(what: &str, folder: &Path) -> Command {
    let file = tests_folder().join("guix/everything.scm");
    let mut command = inspect(&[what, &file.display().to_string()]);
    command.env("FOLDER", folder);
    command
}

fn example(what: &str) -> Command {
    inspect(&[what, &deployed("system.scm").display().to_string()])
}

fn lines(text: &str) -> BTreeSet<String> {
    text.lines().map(str::to_owned).collect()
}

fn check(text: &str, folder: &Path) -> Output {
    let path = folder.join("farmgate.toml");
    fs::write(&path, text).expect("write the configuration");
    output(Command::new(BINARY).args(["check", "--config"]).arg(path))
}

/// The keys that the records have a field for: all but those of an account to become. The Shepherd starts the gate as
/// the user of the service, so that it never has another to become.
fn keys() -> BTreeSet<String> {
    let mut keys = config::keys();
    assert!(keys.remove("process.user") && keys.remove("process.group"));
    keys
}

#[test]
fn the_records_have_a_field_for_each_key_of_the_configuration_and_no_other() {
    if !need("guile") {
        return;
    }
    assert_eq!(lines(&run(&mut inspect(&["keys"]))), keys());
}

#[test]
fn a_field_is_written_under_its_key_and_means_what_it_says() {
    if !need("guile") {
        return;
    }
    let folder = scratch("guix");
    let identity = &world().good;
    fs::copy(&identity.chain, folder.join("chain.pem")).expect("copy the chain");
    fs::copy(&identity.key, folder.join("key.pem")).expect("copy the key");
    fs::write(folder.join("hmac"), "c2VjcmV0").expect("write a key");
    let text = run(&mut everything("toml", &folder));

    let loaded = config::parse(&text, Path::new("/etc/farmgate/farmgate.toml"))
        .unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    let mut expected = keys();
    // Of these there is one of two in each table.
    assert!(expected.remove("acme.eab.hmac_key") && expected.remove("acme.fallback.eab.hmac_key_file"));
    assert_eq!(loaded.given, expected, "{text}");
    let webroot = loaded.config.sites[0].webroot.clone().expect("a webroot");
    assert_eq!(webroot, folder.join("with \"quotes\" and \\ and \t and ü"));
    assert_eq!(loaded.config.admin.client_ca, Path::new("/gnu/store/ca.crt"));
    assert_eq!(loaded.config.sites[1].names, ["three.example.org"]);
    let limits = &loaded.config.limits;
    assert_eq!(limits.connections_per_client, 10);
    let bursts: Vec<_> =
        limits.requests.iter().map(|limit| (limit.paths[0].to_string(), limit.burst)).collect();
    assert_eq!(bursts, [("/search".into(), 5), ("/build/*/log".into(), 10)]);
    assert_eq!(limits.refused_agents, ["gptbot", "a \"bot\""]);
    let reads: Vec<_> = loaded.config.timeouts.routes.iter().map(|route| route.read.as_secs()).collect();
    assert_eq!(reads, [6 * 60, 7 * 60]);
    let process = &loaded.config.process;
    assert!(!process.landlock && process.seccomp && !process.core_dumps);

    let output = check(&text, &folder);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_example_is_a_good_configuration() {
    if !need("guile") {
        return;
    }
    let text = run(&mut example("toml"));
    let output = check(&text, &scratch("guix"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for part in ["cuirass.example.org", "localhost:3000", "localhost:8081", "/admin"] {
        assert!(said.contains(part), "{part} in\n{said}");
    }
}

#[test]
fn what_the_example_only_proposes_is_good_as_well() {
    if !need("guile") {
        return;
    }
    let folder = scratch("guix");
    let source = fs::read_to_string(deployed("system.scm")).expect("the example");
    assert!(source.contains("#;("), "{source}");
    let file = folder.join("system.scm");
    fs::write(&file, source.replace("#;(", "(")).expect("write");
    let text = run(&mut inspect(&["toml", &file.display().to_string()]));
    assert!(text.contains("[[limits.requests]]\npaths = [\"/search\""), "{text}");
    let output = check(&text, &folder);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_value_that_farmgate_would_refuse_is_refused_with_the_name_of_its_field() {
    if !need("guile") {
        return;
    }
    let folder = scratch("guix");
    let source = fs::read_to_string(tests_folder().join("guix/everything.scm")).expect("the source");
    let cases = [
        ("(connect \"1s\")", "(connect \"1 second\")", "connect"),
        ("(max-size \"2GiB\")", "(max-size \"2GB\")", "max-size"),
        ("(plain-http \"substitutes\")", "(plain-http \"sometimes\")", "plain-http"),
        ("\"[::1]:8080\"", "\"::1:8080\"", "http"),
        ("(listen \"off\")", "(listen \"localhost:9145\")", "listen"),
        ("(keep 0)", "(keep -1)", "keep"),
        ("(certificate \"acme\")", "(certificate \"acme.pem\")", "certificate"),
        ("(names '(\"three.example.org\"))", "(names \"three.example.org\")", "names"),
        ("(idle \"500ms\")", "(idel \"500ms\")", "idel"),
        ("(rate \"30/m\")", "(rate \"30\")", "rate"),
        ("(paths '(\"/search\"))", "(paths '(\"search\"))", "paths"),
        ("(paths '(\"/jobset\"))", "(paths '())", "paths"),
        ("(read \"7m\")", "", "read"),
        ("(refused-agents '(\"GPTBot\" \"a \\\"bot\\\"\"))", "(refused-agents \"GPTBot\")", "refused-agents"),
        ("(landlock #f)", "(landlock \"false\")", "landlock"),
    ];
    let mut command = inspect(&["refuse"]);
    for (at, (good, bad, _)) in cases.iter().enumerate() {
        assert!(source.contains(good), "{good}");
        let file = folder.join(format!("{at}.scm"));
        fs::write(&file, source.replacen(good, bad, 1)).expect("write");
        command.arg(file);
    }
    let said = run(command.env("FOLDER", &folder));
    assert_eq!(said.lines().count(), cases.len(), "{said}");
    for (line, (_, bad, field)) in said.lines().zip(cases) {
        assert!(!line.contains("was taken") && line.contains(field), "{bad}: {field} in {line}");
    }
}

#[test]
fn the_shepherd_opens_the_sockets_that_the_configuration_names_and_gives_up_its_privileges() {
    if !need("guile") {
        return;
    }
    let said = run(&mut example("start"));
    let expected = "\
        endpoint http 0.0.0.0 80 4096\n\
        endpoint http :: 80 4096\n\
        endpoint https 0.0.0.0 443 4096\n\
        endpoint https :: 443 4096\n\
        command /gnu/store/farmgate/bin/farmgate run --config /etc/farmgate/farmgate.toml\n\
        lazy #f\n\
        as farmgate farmgate ()\n\
        log /var/log/farmgate.log 27\n\
        limits ((nofile 65536 65536))\n\
        environment PATH=/bin\n\
        close 2\n\
        kill 4711 40\n\
        action configuration #t\n\
        action reload #t\n\
        action check #t\n\
        action reopen-logs #t\n";
    assert_eq!(said, expected);
    // What is opened when nothing is said is what farmgate listens on then.
    let text = run(&mut example("toml"));
    let listen = config::parse(&text, Path::new("/f.toml")).expect("good").config.listen;
    let addresses: Vec<String> = listen.http.iter().chain(&listen.https).map(ToString::to_string).collect();
    assert_eq!(addresses, ["0.0.0.0:80", "[::]:80", "0.0.0.0:443", "[::]:443"]);

    let said = run(&mut everything("start", &scratch("guix")));
    for line in [
        "endpoint http 127.0.0.1 8080 4096",
        "endpoint http ::1 8080 4096",
        "endpoint https 127.0.0.1 8443 4096",
        "environment FARMGATE_LOG=debug PATH=/bin",
    ] {
        assert!(said.lines().any(|said| said == line), "{line} in\n{said}");
    }
    assert!(said.contains("(readers-of-keys)"), "{said}");
}

#[test]
fn activation_makes_the_folders_with_their_modes_and_leaves_those_of_others_alone() {
    if !need("guile") {
        return;
    }
    let folder = scratch("guix");
    fs::create_dir_all(folder.join("made/log")).expect("make a folder");
    fs::set_permissions(folder.join("made/log"), fs::Permissions::from_mode(0o711)).expect("set its mode");
    // A second time, as at each start of the system.
    run(&mut everything("activate", &folder));
    run(&mut everything("activate", &folder));
    for (name, mode) in [("state", 0o700), ("cache", 0o750), ("run", 0o755), ("log", 0o711)] {
        let metadata = fs::metadata(folder.join("made").join(name)).expect(name);
        assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{name}");
    }
}

#[test]
fn the_account_is_the_one_that_the_service_runs_as() {
    if !need("guile") {
        return;
    }
    assert_eq!(run(&mut example("accounts")), "group farmgate\nuser farmgate farmgate ()\n");
}

#[test]
fn the_shepherd_hears_when_a_gate_serves_and_can_have_its_logs_opened_anew() {
    if !need("guile") {
        return;
    }
    let gate = Config::new(Site::new(HOST).publish("http://localhost:3000")).start();
    let folder = scratch("guix");
    let with_gate = |what| {
        let mut command = everything(what, &folder);
        command.env("CONTROL", gate.folder().join("control.sock")).env("PID_FILE", gate.folder().join("pid"));
        command
    };
    assert_eq!(run(&mut with_gate("wait")), "#t\n");

    gate.http().get("/");
    gate.wait_for_access("http", "GET / ");
    let log = gate.folder().join("http.log");
    fs::rename(&log, log.with_extension("old")).expect("rotate the log");
    run(&mut with_gate("reopen-logs"));
    super::support::eventually_true("a new log", || log.exists());
}

#[test]
fn the_package_is_this_version_with_the_crates_of_the_lock_file() {
    if !need("guile") {
        return;
    }
    let said = run(&mut inspect(&["package"]));
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some(concat!("farmgate ", env!("CARGO_PKG_VERSION"))));
    let crates: usize = lines.next().expect("a number").parse().expect("a number");
    assert!(crates > 100, "{crates}");
    let root = fs::canonicalize(env!("CARGO_MANIFEST_DIR")).expect("the root");
    assert_eq!(lines.next(), Some(root.display().to_string().as_str()));
    let channel = fs::read_to_string(root.join(".guix-channel")).expect("the channel");
    assert!(channel.contains("(directory \"deploy/guix/modules\")"), "{channel}");
}
