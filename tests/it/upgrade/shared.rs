//! What two gates have in common while one of them finishes: the cache, the rules of the admin pages, metrics.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use super::super::support::config::quoted;
use super::super::support::farm::recorded;
use super::super::support::gate::Gate;
use super::super::support::http1::Connection;
use super::super::support::pki::{Authority, Identity, Kind, scratch};
use super::super::support::recorder::Recorder;
use super::super::support::scrape::{self, Scrape};
use super::super::support::{Latch, eventually_true};
use super::{HELD, begin, echo, get};

fn items(gate: &Gate) -> Vec<String> {
    let output = gate.command(&["cache", "list", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let items: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let items = items.as_array().expect("a list").iter();
    items.filter_map(|item| item["target"].as_str().map(str::to_owned)).collect()
}

fn purge_all(gate: &Gate) {
    let output = gate.command(&["cache", "purge", "--all"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_new_one_goes_on_with_what_was_cached() {
    let latch = Latch::default();
    let recorder = echo(&latch);
    let gate = recorded(&recorder, |config| config);
    assert_eq!(gate.http().get("/static/a").status, 200);
    eventually_true("it is kept", || items(&gate) == ["/static/a"]);
    gate.upgrade();
    eventually_true("it is found", || items(&gate) == ["/static/a"]);
    let answer = gate.http().get("/static/a");
    assert!(answer.header("cache-status").is_some_and(|status| status.contains("hit")), "{answer:?}");
    assert_eq!(recorder.requests().len(), 1);
}

#[test]
fn what_was_purged_at_the_new_one_is_not_served_by_the_old_one_nor_kept_by_it() {
    let latch = Latch::default();
    let recorder = echo(&latch);
    let gate = recorded(&recorder, |config| config);
    assert_eq!(gate.http().get("/static/a").status, 200);
    eventually_true("it is kept", || items(&gate) == ["/static/a"]);
    // Behind what is being fetched, something waits on the same connection.
    let mut old = begin(gate.http(), "/static/held");
    old.send(get("/static/a"));
    gate.upgrade();
    purge_all(&gate);
    latch.open();
    assert_eq!(old.response().text(), "/static/held");
    let answer = old.response();
    assert_eq!(answer.text(), "/static/a");
    let asked = recorder.requests().iter().filter(|request| request.target() == "/static/a").count();
    assert_eq!(asked, 2, "it is asked for anew: {:?}", answer.headers);
    assert_eq!(gate.wait_for_exit().code(), Some(0));
    assert_eq!(items(&gate), Vec::<String>::new());
    // Nor does anything lie about for the next one.
    gate.upgrade();
    let indexed = || gate.status()["cache"]["indexed"] == true;
    eventually_true("all of it is known", indexed);
    assert_eq!(items(&gate), Vec::<String>::new());
    let files = |folder: &Path| {
        let below = fs::read_dir(folder).into_iter().flatten().flatten();
        below.filter(|entry| entry.file_name().len() == 3).count()
    };
    assert!(files(&gate.folder().join("cache/static")) > 0, "there were some");
}

/// A gate with an admin, a backend that holds one request back, and a connection on which one of the admin's is held and
/// another one waits behind it.
struct Admin {
    gate: Gate,
    authority: Authority,
    admin: Identity,
    connection: Connection,
    latch: Latch,
}

fn admin(name: &str) -> Admin {
    let folder = scratch(name);
    let authority = Authority::new(&folder, "/CN=admins");
    let admin = authority.issue("admin", Kind::V1);
    let latch = Latch::default();
    let ca = quoted(&authority.cert.display().to_string());
    let gate = recorded(&echo(&latch), |config| config.set("admin.client_ca", &ca));
    let mut connection = begin(gate.https_as(&admin), "/admin/held");
    connection.send(get("/admin/behind"));
    Admin { gate, authority, admin, connection, latch }
}

impl Admin {
    /// What the one behind is answered with.
    fn behind(mut self) -> u16 {
        self.latch.open();
        assert_eq!(self.connection.response().text(), "/admin/held", "it was let in");
        let answer = self.connection.response();
        assert!(answer.closes(), "{answer:?}");
        assert_eq!(self.gate.wait_for_exit().code(), Some(0));
        answer.status
    }
}

#[test]
fn an_admin_on_a_connection_from_before_is_still_one() {
    let admin = admin("admin-stays");
    admin.gate.upgrade();
    assert_eq!(admin.gate.https_as(&admin.admin).get("/admin/x").status, 200);
    assert_eq!(admin.behind(), 200);
}

#[test]
fn a_revocation_after_the_upgrade_counts_for_connections_from_before_it() {
    let admin = admin("admin-revoked");
    // Where Landlock lets the gate read.
    let list = admin.gate.folder().join("list.pem");
    // A list that revokes nobody is in force before, and is replaced after.
    let other = admin.authority.issue("other", Kind::V1);
    fs::copy(admin.authority.revoke(&other), &list).expect("copy a list");
    let config =
        admin.gate.config.clone().set("admin.crl", &format!("[{}]", quoted(&list.display().to_string())));
    admin.gate.rewrite(&config);
    admin.gate.reload();
    admin.gate.upgrade();
    let revoked = admin.authority.revoke(&admin.admin);
    let new = list.with_extension("new");
    fs::copy(revoked, &new).and_then(|_| fs::rename(&new, &list)).expect("replace the list");
    eventually_true("the new one knows", || admin.gate.https_as(&admin.admin).get("/admin/x").status == 403);
    // Both look once a second; the old one by itself, and it is told as well when the new one is configured anew.
    admin.gate.reload();
    assert_eq!(admin.behind(), 403);
}

#[test]
fn other_rules_after_the_upgrade_close_the_admin_pages_on_connections_from_before_it() {
    let admin = admin("admin-rules");
    admin.gate.upgrade();
    let stranger = Authority::new(&admin.gate.folder().join("strangers"), "/CN=strangers");
    admin.gate.rewrite(&admin.gate.config.clone().client_ca(&stranger.cert));
    admin.gate.reload();
    assert_eq!(admin.gate.https_as(&admin.admin).get("/admin/x").status, 403);
    assert_eq!(admin.behind(), 403);
}

#[test]
fn other_rules_with_the_upgrade_close_the_admin_pages_on_connections_from_before_it() {
    let admin = admin("admin-rules-with-it");
    let stranger = Authority::new(&admin.gate.folder().join("strangers"), "/CN=strangers");
    admin.gate.rewrite(&admin.gate.config.clone().client_ca(&stranger.cert));
    admin.gate.upgrade();
    assert_eq!(admin.gate.https_as(&admin.admin).get("/admin/x").status, 403);
    assert_eq!(admin.behind(), 403);
}

#[test]
fn when_nobody_serves_any_more_the_admin_pages_are_closed_on_connections_from_before() {
    let admin = admin("admin-alone");
    let new = admin.gate.upgrade();
    let status = std::process::Command::new("sh").arg("-c").arg(format!("kill -KILL {new}")).status();
    assert!(status.expect("a shell").success());
    admin.gate.wait_for_stderr("the admin pages are closed");
    assert_eq!(admin.behind(), 403);
}

#[test]
fn a_certificate_that_our_own_ca_takes_back_after_the_upgrade_opens_nothing_on_the_old_one() {
    let latch = Latch::default();
    let gate = recorded(&echo(&latch), |config| config.without("admin.client_ca"));
    for arguments in [&["init"][..], &["request", "alice"], &["issue", "alice", "--csr", "alice.csr"]] {
        let mut command = std::process::Command::new(super::BINARY);
        command.arg("admin").args(arguments).arg("--config").arg(gate.config_path());
        super::super::support::run(command.current_dir(gate.folder()));
    }
    let alice = Identity { chain: gate.folder().join("alice.crt"), key: gate.folder().join("alice.key") };
    eventually_true("she is let in", || gate.https_as(&alice).get("/admin/x").status == 200);
    let mut connection = begin(gate.https_as(&alice), "/admin/held");
    connection.send(get("/admin/behind"));
    gate.upgrade();
    assert!(gate.command(&["admin", "revoke", "alice"]).status.success());
    latch.open();
    assert_eq!(connection.response().text(), "/admin/held");
    assert_eq!(connection.response().status, 403);
}

#[test]
fn metrics_are_asked_for_at_the_same_address_all_the_time() {
    let latch = Latch::default();
    let gate = recorded(&echo(&latch), |config| config.set("metrics.listen", "\"127.0.0.1:0\""));
    let address = gate.metrics_addr();
    let _download = begin(gate.http(), &format!("{HELD}/6"));
    for _ in 0..3 {
        gate.upgrade();
        assert_eq!(scrape::ask(&gate, "/readyz").status, 200);
        assert_eq!(gate.http().get("/x").status, 200);
        Scrape::once(&gate, "it is counted where it is asked", |scrape| {
            scrape.sum("farmgate_requests_total", &[]) == 1.0
        });
    }
    assert_eq!(gate.status()["listen"]["metrics"], address.to_string());
}

#[test]
fn a_challenge_is_answered_by_whichever_gate_is_asked() {
    let gate = recorded(&Recorder::ok(), |config| config);
    let folder = gate.folder().join("state/acme/challenges");
    fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join("token"), "answer")).expect("write");
    let mut before = gate.http();
    let target = "/.well-known/acme-challenge/token";
    eventually_true("it is connected", || gate.status()["connections"] == 1);
    gate.upgrade();
    for mut connection in [gate.http(), std::mem::replace(&mut before, gate.http())] {
        assert_eq!(connection.get(target).text(), "answer");
    }
}

#[test]
fn what_was_served_is_in_the_history_of_the_new_one() {
    let gate = recorded(&Recorder::ok(), |config| config);
    assert_eq!(gate.http().get("/x").status, 200);
    let history = gate.folder().join("state/history");
    assert!(!fs::read_to_string(&history).unwrap_or_default().contains("sha256"), "not written yet");
    gate.upgrade();
    assert!(fs::read_to_string(&history).expect("a history").contains("sha256"));
}

#[test]
fn a_port_that_the_old_one_closes_can_be_had_by_others() {
    let port = super::free_port();
    let gate = recorded(&Recorder::ok(), |config| {
        config.set("listen.http", &format!("[\"127.0.0.1:{port}\", \"127.0.0.1:0\"]"))
    });
    gate.rewrite(&gate.config.clone().set("listen.http", "[\"127.0.0.1:0\"]"));
    gate.upgrade();
    eventually_true("it is free", || TcpListener::bind(("127.0.0.1", port)).is_ok());
}
