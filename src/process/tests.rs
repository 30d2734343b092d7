use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs, thread};

use socket2::{Domain, Socket, Type};

use super::*;
use crate::config::{Config, parse};

/// Where a child of a test finds what it is to work with.
const FOLDER: &str = "FARMGATE_TEST_CONFINED";
/// How many have confined themselves before it, each started by the one before.
const DEPTH: &str = "FARMGATE_TEST_DEPTH";
const DEEPEST: u32 = 3;
/// "Bad system call", what seccomp ends a process with (signal(7)).
const SIGSYS: i32 = 31;

/// Runs `test` of this file in a process of its own: what is given up cannot be had back.
fn in_child(test: &str, folder: &Path, depth: u32) -> Output {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", &format!("process::tests::{test}"), "--nocapture"])
        .env(FOLDER, folder)
        .env(DEPTH, depth.to_string())
        .output()
        .unwrap()
}

fn assert_success(output: &Output) {
    let text = [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success(), "{}\n{}", output.status, String::from_utf8_lossy(&text));
}

/// All of it below `folder`.
fn config(folder: &Path) -> Config {
    let text = r#"
        [paths]
        state = "state"
        cache = "../kept/cache"
        control = "run/control.sock"
        pid = "run/pid"
        [access_log]
        http = "log/http"
        https = "off"
        [[site]]
        names = ["a.example"]
        ci = "http://localhost"
        certificate = { chain = "../tls/current/chain.pem", key = "../tls/current/key.pem" }
    "#;
    parse(text, &folder.join("etc/farmgate.toml")).unwrap().config
}

/// Two versions of a certificate, and a link to the first.
fn prepared() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for made in ["etc", "etc/state", "kept/cache", "etc/run", "etc/log", "tls/1", "tls/2", "elsewhere"] {
        fs::create_dir_all(folder.path().join(made)).unwrap();
    }
    for made in ["etc/farmgate.toml", "tls/1/chain.pem", "tls/2/chain.pem", "elsewhere/file"] {
        fs::write(folder.path().join(made), "contents").unwrap();
    }
    std::os::unix::fs::symlink("1", folder.path().join("tls/current")).unwrap();
    folder
}

#[test]
fn what_is_left_is_enough_to_serve_and_to_start_the_next_version() {
    const TEST: &str = "what_is_left_is_enough_to_serve_and_to_start_the_next_version";
    let Some(folder) = env::var_os(FOLDER).map(PathBuf::from) else {
        let folder = prepared();
        return assert_success(&in_child(TEST, folder.path(), 0));
    };
    let depth: u32 = env::var(DEPTH).unwrap().parse().unwrap();
    // Where the kernel has no Landlock the rest must work all the same.
    let confined = landlock::confine(&config(&folder), None);
    seccomp::confine();

    for name in ["etc/farmgate.toml", "tls/1/chain.pem", "/etc/passwd"] {
        assert!(fs::read(folder.join(name)).is_ok(), "{name}");
    }
    // From one folder to another, as a file of the cache goes.
    fs::write(folder.join("etc/state/new"), "x").unwrap();
    fs::rename(folder.join("etc/state/new"), folder.join("kept/cache/new")).unwrap();
    fs::remove_file(folder.join("kept/cache/new")).unwrap();
    let _ = fs::remove_file(folder.join("etc/run/socket"));
    drop(std::os::unix::net::UnixListener::bind(folder.join("etc/run/socket")).unwrap());
    // A link that is turned to what lies beside it.
    let link = folder.join("tls/current");
    assert_eq!(fs::read(link.join("chain.pem")).unwrap(), b"contents");
    assert_eq!(fs::read(folder.join("tls/2/chain.pem")).unwrap(), b"contents");
    if confined.is_some() {
        let denied = |done: std::io::Result<()>| done.unwrap_err().kind() == ErrorKind::PermissionDenied;
        assert!(denied(fs::read(folder.join("elsewhere/file")).map(drop)));
        assert!(denied(fs::write(folder.join("elsewhere/new"), "x")));
        assert!(denied(fs::write(folder.join("etc/farmgate.toml"), "x")));
        assert!(denied(fs::write(folder.join("tls/1/chain.pem"), "x")));
    }

    thread::spawn(|| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).join().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    assert!(runtime.block_on(tokio::net::lookup_host("localhost:1")).unwrap().count() > 0);
    let packets = Socket::new(Domain::PACKET, Type::RAW, None).unwrap_err();
    assert_eq!(packets.raw_os_error(), Some(libc::EPERM), "{packets}");
    let shell = Command::new("sh").args(["-c", "exit 7"]).status().unwrap();
    assert_eq!(shell.code(), Some(7));
    let namespace = Command::new("unshare").args(["--user", "true"]).status().unwrap();
    assert_eq!(namespace.signal(), Some(SIGSYS), "{namespace}");
    if depth < DEEPEST {
        assert_success(&in_child(TEST, &folder, depth + 1));
    }
}

