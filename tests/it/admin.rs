//! `farmgate admin` from the first command to the last, beside a gate that is running. The outside judge is openssl.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustls::HandshakeKind;
use tempfile::TempDir;

use super::support::config::{Config, HOST};
use super::support::farm::Farm;
use super::support::gate::BINARY;
use super::support::h2::H2;
use super::support::http1::{Connection, Response};
use super::support::pki::{Authority, Identity, Kind, scratch};
use super::support::tls::TlsClient;
use super::support::{eventually_true, output, run};

/// A farm whose gate goes by its own CA, and the folder in which its operator types.
pub(super) struct Desk {
    pub(super) farm: Farm,
    folder: TempDir,
}

impl Desk {
    /// There is no CA yet.
    pub(super) fn new() -> Desk {
        Desk::with(|config| config)
    }

    pub(super) fn with(change: impl FnOnce(Config) -> Config) -> Desk {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        let farm = Farm::with(|config| change(Desk::configured(config, &state)));
        Desk::at(farm, folder)
    }

    pub(super) fn at(farm: Farm, folder: TempDir) -> Desk {
        fs::create_dir(folder.path().join("here")).expect("a folder to type in");
        Desk { farm, folder }
    }

    /// The state outlives the gate; the client CA is the one that `admin init` makes.
    pub(super) fn configured(config: Config, state: &Path) -> Config {
        config.set("paths.state", &format!("{:?}", state.display().to_string())).without("admin.client_ca")
    }

    /// There is a CA, and the gate has taken it up by itself.
    pub(super) fn with_ca() -> Desk {
        let desk = Desk::new();
        desk.ok(&["init"]);
        desk.wait_until_open();
        desk
    }

    pub(super) fn wait_until_open(&self) {
        eventually_true("the gate takes the CA up", || self.status().contains("open to certificate holders"));
    }

    pub(super) fn state(&self, file: &str) -> PathBuf {
        self.folder.path().join("state/admin").join(file)
    }

    fn ca(&self) -> PathBuf {
        self.state("ca.crt")
    }

    pub(super) fn here(&self, file: &str) -> PathBuf {
        self.folder.path().join("here").join(file)
    }

    /// `farmgate admin …`, typed by the operator.
    fn admin(&self, arguments: &[&str]) -> Output {
        admin_in(&self.here(""), self.farm.gate.config_path(), arguments)
    }

    /// The same; it must succeed. Its stdout.
    pub(super) fn ok(&self, arguments: &[&str]) -> String {
        succeeded(&self.admin(arguments), arguments)
    }

