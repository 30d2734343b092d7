//! What the running process may do: who it is, which files and system calls are left to it, and that it serves with that.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Output};

use super::support::config::{Config, HOST, Site};
use super::support::farm::recorded;
use super::support::gate::{BINARY, Gate};
use super::support::pki::{Authority, scratch};
use super::support::recorder::Recorder;
use super::support::{eventually_true, output, run};

/// The user that every system has for those who should own nothing.
const NOBODY: &str = "nobody";
/// Lets others into the folder of the configuration, and becomes the program: its arguments follow.
const OPENED: [&str; 3] = ["sh", "-c", "chmod 755 \"$(dirname \"$3\")\" && exec \"$0\" \"$@\""];

/// Whether this test runs as root. Without it nobody can become somebody else.
fn root() -> bool {
    let root = id("-u", "root") == run(Command::new("id").arg("-u")).trim().parse::<u32>().expect("a number");
    if !root {
        eprintln!("skipped: only root can become somebody else");
    }
    root
}

fn id(what: &str, user: &str) -> u32 {
    run(Command::new("id").args([what, user])).trim().parse().expect("a number")
}

/// Everything that is written has a folder of its own, made by the gate.
fn as_nobody(recorder: &Recorder) -> Config {
    Config::new(Site::new(HOST).publish(&recorder.url()).ci(&recorder.url()))
        .set("process.user", &format!("{NOBODY:?}"))
        .set("paths.control", "\"run/control.sock\"")
        .set("paths.pid", "\"run/pid\"")
        .set("access_log.http", "\"log/http\"")
        .set("access_log.https", "\"log/https\"")
        .through(&OPENED)
}

