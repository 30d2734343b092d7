//! The gate's own page at `/admin/gate/`: who sees it, what it says, what can be done there, and what it remembers.
//! `browser` looks at it.

mod browser;

use std::fs;
use std::process::Command;

use rustix::fs::{FlockOperation, flock};

use super::admin::Desk;
use super::errors::assert_not_cacheable;
use super::support::config::{Config, HOST, Site};
use super::support::curl::curl;
use super::support::farm::Farm;
use super::support::h2::H2;
use super::support::http1::{Connection, Response};
use super::support::pki::{Identity, world};
use super::support::spellings::spellings;
use super::support::tls::TlsClient;
use super::support::{eventually, eventually_true, free_port, run};

/// What the double of `guix publish` has, and what it has not.
const PRESENT: &str = "/present.narinfo";
const MISSING: &str = "/missing.narinfo";

const ORIGIN: (&str, &str) = ("Origin", "https://farm.example");

/// What is on the page and nowhere else.
const MARK: &str = "Admin certificates";

/// Ways to write the page's address that only some readers would take for it.
const ODD: [&str; 10] = [
    "/admin%2Fgate/",
    "/ADMIN/gate/",
    "/admin/GATE",
    "/admin\\gate",
    "/%2561dmin/gate",
    "/admin/gate/..",
    "/admin/x/../gate/",
    "/admin/gate/../build/9/restart",
    "/admin;x/gate",
    "/admin/./gate/./day",
];

fn get(connection: &mut Connection, target: &str) -> (u16, String) {
    let response = connection.get(target);
    (response.status, response.text())
}

fn post(connection: &mut Connection, target: &str, headers: &[(&str, &str)], form: &str) -> Response {
    let kind = ("Content-Type", "application/x-www-form-urlencoded");
    connection.request("POST", target, &[headers, &[kind]].concat(), form.as_bytes())
}

