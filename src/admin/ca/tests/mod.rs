//! What the CA makes, judged by the real `openssl`, and what `openssl` makes, taken by the CA and the gate.

mod dates;
mod import;
mod issuing;
mod kill;
mod last_seen;
mod names;
mod own_side;
mod register;
mod requests;
mod revoking;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::{Authority, Format, Init, KeyType, Name, Password, init};
use crate::admin::{Administrator, Gate, Refusal};

/// A state folder and a current folder, gone when dropped.
struct Farm {
    folder: tempfile::TempDir,
}

impl Farm {
    /// Without a CA.
    fn empty() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// With a CA on P-256.
    fn new() -> Self {
        Self::with(KeyType::P256, 3650)
    }

    fn with(key_type: KeyType, days: u32) -> Self {
        let farm = Self::empty();
        let subject = "/C=de/O=GNU Guix/CN=Zoës \\/admin\\/ CA".to_owned();
        init(&farm.state(), &Init { subject, days, key_type }).expect("a CA");
        farm
    }

    fn state(&self) -> PathBuf {
        self.path("state")
    }

    fn admin(&self, file: &str) -> PathBuf {
        self.state().join("admin").join(file)
    }

    /// Where the commands are run.
    fn here(&self) -> &Path {
        self.folder.path()
    }

    fn path(&self, file: &str) -> PathBuf {
        self.here().join(file)
    }

    fn authority(&self) -> Authority {
        Authority::open(&self.state()).expect("a CA")
    }

    /// A gate as a running one has it.
    fn gate(&self) -> Gate {
        Gate::load(&self.admin("ca.crt"), &[]).with_own_revocations(&self.state())
    }

    /// Has openssl make a key and a request, and signs that: much quicker than a `.p12`.
    fn certify(&self, who: &str) -> CertificateDer<'static> {
        let csr = format!("{who}.csr");
        if !self.path(&csr).exists() {
            self.openssl(&[
                "req",
                "-new",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-utf8",
                "-keyout",
                &format!("{who}.key"),
                "-out",
                &csr,
                "-subj",
                &format!("/CN={who}"),
            ]);
        }
        let done = self.authority().sign(&self.path(&csr), None, 365, self.here()).expect("a certificate");
        der(&done.made.file)
    }

    /// Makes `NAME.p12`, and gives its password.
    fn issue(&self, who: &str, key_type: KeyType, format: Format) -> Password {
        let password = Password::generate().expect("random numbers");
        self.authority()
            .issue(&name(who), 365, key_type, (&password, format), self.here())
            .expect("a certificate");
        password
    }

    /// What `openssl` prints; it must succeed.
    fn openssl(&self, arguments: &[&str]) -> String {
        self.try_openssl(arguments).unwrap_or_else(|error| panic!("openssl {arguments:?}: {error}"))
    }

    fn try_openssl(&self, arguments: &[&str]) -> Result<String, String> {
        let done = Command::new("openssl").args(arguments).current_dir(self.here()).output();
        let done = done.expect("the openssl command is installed");
        let text = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
        if done.status.success() { Ok(text) } else { Err(text) }
    }

    /// `openssl verify` for a TLS client, with these options; strictly, when the CA is our own make.
    fn verify(&self, certificate: &str, options: &[&str]) -> Result<String, String> {
        let strict =
            self.openssl(&["x509", "-in", "state/admin/ca.crt", "-noout", "-text"]).contains("pathlen:0");
        let strict = if strict { "-x509_strict" } else { "-check_ss_sig" };
        let fixed = ["verify", "-purpose", "sslclient", strict, "-CAfile", "state/admin/ca.crt"];
        self.try_openssl(&[&fixed, options, &[certificate]].concat())
    }

    /// Takes a `.p12` apart into `NAME.pem`, key and certificate.
    fn unpack(&self, who: &str, password: &Password) -> Result<String, String> {
        let (input, output) = (format!("{who}.p12"), format!("{who}.pem"));
        let password = format!("pass:{}", password.as_str());
        self.try_openssl(&["pkcs12", "-in", &input, "-out", &output, "-nodes", "-info", "-passin", &password])
    }
}

fn der(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).expect("a certificate")
}

fn name(text: &str) -> Name {
    text.parse().expect("a good name")
}

fn judge(gate: &Gate, certificate: &CertificateDer<'static>) -> Result<Administrator, Refusal> {
    gate.judge(std::slice::from_ref(certificate), SystemTime::now())
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}
