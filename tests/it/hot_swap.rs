//! Certificates and configuration are replaced under load: no failed request, and each handshake shows a whole chain.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use super::support::config::{Config, HOST, Site};
use super::support::farm::Farm;
use super::support::gate::Gate;
use super::support::pki::{Authority, Identity, scratch};
use super::support::recorder::Recorder;
use super::support::tls::{Seen, TlsClient};
use super::support::{SOON, eventually_true};

/// What somebody did to the chain and the key.
type Damage<'a> = &'a dyn Fn(&Path, &Path);

/// Two certificates for the same name from two authorities, and the files that the configuration names.
struct Swap {
    a: Identity,
    b: Identity,
    live: Identity,
}

impl Swap {
    fn new() -> Swap {
        let folder = scratch("swap");
        let issue = |name: &str| Authority::new(&folder.join(name), &format!("/CN={name} CA")).server(HOST);
        let live = Identity { chain: folder.join("fullchain.pem"), key: folder.join("privkey.pem") };
        let swap = Swap { a: issue("a"), b: issue("b"), live };
        swap.put(&swap.a);
        swap
    }

    /// One file after the other, each atomically: between the two, they do not match.
    fn put(&self, from: &Identity) {
        for (from, to) in [(&from.chain, &self.live.chain), (&from.key, &self.live.key)] {
            let new = to.with_extension("new");
            fs::copy(from, &new).and_then(|_| fs::rename(&new, to)).expect("replace a file");
        }
    }

    fn config(&self, recorder: &Recorder) -> Config {
        Config::new(Site::new(HOST).publish(&recorder.url()).ci(&recorder.url()).certificate(&self.live))
    }
}

fn chain(identity: &Identity) -> Vec<Vec<u8>> {
    identity.chain_der().iter().map(|cert| cert.to_vec()).collect()
}

fn shows(gate: &Gate, identity: &Identity) -> bool {
    let seen = Seen::default();
    seen.note(&TlsClient::default().handshake(gate.https_addr(), HOST).conn);
    seen.chains() == [chain(identity)]
}