/// A certificate of the desk's CA. By way of a request: bundles are made to be slow to open, and so to make.
fn issue(desk: &Desk, name: &str) -> Identity {
    let file = |end: &str| desk.here(&format!("{name}.{end}"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-new", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    openssl.args(["-subj", &format!("/CN={name}")]);
    run(openssl.arg("-keyout").arg(file("key")).arg("-out").arg(file("csr")));
    desk.ok(&["issue", "--csr", &file("csr").display().to_string()]);
    Identity { chain: file("crt"), key: file("key") }
}

/// What the form on the page that asks carries.
fn token(page: &str) -> &str {
    let (_, rest) = page.split_once("name=\"token\" value=\"").unwrap_or_else(|| panic!("no form in {page}"));
    rest.split_once('"').expect("a quoted value").0
}

#[test]
fn no_spelling_shows_the_page_to_anybody_uninvited_or_leads_to_cuirass() {
    let farm = Farm::start();
    let world = world();
    let clients = [
        ("without a certificate", TlsClient::default()),
        ("with a foreign one", TlsClient::default().identity(&world.foreign)),
        ("with an expired one", TlsClient::default().identity(&world.expired)),
    ];
    let mut targets: Vec<Vec<u8>> = spellings("/gate/").into_iter().map(|one| one.target).collect();
    targets.extend(spellings("/gate/live/day").into_iter().map(|one| one.target));
    targets.extend(ODD.map(|odd| odd.as_bytes().to_vec()));
    for target in &targets {
        let shown = target.escape_ascii().to_string();
        let mut answers: Vec<(&str, Option<Response>)> = clients
            .iter()
            .map(|(who, client)| {
                let mut connection = client.connect(farm.gate.https_addr(), HOST);
                (*who, connection.try_request("GET", target, &[], b"").ok())
            })
            .collect();
        answers.push(("over plain HTTP", farm.gate.http().try_request("GET", target, &[], b"").ok()));
        for (who, answer) in answers {
            let Some(answer) = answer else { continue };
            assert!(matches!(answer.status, 400 | 403 | 308 | 421), "{who}: {shown}: {}", answer.status);
            assert!(!answer.text().contains(MARK), "{who}: {shown}");
        }
    }
    assert_eq!(farm.cuirass.admin_requests(), Vec::<String>::new());

    // Nor does one with a good certificate lead to Cuirass: to the page, or nowhere.
    let mut shown = 0;
    for target in &targets {
        let answer = farm.gate.https_as(&world.good).try_request("GET", target, &[], b"");
        let Ok(answer) = answer else { continue };
        assert!(matches!(answer.status, 200 | 400 | 404 | 421), "{}", target.escape_ascii());
        assert_eq!(answer.status == 200, answer.text().contains(MARK), "{}", target.escape_ascii());
        shown += u32::from(answer.status == 200);
    }
    assert!(shown > 20, "{shown} of {} spellings", targets.len());
    assert_eq!(farm.cuirass.admin_requests(), Vec::<String>::new());
    // And what is beside it is Cuirass's, as ever.
    assert_eq!(farm.gate.https_as(&world.good).get("/admin/gates").status, 404);
    farm.cuirass.wait_for("/admin/gates");
}

#[test]
fn every_answer_is_for_the_one_who_asked_and_loads_nothing_from_elsewhere() {
    let farm = Farm::start();
    let mut admin = farm.gate.https_as(&farm.world.good_v3);
    let mut seen = Vec::new();
    for (method, target, status) in [
        ("GET", "/admin/gate/", 200),
        ("GET", "/admin/gate", 200),
        ("GET", "/admin/gate/week?x=%3Cscript%3E", 200),
        ("HEAD", "/admin/gate/", 200),
        ("GET", "/admin/gate/style.css", 200),
        ("GET", "/admin/gate/script.js", 200),
        ("GET", "/admin/gate/icon.svg", 200),
        ("GET", "/admin/gate/none", 404),
        ("GET", "/admin/gate/revoke/00", 503),
        ("PUT", "/admin/gate/", 405),
        ("DELETE", "/admin/gate/revoke/00", 405),
    ] {
        let response = admin.request(method, target, &[], b"");
        assert_eq!(response.status, status, "{method} {target}");
        assert_not_cacheable(&response);
        let header = |name: &str| response.header(name).unwrap_or_else(|| panic!("{target}: no {name}"));
        let policy = header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{target}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("referrer-policy"), "same-origin");
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(response.header("allow").is_some(), status == 405, "{method} {target}");
        seen.push((method, target, response));
    }
    let length = |at: usize| seen[at].2.header("content-length").and_then(|text| text.parse::<usize>().ok());
    assert!(seen[3].2.body.is_empty() && length(3).is_some_and(|length| length > 1000), "HEAD");
    assert!(seen[0].2.text().contains("There is no register of them here"));

    // A POST has to say where it is from, and that has to be here.
    for headers in
        [&[][..], &[("Origin", "https://evil.example")], &[ORIGIN, ("Sec-Fetch-Site", "cross-site")]]
    {
        assert_eq!(
            post(&mut farm.gate.https_as(&farm.world.good), "/admin/gate/revoke/00", headers, "x=y").status,
            403
        );
    }
    assert_eq!(post(&mut farm.gate.https_as(&farm.world.good), "/admin/gate/", &[ORIGIN], "x=y").status, 405);
    let long = "x".repeat(5000);
    let refused = post(&mut farm.gate.https_as(&farm.world.good), "/admin/gate/revoke/00", &[ORIGIN], &long);
    assert_eq!(refused.status, 413);

    // By curl, over HTTP/2, as anybody would try it first.
    let (certificate, key) =
        (farm.world.good.chain.display().to_string(), farm.world.good.key.display().to_string());
    let address = farm.gate.https_addr();
    let resolve = format!("{HOST}:{}:127.0.0.1", address.port());
    let url = format!("https://{HOST}:{}/admin/gate/", address.port());
    let with = curl(&["--resolve", &resolve, "--cert", &certificate, "--key", &key, &url]);
    assert!((with.status, with.version.as_str()) == (200, "2") && with.body.contains(MARK), "{with:?}");
    let without = curl(&["--resolve", &resolve, &url]);
    assert!(without.status == 403 && !without.body.contains(MARK), "{without:?}");
    let line = farm.gate.wait_for_access("https", "\"GET /admin/gate/ HTTP/2.0\" 200");
    assert!(line.contains(" alice ["), "{line}");
    assert_eq!(farm.cuirass.admin_requests(), Vec::<String>::new());
}

#[test]
fn it_is_below_the_configured_prefix_and_needs_no_ci() {
    let site = Site::new(HOST).publish(&format!("http://127.0.0.1:{}", free_port()));
    let gate = Config::new(site)
        .client_ca(&world().authority.cert)
        .set("admin.prefix", "\"/cuirass/admin\"")
        .start();
    let mut admin = gate.https_as(&world().good);
    let (status, page) = get(&mut admin, "/cuirass/admin/gate/");
    assert!(status == 200 && page.contains("href=\"/cuirass/admin/gate/style.css\""), "{page}");
    assert_eq!(get(&mut admin, "/cuirass/admin/gate/style.css").0, 200);
    // Where Cuirass would have its admin pages there is nobody.
    for target in ["/admin/gate/", "/cuirass/admin/", "/cuirass/admin/gates"] {
        assert_eq!(get(&mut admin, target).0, 404, "{target}");
    }
}

#[test]
fn a_revocation_is_asked_for_confirmed_and_counts_from_the_next_request_on() {
    let desk = Desk::with_ca();
    let (alice, bob) = (issue(&desk, "alice"), issue(&desk, "bob"));
    let mut admin = desk.farm.gate.https_as(&alice);
    let mut bobs = desk.farm.gate.https_as(&bob);
    let address = desk.farm.gate.https_addr();
    let mut bobs_h2 = H2::connect(&TlsClient::default().identity(&bob).fresh(), address, HOST);
    assert_eq!(get(&mut bobs, "/admin/gate/").0, 200);
    assert_eq!(bobs_h2.request("GET", HOST, b"/admin/gate/hour", &[], b"").status(), Some(200));

    let revoke = format!("/admin/gate/revoke/{}", bob.serial());
    let (status, overview) = get(&mut admin, "/admin/gate/");
    assert!(status == 200 && overview.contains(&format!("href=\"{revoke}\"")), "{overview}");
    let (status, asked) = get(&mut admin, &revoke);
    assert!(status == 200 && !asked.contains("you are using now"), "{asked}");
    assert!(
        get(&mut admin, &format!("/admin/gate/revoke/{}", alice.serial())).1.contains("you are using now")
    );
    let form = format!("token={}&reason=privilege-withdrawn", token(&asked));

    // Not from elsewhere, not with another's token, not with a GET.
    for (headers, form) in [
        (&[][..], form.as_str()),
        (&[("Sec-Fetch-Site", "same-origin")], &form),
        (&[("Origin", "null")], &form),
        (&[("Origin", "http://farm.example")], &form),
        (&[ORIGIN, ("Sec-Fetch-Site", "same-site")], &form),
        (&[ORIGIN, ("Referer", "https://evil.example/")], &form),
        (&[ORIGIN], "token=00&reason=superseded"),
        (&[ORIGIN], ""),
    ] {
        let refused = post(&mut desk.farm.gate.https_as(&alice), &revoke, headers, form);
        assert_eq!(refused.status, 403, "{headers:?} {form}");
    }
    let token_of_bob = get(&mut bobs, &revoke).1;
    let foreign = format!("token={}&reason=superseded", token(&token_of_bob));
    assert_eq!(post(&mut desk.farm.gate.https_as(&alice), &revoke, &[ORIGIN], &foreign).status, 403);
    assert_eq!(get(&mut admin, &format!("{revoke}?{form}")).0, 200);
    assert_eq!(get(&mut bobs, "/admin/gate/").0, 200, "nothing was revoked so far");

    let done = post(&mut admin, &revoke, &[ORIGIN, ("Sec-Fetch-Site", "same-origin")], &form);
    assert_eq!((done.status, done.header("location")), (303, Some(&*revoke.replace("revoke", "revoked"))));
    for target in ["/admin/gate/", "/admin/"] {
        let (status, text) = get(&mut bobs, target);
        assert!(status == 403 && text.contains("revoked"), "{target}: {text}");
        assert_eq!(bobs_h2.request("GET", HOST, target.as_bytes(), &[], b"").status(), Some(403));
    }
    let (status, told) = get(&mut admin, &revoke.replace("revoke", "revoked"));
    assert!(status == 200 && told.contains("privilege-withdrawn"), "{told}");
    assert!(!get(&mut admin, "/admin/gate/").1.contains(&revoke));
    // The same as the command does, and in the log.
    assert!(desk.ok(&["list"]).contains("(privilege-withdrawn)"));
    let line = desk.farm.gate.wait_for_stderr("was revoked");
    assert!(line.contains(&bob.serial()) && line.contains(&alice.serial()), "{line}");

    // The form is spent; and one's own certificate goes as any other, with a page that says why.
    assert_eq!(post(&mut admin, &revoke, &[ORIGIN], &form).status, 303);
    let own = format!("/admin/gate/revoke/{}", alice.serial());
    let form = format!("token={}&reason=unspecified", token(&get(&mut admin, &own).1));
    assert_eq!(post(&mut admin, &own, &[ORIGIN], &form).status, 303);
    assert_eq!(get(&mut admin, "/admin/gate/").0, 403);
    assert_eq!(desk.farm.cuirass.requests().iter().filter(|seen| seen.target.contains("gate")).count(), 0);
}

#[test]
fn who_is_revoked_while_an_act_waits_for_the_register_does_it_no_more() {
    let desk = Desk::with_ca();
    let (alice, bob) = (issue(&desk, "alice"), issue(&desk, "bob"));
    let revoke = format!("/admin/gate/revoke/{}", alice.serial());
    let mut bobs = desk.farm.gate.https_as(&bob);
    let form = format!("token={}&reason=superseded", token(&get(&mut bobs, &revoke).1));
    // The register as it is when bob has been revoked, to be put in place while he waits for it.
    let register = desk.state("register");
    let (before, after) = (desk.here("before"), desk.state("after"));
    fs::copy(&register, &before).expect("a register");
    desk.ok(&["revoke", "bob"]);
    fs::copy(&register, &after).expect("a register");
    fs::copy(&before, desk.state("as-before")).expect("a register");
    fs::rename(desk.state("as-before"), &register).expect("a register");
    assert_eq!(get(&mut bobs, "/admin/gate/").0, 200);

    let lock = fs::File::options().write(true).open(desk.state("register.lock")).expect("a lock");
    flock(&lock, FlockOperation::LockExclusive).expect("nobody else has it");
    let acting = std::thread::spawn(move || post(&mut bobs, &revoke, &[ORIGIN], &form).status);
    let open_files = format!("/proc/{}/fd", desk.farm.gate.pid());
    eventually_true("the act waits for the lock", || {
        let mut files = fs::read_dir(&open_files).expect("a process").flatten();
        files.any(|file| fs::read_link(file.path()).is_ok_and(|file| file.ends_with("register.lock")))
    });
    fs::rename(&after, &register).expect("a register");
    drop(lock);
    assert_eq!(acting.join().expect("an answer"), 403);
    assert_eq!(get(&mut desk.farm.gate.https_as(&alice), "/admin/gate/").0, 200, "alice was revoked");
}

#[test]
fn a_form_of_before_a_restart_is_not_accepted() {
    let mut desk = Desk::with_ca();
    let (alice, bob) = (issue(&desk, "alice"), issue(&desk, "bob"));
    let revoke = format!("/admin/gate/revoke/{}", bob.serial());
    let asked = get(&mut desk.farm.gate.https_as(&alice), &revoke).1;
    let form = format!("token={}&reason=unspecified", token(&asked));
    desk.restart_gate();
    assert_eq!(post(&mut desk.farm.gate.https_as(&alice), &revoke, &[ORIGIN], &form).status, 403);
    assert_eq!(get(&mut desk.farm.gate.https_as(&bob), "/admin/gate/").0, 200);
}

#[test]
fn errors_backends_and_the_last_reload_are_shown_with_nobodys_address() {
    let dead = format!("127.0.0.1:{}", free_port());
    let farm = Farm::with_site(
        |site| site.publish(&format!("http://{dead}")),
        |config| config.set("timeouts.backend_restart", "\"0s\""),
    );
    let mut admin = farm.gate.https_as(&farm.world.good);
    let (_, before) = get(&mut admin, "/admin/gate/");
    assert!(before.contains("None since the start.") && before.contains("not asked yet"), "{before}");

    let failed = farm.gate.http().get_with("/nix-cache-info", &[("X-Forwarded-For", "198.51.100.7")]);
    assert_eq!(failed.status, 502);
    let text = failed.text();
    let id = text.lines().find_map(|line| line.strip_prefix("id ")).expect("an id").to_owned();
    assert_eq!(farm.gate.https().get("/jobset/x").status, 200);
    let broken = farm.gate.config.clone().set("limits.bdy", "\"<1KiB>\"");
    farm.gate.rewrite(&broken);
    farm.gate.sighup();

    let page = eventually("all of it on the page", super::support::SOON, || {
        let (_, page) = get(&mut admin, "/admin/gate/");
        (page.contains("does not answer") && page.contains("refused")).then_some(page)
    });
    assert!(page.contains(&format!("<code>{id}</code>")), "{id} in {page}");
    assert!(
        page.contains("Bad gateway") && page.contains("nix-cache-info") && page.contains(&dead),
        "{page}"
    );
    assert!(page.contains("class=\"good\">answers"), "{page}");
    assert!(page.contains("&lt;1KiB&gt;") || page.contains("bdy"), "what the reload said: {page}");
    assert!(!page.contains("198.51.100.7"), "{page}");
    let without_backends = page.replace(&dead, "").replace(&farm.cuirass.addr().to_string(), "");
    assert!(!without_backends.contains("127.0.0.1"), "{without_backends}");
}

/// The requests in the last hour, as the table below the plot has them.
fn counted(connection: &mut Connection) -> u64 {
    let (status, page) = get(connection, "/admin/gate/live/hour");
    assert_eq!(status, 200);
    let (_, table) = page.split_once("id=\"requests-table\"").expect("a table");
    let (table, _) = table.split_once("</details>").expect("its end");
    let cells = table.split("</td></tr>").filter_map(|row| row.rsplit_once("<td>"));
    cells.filter_map(|(_, cell)| cell.replace('\u{202f}', "").parse::<u64>().ok()).sum()
}

#[test]
fn what_was_served_is_remembered_over_a_restart_and_kill_9_and_holds_no_address() {
    let mut desk = Desk::with_ca();
    let alice = issue(&desk, "alice");
    let file = desk.state("").with_file_name("history");
    let saved = |atleast: u64| -> String {
        eventually("a history on disk", super::support::SOON, || {
            let text = fs::read_to_string(&file).ok()?;
            let hour: u64 = text
                .lines()
                .skip_while(|line| !line.contains("\"hour\""))
                .skip(1)
                .take_while(|line| line.starts_with('['))
                .filter_map(|line| serde_json::from_str::<Vec<u64>>(line).ok())
                .map(|row| row[3..8].iter().sum::<u64>())
                .sum();
            (hour >= atleast).then_some(text)
        })
    };
    let ask = |desk: &Desk, count: usize| {
        let mut connection = desk.farm.gate.https();
        for _ in 0..count {
            assert_eq!(connection.get("/jobset/x").status, 200);
        }
    };
    ask(&desk, 120);
    saved(120);
    // Killed, it has what was written; what came after that is lost, and nothing is damaged.
    desk.kill_gate();
    let first = {
        let mut admin = desk.farm.gate.https_as(&alice);
        let first = counted(&mut admin);
        assert!(first >= 120, "{first} after kill -9");
        first
    };
    ask(&desk, 80);
    // Stopped in good order, it has everything.
    desk.restart_gate();
    let mut admin = desk.farm.gate.https_as(&alice);
    let second = counted(&mut admin);
    assert!(second >= first + 80, "{second} after {first} and a restart");
    assert!(!desk.farm.gate.stderr().iter().any(|line| line.contains("history")));

    // What there is in it: numbers. Whoever asked did so from 127.0.0.1.
    let text = saved(200);
    assert!(!text.contains("127.0.0.1") && !text.contains("alice") && !text.contains("jobset"), "{text}");
    assert!(text.len() < 64 * 1024, "{}", text.len());

    // Damaged, it is thrown away with a line, and the gate serves.
    drop(admin);
    assert_eq!(desk.farm.gate.sigterm_and_wait().code(), Some(0));
    fs::write(&file, &text[..text.len() / 2]).expect("damage the file");
    desk.start_gate();
    let line = desk.farm.gate.wait_for_stderr("history");
    assert!(line.contains("begins anew"), "{line}");
    assert_eq!(desk.farm.gate.stderr().iter().filter(|line| line.contains("history")).count(), 1);
    let mut admin = desk.farm.gate.https_as(&alice);
    assert!(counted(&mut admin) < 50);
    saved(1);
}

#[test]
fn the_figures_are_those_of_what_was_asked() {
    let farm = Farm::start();
    let mut client = farm.gate.http();
    for _ in 0..30 {
        assert_eq!(client.get(PRESENT).status, 200);
    }
    for _ in 0..10 {
        assert_eq!(client.get(MISSING).status, 404);
    }
    let mut admin = farm.gate.https_as(&farm.world.good);
    let page = eventually("a sample", super::support::SOON, || {
        let (_, page) = get(&mut admin, "/admin/gate/live/day");
        page.contains("75.0 %").then_some(page)
    });
    assert!(page.contains("<dt>Substitutes</dt><dd><b>75.0 %</b>"), "{page}");
    assert!(page.contains("<dt>Failed</dt><dd><b>0</b>"), "{page}");
    assert!(page.contains("nothing to show") && page.contains("There are gaps"), "{page}");
}