/// A field of /proc/PID/status, for each thread.
fn of_threads(gate: &Gate, field: &str) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{}/task", gate.pid())).expect("a running process");
    let of_one = |path: &Path| {
        let status = fs::read_to_string(path.join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
        Some(line.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    // A thread may end while it is looked at.
    threads.filter_map(|entry| of_one(&entry.expect("an entry").path())).collect()
}

fn assert_all(gate: &Gate, field: &str, expected: &str) {
    let found = of_threads(gate, field);
    assert!(found.len() > 2 && found.iter().all(|value| value == expected), "{field}: {found:?}");
}

fn limit(gate: &Gate, name: &str) -> String {
    let limits = fs::read_to_string(format!("/proc/{}/limits", gate.pid())).expect("a running process");
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect("a limit of that name");
    line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

fn check(folder: &Path) -> Output {
    output(Command::new(BINARY).args(["check", "--config"]).arg(folder.join("farmgate.toml")))
}

#[test]
fn started_as_root_it_serves_as_another_user_and_keeps_no_power() {
    if !root() {
        return;
    }
    let recorder = Recorder::ok();
    let gate = as_nobody(&recorder).start();
    let (uid, gid) = (id("-u", NOBODY), id("-g", NOBODY));
    gate.wait_for_stderr(&format!("runs as {NOBODY} (uid {uid}, gid {gid}"));
    assert_eq!((gate.http().get("/x").status, gate.https().get("/x").status), (200, 200));
    assert_all(&gate, "Uid", &format!("{uid} {uid} {uid} {uid}"));
    assert_all(&gate, "Gid", &format!("{gid} {gid} {gid} {gid}"));
    assert_all(&gate, "Groups", &gid.to_string());
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_all(&gate, set, "0000000000000000");
    }
    assert_all(&gate, "NoNewPrivs", "1");
    // All that it does later it can do.
    gate.reload();
    assert_eq!(gate.status()["sites"][0]["names"][0], HOST);
    gate.signal("USR1");
    gate.http().get("/after");
    let log = gate.folder().join("log/http");
    eventually_true("a line in the log", || fs::read_to_string(&log).is_ok_and(|log| log.contains("/after")));
    for (name, mode) in
        [("state", 0o700), ("cache", 0o700), ("log", 0o750), ("run", 0o750), ("log/http", 0o640)]
    {
        let made = fs::metadata(gate.folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((made.uid(), made.gid(), made.mode() & 0o777), (uid, gid, mode), "{name}");
    }
    assert!(gate.sigterm_and_wait().success());
    assert!(!gate.folder().join("run/pid").exists());
}

#[test]
fn what_root_left_in_state_and_cache_is_given_to_the_user_and_nothing_that_a_link_leads_to() {
    if !root() {
        return;
    }
    let recorder = Recorder::ok();
    let outside = tempfile::tempdir().expect("a folder");
    fs::write(outside.path().join("file"), "x").expect("a file");
    fs::write(outside.path().join("linked"), "x").expect("a file");
    let config = as_nobody(&recorder);
    let gate = config.clone().start();
    assert!(gate.sigterm_and_wait().success());
    let state = gate.folder().join("state");
    for name in ["history", "."] {
        chown(state.join(name), Some(0), Some(0)).expect("root may");
    }
    fs::create_dir(state.join("theirs")).expect("a folder");
    chown(state.join("theirs"), Some(4242), None).expect("root may");
    fs::write(state.join("theirs/file"), "x").expect("a file");
    std::os::unix::fs::symlink(outside.path(), state.join("link")).expect("a link");
    fs::hard_link(outside.path().join("linked"), state.join("hard")).expect("a link");
    let gate = gate.again(&config);
    gate.wait_for_stderr("given to nobody");
    let owner =
        |path: &Path| fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).uid();
    let nobody = id("-u", NOBODY);
    assert_eq!((owner(&state), owner(&state.join("history"))), (nobody, nobody));
    for path in ["", "file", "linked"].map(|name| outside.path().join(name)) {
        assert_eq!(owner(&path), 0, "{}", path.display());
    }
    assert_eq!((owner(&state.join("theirs")), owner(&state.join("theirs/file"))), (4242, 0));
    assert!(gate.sigterm_and_wait().success());
}

#[test]
fn a_user_that_cannot_be_become_is_fatal_before_anything_is_served() {
    let recorder = Recorder::ok();
    let gate = recorded_with_user(&recorder, "no-such-user").spawn();
    assert_eq!(gate.wait_for_exit().code(), Some(1));
    gate.wait_for_stderr("there is no user \"no-such-user\" on this system; adduser --system");
    assert!(!gate.stderr().iter().any(|line| line.contains("listening")), "{:?}", gate.stderr());
    let checked = gate.command(&["check"]);
    assert_eq!(checked.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&checked.stdout).contains("no-such-user"));

    // A user namespace of its own takes the powers of root away, and shows it as nobody to itself.
    if !output(Command::new("unshare").args(["--user", "true"])).status.success() {
        return eprintln!("skipped: no user namespaces here");
    }
    let gate = recorded_with_user(&recorder, "daemon").through(&["unshare", "--user"]).spawn();
    assert_eq!(gate.wait_for_exit().code(), Some(1));
    gate.wait_for_stderr("belongs to \"nobody\": start it as root or as \"daemon\"");
    // Named as what it is, it serves.
    let gate = recorded_with_user(&recorder, NOBODY).through(&["unshare", "--user"]).start();
    assert_eq!(gate.http().get("/x").status, 200);
}

fn recorded_with_user(recorder: &Recorder, user: &str) -> Config {
    let site = Site::new(HOST).publish(&recorder.url()).ci(&recorder.url());
    Config::new(site).set("process.user", &format!("{user:?}"))
}

#[test]
fn check_as_root_reads_what_the_user_could_read() {
    if !root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("our folder");
    let made = Authority::new(&scratch("least-check"), "/CN=CA").server(HOST);
    for (from, name) in [(&made.chain, "chain.pem"), (&made.key, "key.pem")] {
        fs::copy(from, folder.path().join(name)).expect("a copy");
    }
    let mode = |mode| {
        let key = folder.path().join("key.pem");
        fs::set_permissions(key, fs::Permissions::from_mode(mode)).expect("our file");
    };
    let site = Site::new(HOST)
        .publish("http://127.0.0.1:9")
        .set("certificate", "{ chain = \"chain.pem\", key = \"key.pem\" }");
    let config = Config::new(site)
        .set("process.user", &format!("{NOBODY:?}"))
        .set("paths.control", "\"run/control.sock\"")
        .set("paths.pid", "\"run/pid\"")
        .set("access_log.http", "\"off\"")
        .set("access_log.https", "\"off\"");
    fs::write(folder.path().join("farmgate.toml"), config.text(folder.path())).expect("a file");
    mode(0o600);
    let refused = check(folder.path());
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("key.pem: cannot be read: Permission denied"), "{said}");
    // Those that are missing are for `run` to make.
    assert!(!said.contains("not writable"), "{said}");
    mode(0o644);
    let good = check(folder.path());
    let said = String::from_utf8_lossy(&good.stdout).into_owned();
    assert!(good.status.success() && !said.contains("cannot be read"), "{said}");
    let of_root = |name: &str, mode| {
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(mode)).expect("our file");
    };
    of_root("farmgate.toml", 0o600);
    fs::create_dir(folder.path().join("cache")).expect("a folder");
    of_root("cache", 0o700);
    let said = String::from_utf8_lossy(&check(folder.path()).stdout).into_owned();
    assert!(said.contains("paths.cache: ") && said.contains("not writable"), "{said}");
    assert!(said.contains("farmgate.toml: cannot be read by nobody"), "{said}");
    assert!(said.contains("neither a reload nor an upgrade"), "{said}");
}

#[test]
fn the_folders_and_calls_that_are_left_are_told_and_the_switches_give_all_back() {
    let recorder = Recorder::ok();
    let gate = recorded(&recorder, |config| config);
    let landlock = gate.wait_for_stderr("Landlock is");
    assert!(landlock.contains("in force") && landlock.contains(" it writes below "), "{landlock}");
    gate.wait_for_stderr("seccomp is in force");
    assert_all(&gate, "Seccomp", "2");
    assert_all(&gate, "NoNewPrivs", "1");
    // What is in force stays, whoever takes over, and whatever is configured by then.
    gate.rewrite(&gate.config.clone().set("process.landlock", "false").set("process.seccomp", "false"));
    let reload = gate.command(&["reload"]);
    let said = String::from_utf8_lossy(&reload.stdout).into_owned();
    assert!(said.contains("[process] has changed; that takes effect at the next start"), "{said}");
    gate.upgrade();
    gate.wait_for_stderr("until the next start that of the gate before this one is in force");
    gate.wait_for_stderr("a filter is in force all the same");
    let off =
        recorded(&recorder, |config| config.set("process.landlock", "false").set("process.seccomp", "false"));
    off.wait_for_stderr("Landlock is switched off");
    off.wait_for_stderr("seccomp is switched off");
    assert_all(&off, "Seccomp", &of_threads_here());
    assert_all(&off, "NoNewPrivs", "0");
}