#[test]
fn a_configuration_that_names_files_elsewhere_is_refused_with_the_keys() {
    const TEST: &str = "a_configuration_that_names_files_elsewhere_is_refused_with_the_keys";
    let Some(folder) = env::var_os(FOLDER).map(PathBuf::from) else {
        let folder = prepared();
        return assert_success(&in_child(TEST, folder.path(), 0));
    };
    let mut config = config(&folder);
    let Some(confined) = landlock::confine(&config, None) else { return };
    assert_eq!(confined.refuses(&config), None);
    // What does not exist yet may come, where its folder is open.
    config.admin.crl = vec![folder.join("etc/to/come.pem"), "/etc/farmgate/to/come.pem".into()];
    assert_eq!(confined.refuses(&config), None);
    config.admin.crl.push(folder.join("elsewhere/list.pem"));
    config.access_log.https = crate::config::LogTarget::File(folder.join("etc/readable/log"));
    let refused = confined.refuses(&config).unwrap();
    for said in ["admin.crl: ", "elsewhere/list.pem", "access_log.https: ", "etc/readable/log", "restart it"]
    {
        assert!(refused.contains(said), "{said} in {refused}");
    }
    assert!(!refused.contains("come.pem"), "{refused}");
}

#[test]
fn what_the_gate_before_left_is_not_had_back_by_naming_it_also_when_no_further_layer_fits() {
    const TEST: &str =
        "what_the_gate_before_left_is_not_had_back_by_naming_it_also_when_no_further_layer_fits";
    /// What the kernel takes one above the other (LANDLOCK_MAX_NUM_LAYERS).
    const LAYERS: usize = 16;
    let Some(folder) = env::var_os(FOLDER).map(PathBuf::from) else {
        let folder = prepared();
        return assert_success(&in_child(TEST, folder.path(), 0));
    };
    let config = config(&folder);
    let Some(first) = landlock::confine(&config, None) else { return };
    let mut further = config.clone();
    further.admin.crl = vec![folder.join("elsewhere/list.pem")];
    let mut left = first.open();
    for _ in 0..LAYERS + 1 {
        let confined = landlock::confine(&further, Some(Confined::inherited(&left))).unwrap();
        assert_eq!(confined.refuses(&config), None);
        let refused = confined.refuses(&further).unwrap();
        assert!(refused.contains("admin.crl: ") && !refused.contains("paths."), "{refused}");
        assert!(!confined.programs().is_empty());
        left = confined.open();
    }
    assert!(fs::read(folder.join("elsewhere/file")).is_err());
}

#[test]
fn more_connections_than_files_can_be_had_for_are_told_of() {
    assert_eq!(open_files(1), None);
    let told = open_files(1_000_000_000_000).unwrap();
    assert!(told.contains("limits.connections = 1000000000000") && told.contains("LimitNOFILE"), "{told}");
}