    /// The same; it must fail with this status. Its stderr.
    fn fails(&self, status: i32, arguments: &[&str]) -> String {
        let output = self.admin(arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {}", said(&output));
        assert!(output.stdout.is_empty(), "{arguments:?}: {}", said(&output));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// `farmgate admin issue`; what openssl finds in the .p12.
    pub(super) fn issue(&self, name: &str) -> Identity {
        let password = password(&self.ok(&["issue", name]));
        unpack(&self.here(&format!("{name}.p12")), &password)
    }

    fn status(&self) -> String {
        succeeded(&self.farm.gate.command(&["status"]), &["status"])
    }

    fn check(&self) -> String {
        succeeded(&self.farm.gate.command(&["check"]), &["check"])
    }

    fn list(&self) -> Vec<serde_json::Value> {
        serde_json::from_str(&self.ok(&["list", "--json"])).expect("a list in JSON")
    }

    /// The status and the words of the admin page, on a new connection with nothing to resume.
    fn admin_page(&self, identity: &Identity) -> (u16, String) {
        page(&mut self.farm.gate.https_as(identity))
    }

    /// Stops the gate, and starts another one with the same state.
    pub(super) fn restart_gate(&mut self) {
        assert_eq!(self.farm.gate.sigterm_and_wait().code(), Some(0));
        self.start_gate();
    }

    /// The same with `kill -9`.
    pub(super) fn kill_gate(&mut self) {
        self.farm.gate.signal("KILL");
        self.farm.gate.wait_for_exit();
        self.start_gate();
    }

    /// Another one in place of one that has ended.
    pub(super) fn start_gate(&mut self) {
        self.farm.gate = self.farm.gate.config.clone().start();
    }
}

fn admin_in(folder: &Path, config: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    output(command.current_dir(folder).arg("admin").args(arguments).arg("--config").arg(config))
}

fn succeeded(output: &Output, arguments: &[&str]) -> String {
    assert!(output.status.success(), "{arguments:?}: {}", said(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}

fn page(connection: &mut Connection) -> (u16, String) {
    let Response { status, body, .. } = connection.get_with("/admin", &[("Accept", "text/html")]);
    (status, String::from_utf8_lossy(&body).to_lowercase())
}

/// The password that `issue` and `bundle` show once.
pub(super) fn password(stdout: &str) -> String {
    let shown = stdout.lines().find_map(|line| line.strip_prefix("Password: "));
    shown.unwrap_or_else(|| panic!("no password in {stdout:?}")).to_owned()
}

/// Has openssl take a .p12 apart, into PEM files beside it.
fn unpack(p12: &Path, password: &str) -> Identity {
    let identity = Identity { chain: p12.with_extension("pem"), key: p12.with_extension("key.pem") };
    for (what, into) in [("-nokeys", &identity.chain), ("-nocerts", &identity.key)] {
        let mut openssl = Command::new("openssl");
        openssl.args(["pkcs12", "-noenc", what, "-passin"]).arg(format!("pass:{password}"));
        run(openssl.arg("-in").arg(p12).arg("-out").arg(into));
    }
    identity
}

fn verify(ca: &Path, certificate: &Path, options: &[&str]) -> Output {
    let mut openssl = Command::new("openssl");
    openssl.args(["verify", "-purpose", "sslclient", "-CAfile"]).arg(ca);
    output(openssl.args(options).arg(certificate))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode()
        & 0o7777
}

#[test]
fn a_certificate_opens_the_gate_until_it_is_revoked_and_then_nowhere_any_more() {
    let mut desk = Desk::new();
    assert_eq!(desk.farm.gate.https().get("/admin").status, 403);
    desk.ok(&["init"]);
    // The gate is not told.
    desk.wait_until_open();

    let mut revoked = Vec::new();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let name = format!("alice {version:?}");
        let alice = desk.issue(&name);
        let client = TlsClient::only(version).identity(&alice);
        let address = desk.farm.gate.https_addr();
        let mut open = client.connect(address, HOST);
        assert_eq!(page(&mut open), (200, "<h1>admin</h1>".into()));
        let mut open_h2 = H2::connect(&client.clone().fresh(), address, HOST);
        assert_eq!(open_h2.request("GET", HOST, b"/admin", &[], b"").status(), Some(200));

        assert!(desk.ok(&["revoke", &name]).contains("revoked"));
        let (status, text) = page(&mut open);
        assert_eq!(status, 403, "{version:?}: the connection that was open");
        assert!(text.contains("revoked"), "{text}");
        assert_eq!(open.get("/jobset/x").status, 200, "public pages, on the same connection");
        let h2 = open_h2.request("GET", HOST, b"/admin", &[], b"").status();
        assert_eq!(h2, Some(403), "{version:?}: the HTTP/2 connection that was open");
        assert_eq!(open_h2.request("GET", HOST, b"/jobset/x", &[], b"").status(), Some(200));

        let mut resumed = client.connect(address, HOST);
        assert_eq!(resumed.get("/admin").status, 403, "{version:?}: a resumed session");
        assert_eq!(resumed.tls().handshake_kind(), Some(HandshakeKind::Resumed), "{version:?}");
        assert_eq!(resumed.get("/jobset/x").status, 200);

        let mut fresh = client.fresh().connect(address, HOST);
        assert_eq!(fresh.get("/admin").status, 403, "{version:?}: a new connection");
        assert_eq!(fresh.tls().handshake_kind(), Some(HandshakeKind::Full), "{version:?}");
        revoked.push(alice);
    }
    assert_eq!(desk.farm.gate.stderr().iter().filter(|line| line.contains("reload")).count(), 0);

    desk.restart_gate();
    for alice in &revoked {
        let (status, text) = desk.admin_page(alice);
        assert_eq!(status, 403, "after a restart");
        assert!(text.contains("revoked"), "{text}");
    }
    // And the gate is open to others.
    let bob = desk.issue("bob");
    assert_eq!(desk.admin_page(&bob).0, 200);
}

#[test]
fn a_revocation_hits_one_certificate_and_leaves_the_others() {
    let desk = Desk::with_ca();
    let (old, bob) = (desk.issue("alice").renamed("old"), desk.issue("bob"));
    fs::remove_file(desk.here("alice.p12")).expect("it was imported");
    let mut old_open = desk.farm.gate.https_as(&old);
    let new = desk.issue("alice");
    assert_ne!(old.serial(), new.serial());
    assert_eq!(page(&mut old_open).0, 200);

    desk.ok(&["revoke", &old.serial(), "--reason", "superseded"]);
    assert_eq!(page(&mut old_open).0, 403);
    assert_eq!(desk.admin_page(&new).0, 200);
    assert_eq!(desk.admin_page(&bob).0, 200);

    let list = desk.list();
    let state_of = |identity: &Identity| {
        let row = list.iter().find(|row| row["serial"] == identity.serial());
        row.map(|row| (row["name"].to_string(), row["state"].to_string()))
    };
    assert_eq!(state_of(&old), Some(("\"alice\"".into(), "\"revoked\"".into())));
    assert_eq!(state_of(&new), Some(("\"alice\"".into(), "\"valid\"".into())));
    assert_eq!(state_of(&bob), Some(("\"bob\"".into(), "\"valid\"".into())));
    let table = desk.ok(&["list"]);
    assert!(table.contains("(superseded)") && table.contains("LAST SEEN"), "{table}");

    // The list for others says the same, to openssl.
    let (ca, crl) = (desk.ca(), desk.state("ca.crl").display().to_string());
    let with_list = ["-crl_check", "-CRLfile", &crl];
    assert!(verify(&ca, &new.chain, &with_list).status.success());
    let refused = verify(&ca, &old.chain, &with_list);
    assert!(!refused.status.success() && said(&refused).contains("revoked"), "{}", said(&refused));
}

#[test]
fn a_key_that_never_left_its_owner_s_machine_opens_the_gate() {
    let desk = Desk::with_ca();
    let home = tempfile::tempdir().expect("the machine of an administrator");
    let at_home = |file: &str| home.path().join(file);
    // There is no configuration on that machine.
    let type_at_home = |arguments: &[&str]| {
        succeeded(&admin_in(home.path(), &at_home("no such.toml"), arguments), arguments)
    };

    let told = type_at_home(&["request", "Zoë B."]);
    assert!(told.contains("farmgate admin issue --csr"), "{told}");
    let request = run(Command::new("openssl")
        .args(["req", "-verify", "-noout", "-subject", "-nameopt", "utf8", "-in"])
        .arg(at_home("Zoë B..csr")));
    assert!(request.contains("CN = Zoë B.") || request.contains("CN=Zoë B."), "{request}");
    assert_eq!(mode(&at_home("Zoë B..key")), 0o600);

    fs::copy(at_home("Zoë B..csr"), desk.here("from-mail.csr")).expect("send the request");
    desk.ok(&["issue", "--csr", "from-mail.csr"]);
    assert_eq!(fs::read_dir(desk.here("")).expect("a folder").count(), 2, "a request and a certificate");
    let verified = verify(&desk.ca(), &desk.here("Zoë B..crt"), &["-x509_strict"]);
    assert!(verified.status.success(), "{}", said(&verified));

    fs::copy(desk.here("Zoë B..crt"), at_home("Zoë B..crt")).expect("send the certificate");
    let zoe = unpack(&at_home("Zoë B..p12"), &password(&type_at_home(&["bundle", "Zoë B."])));
    assert_eq!(desk.admin_page(&zoe).0, 200);
    let seen = desk.farm.cuirass.wait_for("/admin");
    assert_eq!(seen.header("X-Client-Cert-CN"), Some("Zo%C3%AB%20B."));
    assert_eq!(seen.header("X-Client-Cert-Serial"), Some(zoe.serial().as_str()));

    desk.ok(&["revoke", "Zoë B.", "--reason", "key-compromise"]);
    assert_eq!(desk.admin_page(&zoe).0, 403);
    // The same key again, from the same request.
    fs::remove_file(desk.here("Zoë B..crt")).expect("remove");
    let refused = desk.fails(2, &["issue", "--csr", "from-mail.csr"]);
    assert!(refused.contains("compromised"), "{refused}");
}

#[test]
fn requests_as_openssl_makes_them_are_signed_and_bad_ones_refused_with_the_reason() {
    let desk = Desk::with_ca();
    let openssl =
        |arguments: &[&str]| run(Command::new("openssl").current_dir(desk.here("")).args(arguments));
    openssl(&[
        "req",
        "-newkey",
        "rsa:2048",
        "-noenc",
        "-subj",
        "/O=Elsewhere/CN=carol",
        "-addext",
        "basicConstraints=critical,CA:TRUE",
        "-keyout",
        "carol.key",
        "-out",
        "carol.csr",
    ]);
    desk.ok(&["issue", "--csr", "carol.csr"]);
    let text = openssl(&["x509", "-in", "carol.crt", "-noout", "-text"]);
    assert!(text.contains("CA:FALSE") && !text.contains("CA:TRUE") && !text.contains("Elsewhere"), "{text}");
    let carol = Identity { chain: desk.here("carol.crt"), key: desk.here("carol.key") };
    assert_eq!(desk.admin_page(&carol).0, 200);

    openssl(&[
        "req", "-newkey", "rsa:1024", "-noenc", "-subj", "/CN=dan", "-keyout", "k", "-out", "weak.csr",
    ]);
    assert!(desk.fails(1, &["issue", "--csr", "weak.csr"]).contains("1024 bits"));
    let pem = fs::read_to_string(desk.here("carol.csr")).expect("a request");
    let mut der = openssl_der(&desk, "carol.csr");
    let last = der.len() - 1;
    der[last] ^= 1;
    fs::write(desk.here("forged.csr"), der).expect("write");
    assert!(desk.fails(1, &["issue", "--csr", "forged.csr"]).contains("not signed with its own key"));
    fs::write(desk.here("cut.csr"), &pem[..pem.len() / 2]).expect("write");
    assert!(desk.fails(1, &["issue", "--csr", "cut.csr"]).contains("expected a certificate request"));
    assert!(desk.fails(1, &["issue", "--csr", "carol.key"]).contains("this is a private key"));
    assert_eq!(desk.list().len(), 1, "nothing but carol's was recorded");
}

fn openssl_der(desk: &Desk, request: &str) -> Vec<u8> {
    run(Command::new("openssl")
        .current_dir(desk.here(""))
        .args(["req", "-outform", "DER", "-out", "x.der", "-in", request]));
    fs::read(desk.here("x.der")).expect("a request in DER")
}

#[test]
fn what_cuirass_s_script_issued_passes_after_the_import_and_so_does_what_is_issued_next() {
    let subject = "/C=DE/ST=Berlin/L=Berlin/O=GNU Guix/OU=Cuirass/CN=Cuirass CA";
    let script = Authority::new(&scratch("ssl-ca"), subject);
    let (old, lost) = (script.issue("alice", Kind::V1), script.issue("mallory", Kind::V1));
    let desk = Desk::new();
    let (cert, key) = (script.cert.display().to_string(), script.key.display().to_string());
    desk.ok(&["init", "--import", &cert, &key]);
    desk.wait_until_open();
    assert_eq!(desk.admin_page(&old).0, 200);
    let new = desk.issue("bob");
    assert_eq!(desk.admin_page(&new).0, 200);
    let verified = verify(&script.cert, &new.chain, &[]);
    assert!(verified.status.success(), "{}", said(&verified));

    // One from before is not in the register, and can be revoked all the same.
    let mut open = desk.farm.gate.https_as(&lost);
    assert_eq!(page(&mut open).0, 200);
    let refused = desk.fails(1, &["revoke", &lost.serial()]);
    assert!(refused.contains(&lost.serial()), "{refused}");
    desk.ok(&["revoke", &lost.serial(), "--unlisted"]);
    assert_eq!(page(&mut open).0, 403);
    assert_eq!(desk.admin_page(&old).0, 200);
    assert_eq!(desk.admin_page(&new).0, 200);
}

#[test]
fn lists_of_others_count_when_their_file_changes_beside_our_own_revocations() {
    let script = Authority::new(&scratch("external"), "/O=GNU Guix/CN=External");
    let (kept, lost) = (script.issue("kept", Kind::V1), script.issue("lost", Kind::V1));
    let list = script.revoke(&script.issue("somebody", Kind::V1));
    let desk = Desk::with(|config| config.set("admin.crl", &format!("[{:?}]", list.display().to_string())));
    let (cert, key) = (script.cert.display().to_string(), script.key.display().to_string());
    desk.ok(&["init", "--import", &cert, &key]);
    desk.wait_until_open();
    let ours = desk.issue("ours");
    let mut open = desk.farm.gate.https_as(&lost);
    assert_eq!(page(&mut open).0, 200);

    script.revoke(&lost);
    eventually_true("the new list counts on the open connection", || page(&mut open).0 == 403);
    assert!(page(&mut open).1.contains("revoked"));
    assert_eq!(desk.admin_page(&kept).0, 200);
    assert_eq!(desk.admin_page(&ours).0, 200);
    desk.ok(&["revoke", "ours"]);
    assert_eq!(desk.admin_page(&ours).0, 403);

    // Past its date it still counts, and that is said.
    script.list_with_dates("20200101000000Z", "20210101000000Z");
    desk.farm.gate.wait_for_stderr("was due for an update");
    let check = desk.check();
    assert!(check.contains("warning: ") && check.contains("was due for an update"), "{check}");
    assert_eq!(page(&mut open).0, 403);
    assert_eq!(desk.admin_page(&kept).0, 200);

    // Unreadable it closes the gate.
    fs::write(&list, "garbage\n").expect("write");
    eventually_true("the gate closes", || desk.admin_page(&kept).0 == 403);
    for told in [desk.check(), desk.status()] {
        assert!(told.contains("closed: ") && told.contains("BEGIN X509 CRL"), "{told}");
    }
    script.list_with_dates("20260101000000Z", "20990101000000Z");
    eventually_true("the gate opens", || desk.admin_page(&kept).0 == 200);
    assert_eq!(page(&mut open).0, 403);
}

#[test]
fn a_damaged_register_closes_the_gate_at_once_and_everything_says_why() {
    let desk = Desk::with_ca();
    let (alice, bob) = (desk.issue("alice"), desk.issue("bob"));
    desk.ok(&["revoke", "bob"]);
    let mut open = desk.farm.gate.https_as(&alice);
    assert_eq!(page(&mut open).0, 200);
    let register = desk.state("register");
    let whole = fs::read_to_string(&register).expect("the register");

    let forgetful = whole.replace(",\"revoked\":{", ",\"removed\":{");
    assert_ne!(forgetful, whole);
    let without_its_end = whole[..whole.len() - 10].to_owned();
    for (damaged, why) in
        [(Some(forgetful), "checksum"), (Some(without_its_end), "cut off"), (None, "missing")]
    {
        match &damaged {
            Some(text) => fs::write(&register, text).expect("write"),
            None => fs::remove_file(&register).expect("remove"),
        }
        let (status, text) = page(&mut open);
        assert_eq!(status, 403, "{why}");
        assert!(text.contains("closed") && text.contains("farmgate check"), "{text}");
        assert_eq!(open.get("/jobset/x").status, 200, "public pages, on the same connection");
        assert_eq!(desk.admin_page(&bob).0, 403, "{why}");
        let named = register.display().to_string();
        for told in [desk.check(), desk.status(), desk.fails(1, &["list"])] {
            assert!(told.contains(why) && told.contains(&named), "{why}: {told}");
        }
        for arguments in [&["issue", "carol"][..], &["revoke", "alice"]] {
            let told = desk.fails(1, arguments);
            assert!(told.contains(why), "{arguments:?}: {told}");
        }
        assert!(!desk.here("carol.p12").exists());
        match &damaged {
            Some(text) => assert_eq!(&fs::read_to_string(&register).expect("it"), text, "nobody repaired it"),
            None => assert!(!register.exists(), "nobody made a new one"),
        }
    }
    fs::write(&register, whole).expect("restore");
    assert_eq!(page(&mut open).0, 200);
    assert_eq!(desk.admin_page(&bob).0, 403);
}

#[test]
fn a_gate_that_starts_with_a_damaged_register_is_closed_and_serves_the_rest() {
    let mut desk = Desk::with_ca();
    let alice = desk.issue("alice");
    fs::write(desk.state("register"), "").expect("write");
    desk.restart_gate();
    desk.farm.gate.wait_for_stderr("/admin is closed");
    assert_eq!(desk.admin_page(&alice).0, 403);
    assert_eq!(desk.farm.gate.https().get("/jobset/x").status, 200);
}

#[test]
fn nothing_is_overwritten_and_the_exit_status_says_whose_fault_it_is() {
    let desk = Desk::with_ca();
    desk.issue("alice");
    let before = fs::read(desk.ca()).expect("the CA");
    let listed = desk.list();
    fs::write(desk.here("empty"), "\n").expect("write");
    fs::write(desk.here("request.csr"), "nonsense").expect("write");
    // 1: the state of things. 2: the command line.
    for (status, arguments, hint) in [
        (1, &["init"][..], "there is a CA already"),
        (1, &["init", "--import", "alice.pem", "alice.key.pem"], "there is a CA already"),
        (1, &["issue", "alice"], "not overwritten"),
        (1, &["issue", "--csr", "missing.csr"], "missing.csr"),
        (1, &["issue", "--csr", "request.csr"], "expected a certificate request"),
        (1, &["issue", "bob", "--password-file", "empty"], "the password is empty"),
        (1, &["bundle", "nobody"], "nobody.key"),
        (1, &["revoke", "alicia"], "there is alice"),
        (2, &["issue", "../alice"], "slash"),
        (2, &["issue", ""], "empty"),
        (2, &["issue", "al\u{202e}ice"], "cannot be seen"),
        (2, &["request", ".hidden"], "dot"),
        (2, &["bundle", "a/b"], "slash"),
        (2, &["issue", "bob", "--days", "0"], "at least 1"),
        (2, &["issue", "bob", "--key-type", "dsa"], "p256"),
        (2, &["issue"], "NAME"),
        (2, &["issue", "--csr", "request.csr", "--legacy"], "--legacy"),
        (2, &["revoke", "alice", "--reason", "boredom"], "key-compromise"),
        (2, &["revoke"], "NAME|SERIAL"),
        (2, &["init", "--import", "alice.pem"], "KEY"),
    ] {
        let told = desk.fails(status, arguments);
        assert!(told.contains(hint), "{arguments:?}: {hint:?} in\n{told}");
    }
    assert_eq!(fs::read(desk.ca()).expect("the CA"), before);
    assert_eq!(desk.list(), listed, "nothing was issued or revoked");

    let without = Desk::new();
    for arguments in [&["issue", "alice"][..], &["revoke", "alice"], &["list"]] {
        let told = without.fails(1, arguments);
        assert!(told.contains("farmgate admin init"), "{told}");
    }
}

#[test]
fn files_are_nobody_else_s_whatever_the_umask() {
    let desk = Desk::new();
    for arguments in ["init", "issue alice", "request bob", "issue --csr bob.csr", "bundle bob", "revoke bob"]
    {
        let line = format!("umask 0; exec \"$1\" admin {arguments} --config \"$2\"");
        let mut shell = Command::new("sh");
        shell.current_dir(desk.here("")).args(["-c", &line, "sh", BINARY]);
        run(shell.arg(desk.farm.gate.config_path()));
    }
    desk.wait_until_open();
    let folder = desk.state("");
    assert_eq!(mode(folder.parent().expect("the state folder")), 0o700);
    assert_eq!(mode(&folder), 0o700);
    for (file, expected) in [
        ("ca.key", 0o600),
        ("register", 0o600),
        ("register.lock", 0o600),
        ("ca.crt", 0o644),
        ("ca.crl", 0o644),
    ] {
        assert_eq!(mode(&desk.state(file)), expected, "{file}");
    }
    for (file, expected) in
        [("alice.p12", 0o600), ("bob.p12", 0o600), ("bob.key", 0o600), ("bob.csr", 0o644), ("bob.crt", 0o644)]
    {
        assert_eq!(mode(&desk.here(file)), expected, "{file}");
    }
    // Nothing is left lying about.
    let mut left: Vec<_> = fs::read_dir(desk.here(""))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().display().to_string())
        .collect();
    left.sort();
    assert_eq!(left, ["alice.p12", "bob.crt", "bob.csr", "bob.key", "bob.p12"]);
}

#[test]
fn the_list_tells_the_day_of_the_last_visit_after_a_restart_too() {
    let mut desk = Desk::with_ca();
    let alice = desk.issue("alice");
    desk.issue("bob");
    assert_eq!(desk.admin_page(&alice).0, 200);
    desk.restart_gate();
    let list = desk.list();
    let last_seen = |name: &str| {
        let row = list.iter().find(|row| row["name"] == name);
        row.map(|row| row["last_seen"].clone()).unwrap_or_default()
    };
    let today = run(Command::new("date").args(["-u", "+%F"]));
    assert_eq!(last_seen("alice"), today.trim());
    assert!(last_seen("bob").is_null(), "{list:?}");
    let kept = fs::read_to_string(desk.state("last-seen")).expect("what was seen");
    assert!(!kept.contains("127.0.0.1"), "{kept}");
}
