//! Pebble, the CA that is made for tests, and its DNS.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::pki::Authority;
use crate::support::{SOON, eventually, free_port};

pub struct Pebble {
    folder: TempDir,
    port: u16,
    dns: u16,
    root: PathBuf,
    dns_server: Child,
    ca: Child,
}

/// What differs from Pebble's usual ways.
#[derive(Clone, Copy)]
pub struct Ways {
    /// Seconds that certificates are good for.
    pub validity: u32,
}

impl Default for Ways {
    fn default() -> Ways {
        Ways { validity: 90 * 86_400 }
    }
}

impl Pebble {
    /// Starts one that looks for challenges on `port`, whatever the name.
    pub fn start(challenge_port: u16, ways: Ways) -> Pebble {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new(&folder.path().join("ca"), "/CN=Root of Pebble's own certificate");
        let identity = authority.server("localhost");
        let (port, dns) = (free_port(), free_port());
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": "",
            "certificate": identity.chain,
            "privateKey": identity.key,
            "httpPort": challenge_port,
            "tlsPort": 1,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
            "certificateValidityPeriod": ways.validity,
        }});
        fs::write(folder.path().join("pebble.json"), config.to_string()).expect("write a configuration");
        let dns_server = Command::new("pebble-challtestsrv")
            .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-http01", "", "-https01", ""])
            .args(["-tlsalpn01", "", "-management", &format!("127.0.0.1:{}", free_port())])
            .args(["-dns01", &format!("127.0.0.1:{dns}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pebble-challtestsrv");
        let ca = run(folder.path(), dns);
        let pebble = Pebble { folder, port, dns, root: authority.cert, dns_server, ca };
        pebble.wait();
        pebble
    }

    pub fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// The root of the certificate that it shows itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// How many orders were made.
    pub fn orders(&self) -> usize {
        self.log().matches("Added order ").count()
    }

    pub fn stop(&mut self) {
        let _ = self.ca.kill();
        let _ = self.ca.wait();
    }

    /// Starts it again. It has forgotten everything.
    pub fn go_on(&mut self) {
        self.ca = run(self.folder.path(), self.dns);
        self.wait();
    }

    fn wait(&self) {
        eventually("Pebble's port", SOON, || TcpStream::connect(("127.0.0.1", self.port)).ok());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

fn run(folder: &Path, dns: u16) -> Child {
    let log = fs::File::create(folder.join("log")).expect("a log");
    Command::new("pebble")
        .arg("-config")
        .arg(folder.join("pebble.json"))
        .args(["-dnsserver", &format!("127.0.0.1:{dns}")])
        .env("PEBBLE_VA_NOSLEEP", "1")
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .expect("pebble")
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in [&mut self.dns_server, &mut self.ca] {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- Pebble\n{}", self.log());
        }
    }
}
