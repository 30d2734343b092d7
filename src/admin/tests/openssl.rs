//! A certificate authority in a temporary folder, run with the `openssl` command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What Cuirass's script puts before the name.
pub(crate) const SUBJECT: &str = "/C=DE/ST=Berlin/L=Berlin/O=GNU Guix/OU=Cuirass";

/// A CA, itself one file stem in a folder of its own: `ca.key`, `ca.crt`, and what it issues.
pub(crate) struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    /// The CA of Cuirass's script: RSA-2048, self-signed, CA:TRUE, no key usage.
    pub(crate) fn like_cuirass() -> Self {
        Self::new("rsa:2048", "/CN=Cuirass CA", &[])
    }

    /// A CA on P-256, which takes less time to make.
    pub(crate) fn quick() -> Self {
        Self::new("P-256", "/CN=Quick CA", &[])
    }

    /// A self-signed CA. `extra` goes to `openssl req -x509`.
    pub(crate) fn new(kind: &str, subject: &str, extra: &[&str]) -> Self {
        let this = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        this.key("ca", kind);
        let fixed = ["req", "-x509", "-days", "3650", "-key", "ca.key", "-out", "ca.crt", "-subj", subject];
        this.run(&[&fixed, extra].concat());
        this
    }

    /// A second certificate for the CA's key, `other.crt`, under another name.
    pub(crate) fn under_another_name(&self) {
        std::fs::copy(self.path("ca.key"), self.path("other.key")).expect("a writable folder");
        self.run(&["req", "-x509", "-key", "other.key", "-out", "other.crt", "-subj", "/CN=Other CA"]);
    }

    /// A private key: `rsa:BITS`, a NIST curve, or `ED25519`.
    pub(crate) fn key(&self, name: &str, kind: &str) {
        let out = format!("{name}.key");
        let options = match kind.split_once(':') {
            Some((_, bits)) => {
                vec!["-algorithm".into(), "RSA".into(), "-pkeyopt".into(), format!("rsa_keygen_bits:{bits}")]
            }
            None if kind.starts_with("P-") => {
                vec!["-algorithm".into(), "EC".into(), "-pkeyopt".into(), format!("ec_paramgen_curve:{kind}")]
            }
            None => vec!["-algorithm".into(), kind.to_owned()],
        };
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        self.run(&[&["genpkey", "-out", &out], options.as_slice()].concat());
    }

    /// A client certificate as the script makes it: no extensions, hence X.509 version 1.
    pub(crate) fn client(&self, name: &str, kind: &str) -> CertificateDer<'static> {
        self.key(name, kind);
        self.issue(name, "ca", "", &[])
    }

    /// A client certificate on P-256 with these extensions.
    pub(crate) fn client_with(&self, name: &str, extensions: &str) -> CertificateDer<'static> {
        self.key(name, "P-256");
        self.issue(name, "ca", extensions, &[])
    }

    /// An intermediate on P-256, issued by the CA.
    pub(crate) fn intermediate(&self, name: &str, extensions: &str) -> CertificateDer<'static> {
        self.key(name, "P-256");
        self.issue(name, "ca", extensions, &[])
    }

    /// Signs `name.key` with `issuer`, both in this folder. `extensions` are lines of a configuration file.
    pub(crate) fn issue(
        &self,
        name: &str,
        issuer: &str,
        extensions: &str,
        extra: &[&str],
    ) -> CertificateDer<'static> {
        self.issue_as(name, &format!("{SUBJECT}/CN={name}"), issuer, extensions, extra)
    }

    /// The same with another subject.
    pub(crate) fn issue_as(
        &self,
        name: &str,
        subject: &str,
        issuer: &str,
        extensions: &str,
        extra: &[&str],
    ) -> CertificateDer<'static> {
        let file = |stem: &str, suffix: &str| format!("{stem}.{suffix}");
        self.run(&[
            "req",
            "-new",
            "-utf8",
            "-key",
            &file(name, "key"),
            "-out",
            &file(name, "csr"),
            "-subj",
            subject,
        ]);
        let (csr, crt) = (file(name, "csr"), file(name, "crt"));
        let (ca, ca_key) = (file(issuer, "crt"), file(issuer, "key"));
        let fixed =
            ["x509", "-req", "-in", &csr, "-out", &crt, "-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial"];
        let extension_file = file(name, "ext");
        let with_extensions: &[&str] = if extensions.is_empty() {
            &[]
        } else {
            fs::write(self.path(&extension_file), extensions).expect("a writable folder");
            &["-extfile", &extension_file]
        };
        let days: &[&str] = if extra.contains(&"-days") { &[] } else { &["-days", "365"] };
        self.run(&[&fixed, with_extensions, days, extra].concat());
        self.der(name)
    }

    /// A revocation list of `issuer` in `FILE`: PEM, due in 30 days. `entries` are serial numbers, each with
    /// an optional `,reason`; `extensions` are lines of a configuration file.
    pub(crate) fn revoke(&self, file: &str, issuer: &str, entries: &[&str], extensions: &str) -> PathBuf {
        let index: String = entries
            .iter()
            .map(|entry| {
                let (serial, reason) =
                    entry.split_once(',').map_or((*entry, String::new()), |(s, r)| (s, format!(",{r}")));
                format!("R\t350101000000Z\t250101000000Z{reason}\t{serial}\tunknown\t/CN=x\n")
            })
            .collect();
        let configuration = format!(
            "[ca]\ndefault_ca=here\n[here]\ndatabase=index.txt\ndefault_md=sha256\ndefault_crl_days=30\n\
             private_key={issuer}.key\ncertificate={issuer}.crt\ncrl_extensions=extensions\n\
             [extensions]\n{extensions}\n"
        );
        fs::write(self.path("index.txt"), index).expect("a writable folder");
        fs::write(self.path("crl.cnf"), configuration).expect("a writable folder");
        self.run(&["ca", "-gencrl", "-config", "crl.cnf", "-out", file]);
        self.path(file)
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.path("ca.crt")
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    pub(crate) fn der(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path(&format!("{name}.crt"))).expect("openssl wrote a certificate")
    }

    pub(crate) fn private_key(&self, name: &str) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).expect("openssl wrote a key")
    }

    /// Writes the files one after the other into another.
    pub(crate) fn concatenate(&self, out: &str, files: &[&Path]) -> PathBuf {
        let contents: Vec<u8> =
            files.iter().flat_map(|file| fs::read(file).expect("a readable file")).collect();
        fs::write(self.path(out), contents).expect("a writable folder");
        self.path(out)
    }

    /// Runs `openssl` in the folder and gives what it printed.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let done = Command::new("openssl").args(arguments).current_dir(self.folder.path()).output();
        let done = done.expect("the openssl command is installed");
        assert!(done.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    }
}
