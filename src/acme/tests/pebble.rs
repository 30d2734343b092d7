//! Pebble, the CA that is made for tests, and its DNS.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::super::settings::Directory;
use super::support::{Host, directory, eventually, server_identity};

pub struct Pebble {
    folder: TempDir,
    port: u16,
    dns_management: u16,
    children: Vec<Child>,
}

/// What differs from Pebble's usual ways.
#[derive(Clone, Copy)]
pub struct Ways {
    /// Good nonces that are refused, in percent.
    pub nonces_refused: u8,
    /// Seconds that certificates are good for.
    pub validity: u32,
    /// Whether accounts have to be bound to another one.
    pub eab: bool,
    /// How often a name that was validated before is not validated again, in percent.
    pub authorizations_reused: u8,
    /// Seconds within which it looks at some time; 0 is at once.
    pub takes_its_time: u8,
    /// Whether it believes everything and looks at nothing.
    pub believes: bool,
    /// Certificates in a chain, the leaf not among them, the root neither.
    pub intermediates: u8,
    /// Whether it insists on what the next version will insist on.
    pub strict: bool,
}

impl Default for Ways {
    fn default() -> Self {
        Self {
            nonces_refused: 5,
            validity: 90 * 86_400,
            eab: false,
            authorizations_reused: 50,
            takes_its_time: 0,
            believes: false,
            intermediates: 1,
            strict: false,
        }
    }
}

pub const EAB_KID: &str = "kid-1";
pub const EAB_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

impl Pebble {
    /// Starts one that looks for the challenges of `host`.
    pub fn start(host: &Host, ways: Ways) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let identity = server_identity();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("root.pem"), identity.root).unwrap();
        fs::write(path("cert.pem"), identity.chain).unwrap();
        fs::write(path("key.pem"), identity.key).unwrap();
        let (port, management, dns, dns_management) = (free_port(), free_port(), free_port(), free_port());
        let mut config = serde_json::json!({
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": path("cert.pem"),
            "privateKey": path("key.pem"),
            "httpPort": host.port_80.port(),
            "tlsPort": 1,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": ways.eab,
            "certificateValidityPeriod": ways.validity,
        });
        if ways.eab {
            config["externalAccountMACKeys"] = serde_json::json!({ EAB_KID: EAB_KEY });
        }
        fs::write(path("pebble.json"), serde_json::json!({ "pebble": config }).to_string()).unwrap();
        let log = |name: &str| Stdio::from(fs::File::create(path(name)).unwrap());
        let dns_server = Command::new("pebble-challtestsrv")
            .args([
                "-defaultIPv4",
                "127.0.0.1",
                "-defaultIPv6",
                "",
                "-http01",
                "",
                "-https01",
                "",
                "-tlsalpn01",
                "",
            ])
            .args([
                "-dns01",
                &format!("127.0.0.1:{dns}"),
                "-management",
                &format!("127.0.0.1:{dns_management}"),
            ])
            .stdout(log("dns.out"))
            .stderr(log("dns.log"))
            .spawn()
            .expect("these tests need pebble-challtestsrv: apt-get install pebble");
        let switch = |on: bool| if on { "1" } else { "0" };
        let ca = Command::new("pebble")
            .args(["-config".as_ref(), path("pebble.json").as_os_str()])
            .args(["-dnsserver", &format!("127.0.0.1:{dns}")])
            .args(ways.strict.then_some("-strict"))
            .env("PEBBLE_VA_NOSLEEP", switch(ways.takes_its_time == 0))
            .env("PEBBLE_VA_SLEEPTIME", ways.takes_its_time.max(1).to_string())
            .env("PEBBLE_VA_ALWAYS_VALID", switch(ways.believes))
            .env("PEBBLE_WFE_NONCEREJECT", ways.nonces_refused.to_string())
            .env("PEBBLE_AUTHZREUSE", ways.authorizations_reused.to_string())
            .env("PEBBLE_CHAIN_LENGTH", ways.intermediates.to_string())
            .stdout(log("pebble.out"))
            .stderr(log("pebble.log"))
            .spawn()
            .expect("these tests need pebble: apt-get install pebble");
        for port in [port, dns_management] {
            eventually("Pebble's ports", 20, || TcpStream::connect(("127.0.0.1", port)).ok());
        }
        Self { folder, port, dns_management, children: vec![dns_server, ca] }
    }

    pub fn directory(&self) -> Directory {
        directory(format!("https://localhost:{}/dir", self.port), &self.root())
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("pebble.out")).unwrap_or_default()
            + &fs::read_to_string(self.folder.path().join("pebble.log")).unwrap_or_default()
    }

    /// How many orders were made.
    pub fn orders(&self) -> usize {
        self.log().matches("Added order ").count()
    }

    /// From now on `name` leads to where nobody is.
    pub fn mislead(&self, name: &str) {
        self.dns("add-a", &serde_json::json!({ "host": format!("{name}."), "addresses": ["127.0.0.99"] }));
    }

    /// And here again.
    pub fn lead_back(&self, name: &str) {
        self.dns("clear-a", &serde_json::json!({ "host": format!("{name}.") }));
    }

    fn dns(&self, what: &str, body: &serde_json::Value) {
        let status = Command::new("curl")
            .args(["-sS", "--fail", "--data", &body.to_string()])
            .arg(format!("http://127.0.0.1:{}/{what}", self.dns_management))
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- Pebble\n{}", self.log());
        }
    }
}

/// A port of loopback that nobody has, for a peer that cannot be given port 0. It is one that the system gives to nobody who asks
/// for any (`ip_local_port_range`): between this look and the peer's, no other test's connection takes it.
fn free_port() -> u16 {
    loop {
        let port = 20_000 + (RandomState::new().hash_one(std::process::id()) % 12_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
