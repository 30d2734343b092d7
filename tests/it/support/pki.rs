//! Certificates, made with the `openssl` command as Cuirass's script makes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::run;

/// A certificate chain and its key, in PEM files.
#[derive(Debug, Clone)]
pub struct Identity {
    pub chain: PathBuf,
    pub key: PathBuf,
}

impl Identity {
    pub fn chain_der(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_file_iter(&self.chain)
            .and_then(|certs| certs.collect())
            .unwrap_or_else(|error| panic!("{}: {error:?}", self.chain.display()))
    }

    /// As farmgate and `openssl` should print it: upper-case hex.
    pub fn serial(&self) -> String {
        let line = run(Command::new("openssl").args(["x509", "-noout", "-serial", "-in"]).arg(&self.chain));
        line.trim().trim_start_matches("serial=").to_string()
    }

    /// The same, its files moved away to make room.
    pub fn renamed(&self, stem: &str) -> Identity {
        let moved = |path: &Path, name: String| {
            let to = path.with_file_name(name);
            fs::rename(path, &to).expect("move a file");
            to
        };
        Identity {
            chain: moved(&self.chain, format!("{stem}.pem")),
            key: moved(&self.key, format!("{stem}.key.pem")),
        }
    }

    /// The same certificate and key with `further` certificates behind it in the chain.
    pub fn with_chain(&self, further: &[&Path]) -> Identity {
        let mut pem = fs::read_to_string(&self.chain).expect("a chain");
        for path in further {
            pem.push_str(&fs::read_to_string(path).expect("a certificate"));
        }
        let name = format!("{}-long.crt", self.chain.file_stem().unwrap_or_default().to_string_lossy());
        let chain = self.chain.with_file_name(name);
        fs::write(&chain, pem).expect("write a chain");
        Identity { chain, key: self.key.clone() }
    }
}

/// A certificate authority: RSA 2048, version 3, no key usage, as the script has it.
#[derive(Debug, Clone)]
pub struct Authority {
    folder: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// What a certificate is to be.
#[derive(Clone, Copy)]
pub enum Kind<'a> {
    /// RSA, no extensions at all: X.509 version 1.
    V1,
    /// P-256, version 3, for client use.
    Client,
    /// P-256, version 3, for servers of that name only.
    Server(&'a str),
    /// P-256, version 1, with these dates (`YYYYMMDDHHMMSSZ`).
    Dated(&'a str, &'a str),
}

impl Authority {
    pub fn new(folder: &Path, subject: &str) -> Authority {
        fs::create_dir_all(folder).expect("a folder for an authority");
        let authority =
            Authority { folder: folder.into(), cert: folder.join("ca.crt"), key: folder.join("ca.key") };
        run(openssl(&["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", subject])
            .arg("-keyout")
            .arg(&authority.key)
            .arg("-out")
            .arg(&authority.cert));
        authority
    }

    /// As an authority, something that is none: the certificate of a client.
    pub fn pretender(identity: &Identity, folder: &Path) -> Authority {
        fs::create_dir_all(folder).expect("a folder for a pretender");
        Authority { folder: folder.into(), cert: identity.chain.clone(), key: identity.key.clone() }
    }