/// What this test is under itself, a container's filter for example.
fn of_threads_here() -> String {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("Seccomp:")).expect("a kernel with seccomp");
    line.trim().to_owned()
}

#[test]
fn a_certificate_from_elsewhere_is_refused_at_a_reload_and_taken_at_the_next_start() {
    let recorder = Recorder::ok();
    let elsewhere = Authority::new(&scratch("least-elsewhere"), "/CN=Elsewhere").server(HOST);
    let site = Site::new(HOST).publish(&recorder.url()).ci(&recorder.url());
    let new = Config::new(site.clone().certificate(&elsewhere));
    let gate = Config::new(site).start();
    gate.rewrite(&new);
    let reload = gate.command(&["reload"]);
    let said = String::from_utf8_lossy(&reload.stderr).into_owned();
    assert_eq!(reload.status.code(), Some(1), "{said}");
    let chain = elsewhere.chain.display().to_string();
    assert!(said.contains(&format!("site.certificate.chain: {chain}")), "{said}");
    assert!(said.contains("Landlock") && said.contains("restart it"), "{said}");
    assert_eq!(gate.https().get("/x").status, 200);
    assert!(gate.sigterm_and_wait().success());
    let gate = gate.again(&new);
    assert_eq!(gate.status()["sites"][0]["certificate"]["source"], "file");
    // What is allowed to lie anywhere is taken at once.
    let gate = Config::new(Site::new(HOST).publish(&recorder.url())).set("process.landlock", "false").start();
    gate.rewrite(&new.set("process.landlock", "false"));
    gate.reload();
    assert_eq!(gate.status()["sites"][0]["certificate"]["source"], "file");
}

#[test]
fn the_kernel_refuses_what_a_link_leads_out_to_although_its_user_could_read_it() {
    let recorder = Recorder::ok();
    let folder = scratch("least-link");
    let outside = Authority::new(&scratch("least-link-outside"), "/CN=Outside").server(HOST);
    let inside = Authority::new(&folder.join("inside"), "/CN=Inside").server(HOST);
    let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
    let link = |from: &Path, to: &Path| {
        let new = to.with_extension("new");
        std::os::unix::fs::symlink(from, &new).and_then(|()| fs::rename(&new, to)).expect("a link");
    };
    link(&inside.chain, &chain);
    link(&inside.key, &key);
    let live = super::support::pki::Identity { chain: chain.clone(), key: key.clone() };
    let site = Site::new(HOST).publish(&recorder.url()).certificate(&live);
    let gate = Config::new(site).start();
    link(&outside.chain, &chain);
    link(&outside.key, &key);
    let told = gate.wait_for_stderr("not taken up");
    assert!(told.contains("Permission denied"), "{told}");
    assert_eq!(gate.https().get("/x").status, 200);
}

#[test]
fn memory_is_for_nobody_else_to_read_and_no_crash_writes_it_down() {
    let recorder = Recorder::ok();
    let gate =
        recorded(&recorder, |config| config.through(&["sh", "-c", "ulimit -c 1000; exec \"$0\" \"$@\""]));
    assert_eq!(limit(&gate, "Max core file size"), "0 0");
    assert_all(&gate, "Umask", "0027");
    if !root() {
        return;
    }
    let environment_of = |gate: &Gate| {
        let path = format!("/proc/{}/environ", gate.pid());
        let (uid, gid) = (id("-u", NOBODY), id("-g", NOBODY));
        let user = [format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".into()];
        output(Command::new("setpriv").args(user).args(["cat", &path])).status.success()
    };
    let gate = as_nobody(&recorder).start();
    assert!(!environment_of(&gate), "another process of its user looks into it");
    let gate = as_nobody(&recorder).set("process.core_dumps", "true").start();
    assert!(environment_of(&gate), "a developer wants to");
}

#[test]
fn as_many_files_as_its_connections_need_may_be_open() {
    let recorder = Recorder::ok();
    let low = ["sh", "-c", "ulimit -S -n 100; exec \"$0\" \"$@\""];
    let gate = recorded(&recorder, |config| config.set("limits.connections", "200").through(&low));
    let soft =
        |gate: &Gate| limit(gate, "Max open files").split(' ').next().and_then(|soft| soft.parse().ok());
    assert_eq!(soft(&gate), Some(200 * 2 + 512));
    gate.rewrite(&gate.config.clone().set("limits.connections", "300"));
    gate.reload();
    assert_eq!(soft(&gate), Some(300 * 2 + 512));
}