/// Clients that never stop while `change` runs; how many requests they made. Every one must succeed.
fn under_load(gate: &Gate, seen: &Seen, change: impl FnOnce()) -> usize {
    let (stop, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for kind in 0..3 {
            let (stop, count, seen) = (&stop, &count, seen.clone());
            scope.spawn(move || {
                let (http, https) = (gate.http_addr(), gate.https_addr());
                let mut kept = TlsClient::default().connect(https, HOST);
                while !stop.load(Ordering::SeqCst) {
                    match kind {
                        // A new connection for each.
                        0 => {
                            let mut connection = TlsClient::default().connect(https, HOST);
                            seen.note(connection.tls());
                            assert_eq!(connection.get("/x").status, 200);
                        }
                        // One connection for all of them.
                        1 => assert_eq!(kept.get("/abc.narinfo").status, 200),
                        _ => {
                            let mut connection = super::support::http1::Connection::plain(http, HOST);
                            assert_eq!(connection.get("/abc.narinfo").status, 200);
                        }
                    }
                    count.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        // Stops the others even when `change` panics.
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let _stop = Stop(&stop);
        eventually_true("load", || count.load(Ordering::SeqCst) > 10);
        change();
    });
    count.into_inner()
}

#[test]
fn certificates_replaced_two_hundred_times_under_load_fail_no_request() {
    let (swap, recorder) = (Swap::new(), Recorder::ok());
    let gate = swap.config(&recorder).start();
    let seen = Seen::default();
    under_load(&gate, &seen, || {
        for round in 0..200 {
            swap.put(if round % 2 == 0 { &swap.b } else { &swap.a });
            // Some by signal, some by command, some by being noticed or not.
            match round % 10 {
                0 => {
                    gate.reload();
                    assert!(shows(&gate, &swap.b), "round {round}");
                }
                5 => gate.signal("HUP"),
                _ => {}
            }
        }
    });
    let whole = [chain(&swap.a), chain(&swap.b)];
    assert!(seen.chains().iter().all(|chain| whole.contains(chain)), "a chain that is neither");
    assert_eq!(seen.chains().len(), 2, "both were seen");
    assert!(gate.is_running());
}

#[test]
fn a_certificate_replaced_on_disk_is_taken_up_by_itself() {
    let (swap, recorder) = (Swap::new(), Recorder::ok());
    let gate = swap.config(&recorder).start();
    assert!(shows(&gate, &swap.a));
    swap.put(&swap.b);
    let before = Instant::now();
    super::support::eventually("the new certificate", SOON * 4, || shows(&gate, &swap.b).then_some(()));
    eprintln!("taken up after {:?}", before.elapsed());
}

#[test]
fn a_symlink_swap_as_certbot_does_it_is_taken_up() {
    let (swap, recorder) = (Swap::new(), Recorder::ok());
    let link = |identity: &Identity| {
        for (from, to) in [(&identity.chain, &swap.live.chain), (&identity.key, &swap.live.key)] {
            let new = to.with_extension("new");
            symlink(from, &new).and_then(|()| fs::rename(&new, to)).expect("replace a link");
        }
    };
    link(&swap.a);
    let gate = swap.config(&recorder).start();
    assert!(shows(&gate, &swap.a));
    link(&swap.b);
    super::support::eventually("the new certificate", SOON * 4, || shows(&gate, &swap.b).then_some(()));
    // The folder itself may be the link, as Guix and Kubernetes do it.
    link(&swap.a);
    gate.reload();
    assert!(shows(&gate, &swap.a));
}

#[test]
fn a_bad_pair_leaves_the_old_one_serving_with_one_clear_line() {
    let (swap, recorder) = (Swap::new(), Recorder::ok());
    let gate = swap.config(&recorder).start();
    let broken: [(&str, Damage<'_>); 5] = [
        ("the key of another", &|_, key| drop(fs::copy(&swap.b.key, key))),
        ("no key", &|_, key| fs::write(key, "").expect("write")),
        ("garbage", &|chain, _| {
            fs::write(chain, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").expect("write")
        }),
        ("half a file", &|chain, _| {
            let text = fs::read(&swap.a.chain).expect("read");
            fs::write(chain, &text[..text.len() / 3]).expect("write");
        }),
        ("no file", &|chain, _| fs::remove_file(chain).expect("remove")),
    ];
    for (what, damage) in broken {
        let before = gate.stderr().len();
        damage(&swap.live.chain, &swap.live.key);
        let line = gate.sighup();
        assert!(line.contains("reload refused"), "{what}: {line}");
        let output = gate.command(&["reload"]);
        assert_eq!(output.status.code(), Some(1), "{what}: {}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("fullchain.pem") || said.contains("privkey.pem"), "{what}: {said}");
        assert!(shows(&gate, &swap.a), "{what}");
        assert_eq!(gate.https().get("/x").status, 200, "{what}");
        // One for the signal and one for the command, whose line may come a moment after its answer: it is not the next
        // round's.
        let refusals =
            || gate.stderr()[before..].iter().filter(|line| line.contains("reload refused")).count();
        eventually_true("both are told", || refusals() >= 2);
        assert_eq!(refusals(), 2, "{what}: {:?}", &gate.stderr()[before..]);
        swap.put(&swap.a);
    }
    swap.put(&swap.b);
    gate.reload();
    assert!(shows(&gate, &swap.b), "a good one is taken up again");
}

#[test]
fn the_configuration_replaced_many_times_under_load_fails_no_request() {
    let (swap, recorder) = (Swap::new(), Recorder::ok());
    let second = Recorder::ok();
    let gate = swap.config(&recorder).start();
    let other = Config::new(
        Site::new(HOST)
            .publish(&second.url())
            .ci(&second.url())
            .certificate(&swap.live)
            .also("other.example"),
    );
    under_load(&gate, &Seen::default(), || {
        for round in 0..100 {
            gate.rewrite(if round % 2 == 0 { &other } else { &gate.config });
            let line = gate.sighup();
            assert!(line.contains("reloaded"), "round {round}: {line}");
        }
    });
    assert!(second.requests().len() > 1, "the second configuration was in force at times");
    assert!(gate.is_running());
}

#[test]
fn a_bad_configuration_changes_nothing_and_says_why() {
    let farm = Farm::start();
    let good = farm.gate.config.text(farm.gate.folder());
    for (bad, hint) in [
        (format!("{good}\n[limist]\nbody = \"1MiB\"\n"), "limist"),
        (format!("{good}\nplain_htp = \"serve\"\n"), "plain_htp"),
        ("not toml at all [".to_string(), "farmgate.toml"),
        (good.split("[[site]]").next().unwrap_or_default().to_string(), "site"),
        (good.replace("http://127.0.0.1", "gopher://127.0.0.1"), "gopher"),
    ] {
        farm.gate.rewrite_text(&bad);
        assert!(farm.gate.sighup().contains("reload refused"));
        let output = farm.gate.command(&["reload"]);
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(hint), "{hint}: {said}");
        assert_eq!(farm.gate.https().get("/jobset/x").status, 200);
    }
    farm.gate.rewrite_text(&good);
    assert!(farm.gate.sighup().contains("reloaded"));
}

#[test]
fn connections_in_flight_keep_what_they_have() {
    let (swap, first, second) = (Swap::new(), Recorder::ok(), Recorder::ok());
    let gate = swap.config(&first).start();
    let farm = Farm::start();
    let mut slow = farm.gate.https();
    slow.send(format!("GET /nar/slow/30 HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    farm.publish.wait_for("/nar/slow/30");
    let mut kept = gate.https();
    assert_eq!(kept.get("/x").status, 200);
    for _ in 0..5 {
        farm.gate.reload();
    }
    gate.rewrite(&swap.config(&second));
    gate.reload();
    assert_eq!(kept.get("/x").status, 200, "the connection lives on");
    assert_eq!(gate.https().get("/y").status, 200);
    assert!(second.requests().iter().any(|request| request.target() == "/y"));
    assert_eq!(slow.response().body.len(), 30 * 1024, "the download went on");
}

#[test]
fn changing_listen_needs_a_restart_and_the_reload_says_so() {
    let farm = Farm::start();
    farm.gate.rewrite(&farm.gate.config.clone().set("listen.http", "[\"127.0.0.1:0\", \"127.0.0.2:0\"]"));
    let output = farm.gate.command(&["reload"]);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).to_lowercase();
    assert!(
        said.contains("listen")
            && ["restart", "upgrade", "next start"].iter().any(|word| said.contains(word)),
        "{said}"
    );
    assert_eq!(farm.gate.http().get("/robots.txt").status, 200);
}