    pub fn issue(&self, who: &str, kind: Kind<'_>) -> Identity {
        let identity = Identity {
            chain: self.folder.join(format!("{who}.crt")),
            key: self.folder.join(format!("{who}.key")),
        };
        let request = self.folder.join(format!("{who}.csr"));
        let mut command = openssl(&["req", "-new", "-nodes", "-newkey"]);
        match kind {
            Kind::V1 => command.arg("rsa:2048"),
            _ => command.args(["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]),
        };
        command.args(["-subj", &format!("/C=DE/ST=Berlin/L=Berlin/O=GNU Guix/OU=Cuirass/CN={who}")]);
        run(command.arg("-keyout").arg(&identity.key).arg("-out").arg(&request));
        match kind {
            Kind::V1 => self.sign(&request, &identity.chain, None),
            Kind::Client => self.sign(
                &request,
                &identity.chain,
                Some("basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=clientAuth\n"),
            ),
            Kind::Server(name) => self.sign(
                &request,
                &identity.chain,
                Some(&format!(
                    "basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\nsubjectAltName=DNS:{name}\n"
                )),
            ),
            Kind::Dated(from, to) => {
                run(self.ca_command().arg("-in").arg(&request).arg("-out").arg(&identity.chain).args([
                    "-notext",
                    "-startdate",
                    from,
                    "-enddate",
                    to,
                ]));
            }
        }
        identity
    }

    /// For a server: the leaf, then this authority, in one file.
    pub fn server(&self, name: &str) -> Identity {
        self.issue(&format!("server-{name}"), Kind::Server(name)).with_chain(&[&self.cert])
    }

    /// `openssl x509 -req`, as in the script; with no extensions that makes a version 1 certificate.
    fn sign(&self, request: &Path, cert: &Path, extensions: Option<&str>) {
        let mut command = openssl(&["x509", "-req", "-days", "365", "-CAcreateserial"]);
        command
            .arg("-in")
            .arg(request)
            .arg("-out")
            .arg(cert)
            .arg("-CA")
            .arg(&self.cert)
            .arg("-CAkey")
            .arg(&self.key);
        command.arg("-CAserial").arg(self.folder.join("serial-file"));
        if let Some(extensions) = extensions {
            let file = request.with_extension("ext");
            fs::write(&file, extensions).expect("write extensions");
            command.arg("-extfile").arg(file);
        }
        run(&mut command);
        if extensions.is_none() {
            let text = run(Command::new("openssl").args(["x509", "-noout", "-text", "-in"]).arg(cert));
            assert!(
                text.contains("Version: 1 "),
                "this openssl no longer makes version 1 certificates:\n{text}"
            );
        }
    }

    /// A CRL of this authority with `revoked` on it, in a PEM file.
    pub fn revoke(&self, revoked: &Identity) -> PathBuf {
        run(self.ca_command().arg("-revoke").arg(&revoked.chain));
        let crl = self.folder.join("ca.crl");
        run(self.ca_command().arg("-gencrl").arg("-out").arg(&crl));
        crl
    }

    /// The same CRL as before, made at `from` and due for an update at `to` (`YYYYMMDDHHMMSSZ`).
    pub fn list_with_dates(&self, from: &str, to: &str) -> PathBuf {
        let crl = self.folder.join("ca.crl");
        let dates = ["-gencrl", "-crl_lastupdate", from, "-crl_nextupdate", to];
        run(self.ca_command().args(dates).arg("-out").arg(&crl));
        crl
    }

    /// `openssl ca` can set dates and revoke, which `openssl x509` cannot.
    fn ca_command(&self) -> Command {
        let config = self.folder.join("ca.cnf");
        if !config.exists() {
            let folder = self.folder.display();
            fs::write(self.folder.join("index.txt"), "").expect("write an index");
            let text = format!(
                "[ca]\ndefault_ca=d\n[d]\ndatabase={folder}/index.txt\nnew_certs_dir={folder}\nrand_serial=yes\n\
                 certificate={}\nprivate_key={}\ndefault_md=sha256\ndefault_days=365\ndefault_crl_days=30\n\
                 unique_subject=no\npolicy=p\n[p]\ncommonName=supplied\norganizationName=optional\n",
                self.cert.display(),
                self.key.display()
            );
            fs::write(&config, text).expect("write a configuration");
        }
        let mut command = openssl(&["ca", "-batch", "-config"]);
        command.arg(config);
        command
    }
}

/// Everybody who comes to the gate.
pub struct World {
    pub authority: Authority,
    /// A different key under the very same name.
    pub impostor: Authority,
    /// Version 1, as the script makes them.
    pub good: Identity,
    /// Version 3, P-256, clientAuth.
    pub good_v3: Identity,
    pub expired: Identity,
    pub not_yet: Identity,
    /// Issued by the impostor.
    pub foreign: Identity,
    /// Issued by the impostor, the real authority's certificate put behind it.
    pub foreign_with_our_ca: Identity,
    /// Issued by `good`, who is no authority; `good` put behind it.
    pub issued_by_good: Identity,
    /// Issued by the authority, but for servers only.
    pub server_only: Identity,
}

/// Made once for all tests of a process.
pub fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let folder = scratch("world");
        let subject = "/C=DE/ST=Berlin/L=Berlin/O=GNU Guix/OU=Cuirass/CN=Cuirass CA";
        let authority = Authority::new(&folder.join("authority"), subject);
        let impostor = Authority::new(&folder.join("impostor"), subject);
        let good = authority.issue("alice", Kind::V1);
        let foreign = impostor.issue("mallory", Kind::V1);
        World {
            good_v3: authority.issue("bob", Kind::Client),
            expired: authority.issue("carol", Kind::Dated("20200101000000Z", "20210101000000Z")),
            not_yet: authority.issue("dave", Kind::Dated("20900101000000Z", "20910101000000Z")),
            foreign_with_our_ca: foreign.with_chain(&[&authority.cert]),
            issued_by_good: Authority::pretender(&good, &folder.join("pretender"))
                .issue("trent", Kind::Client)
                .with_chain(&[&good.chain]),
            server_only: authority.issue("erin", Kind::Server("erin.example")),
            foreign,
            good,
            impostor,
            authority,
        }
    })
}

/// A new folder below the target folder: static data is never dropped, so it must not pile up in /tmp.
pub fn scratch(name: &str) -> PathBuf {
    let folder =
        tempfile::Builder::new().prefix(name).tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    folder.keep()
}

fn openssl(arguments: &[&str]) -> Command {
    assert!(super::need("openssl"), "certificates are made with openssl; there is no test without");
    let mut command = Command::new("openssl");
    command.args(arguments);
    command
}
