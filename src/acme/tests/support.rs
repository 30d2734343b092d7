//! A state folder, a challenge server, and a manager that is in a hurry.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use super::super::attempt::Failed;
use super::super::certificate::Facts;
use super::super::engine::Engine;
use super::super::settings::{Directory, Settings, Site, Timings};
use super::super::{Challenges, Loaded, Manager, SiteReport, respond};
use crate::config::KeyType;
use crate::tls::Pair;

/// How long what should happen soon may take. Stretched like those of the tests with the program.
pub fn patience(seconds: u64) -> Duration {
    let factor = std::env::var("FARMGATE_TEST_PATIENCE").ok().and_then(|text| text.parse::<f64>().ok());
    Duration::from_secs(seconds).mul_f64(factor.unwrap_or(1.0))
}

/// Waits until `probe` gives something.
pub fn eventually<T>(what: &str, seconds: u64, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + patience(seconds);
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A server's key and certificate for `localhost` and 127.0.0.1, and the root to trust for it; all PEM.
pub struct ServerIdentity {
    pub root: String,
    pub chain: String,
    pub key: String,
}

pub fn server_identity() -> ServerIdentity {
    let ca_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&ca_key).unwrap().pem();
    let ca = Issuer::new(params, ca_key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let chain = params.signed_by(&key, &ca).unwrap().pem();
    ServerIdentity { root, chain, key: key.serialize_pem() }
}

/// A state folder and what belongs to it. A restart is to drop the manager and start another one here.
pub struct Host {
    pub state: TempDir,
    pub challenges: Arc<Challenges>,
    pub port_80: SocketAddr,
    pub seen: Arc<Mutex<Vec<(String, Pair)>>>,
    pub runtime: tokio::runtime::Runtime,
}

impl Host {
    pub fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        let challenges = Arc::new(Challenges::new(state.path()));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let port_80 = listener.local_addr().unwrap();
        // Another set of answers over the same folder: as another gate, or this one restarted, would give them.
        runtime.spawn(respond(listener, Arc::new(Challenges::new(state.path()))));
        Self { state, challenges, port_80, seen: Arc::default(), runtime }
    }

    pub fn settings(&self, directories: Vec<Directory>, names: &[&str]) -> Settings {
        Settings {
            state: self.state.path().to_owned(),
            directories,
            contact: vec!["admin@example.org".into()],
            key_type: KeyType::P256,
            sites: vec![site(names)],
            challenge_port: self.port_80.port(),
            challenge_port_is_ours: true,
            timings: hurried(),
        }
    }

    pub fn manager(&self, settings: &Settings) -> Manager {
        let seen = self.seen.clone();
        let callback = move |site: &str, pair: Pair| seen.lock().unwrap().push((site.to_owned(), pair));
        Manager::start(settings.clone(), self.challenges.clone(), Arc::new(callback)).unwrap()
    }

    pub fn engine(&self, settings: &Settings) -> Engine {
        Engine::new(settings.clone(), self.challenges.clone())
    }

    /// One try for the first site, with its steps.
    pub fn attempt(&self, settings: &Settings, asked: bool) -> (Result<Loaded, Failed>, Vec<String>) {
        let steps = Arc::new(Mutex::new(Vec::new()));
        let watcher = {
            let steps = steps.clone();
            Arc::new(move |step: &str| steps.lock().unwrap().push(step.to_owned()))
        };
        let engine = self.engine(settings);
        let result = self.runtime.block_on(engine.attempt(&settings.sites[0], asked, None, watcher));
        let steps = steps.lock().unwrap().clone();
        (result, steps)
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.state.path().join(below)
    }

    /// The files in a folder of the state, by name.
    pub fn files(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// What the last certificate that was handed on says.
    pub fn last_seen(&self) -> Option<Facts> {
        self.seen.lock().unwrap().last().and_then(|(_, pair)| Facts::read(pair.cert.first()?))
    }
}

pub fn site(names: &[&str]) -> Site {
    Site { names: names.iter().map(|name| (*name).to_owned()).collect() }
}

pub fn directory(url: String, ca_file: &Path) -> Directory {
    Directory { url, ca_file: Some(ca_file.to_owned()), eab: None, profile: None }
}

pub fn hurried() -> Timings {
    Timings {
        connect: patience(3),
        request: patience(5),
        preflight: patience(2),
        poll: Duration::from_millis(50),
        poll_longest: Duration::from_millis(500),
        order: patience(20),
        attempt: patience(40),
        look: Duration::from_millis(100),
    }
}

/// The manager's only report.
pub fn only(manager: &Manager) -> SiteReport {
    manager.report().remove(0)
}

pub fn message(result: Result<Loaded, Failed>) -> String {
    match result {
        Ok(loaded) => panic!("it succeeded: {:?}", loaded.facts),
        Err(failed) => failed.failure.message,
    }
}
