//! Making the CA, or taking one over.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyUsagePurpose, SerialNumber};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::parse_x509_certificate;

use super::authority::Done;
use super::dates::{self, Validity};
use super::error::CaError;
use super::files::read;
use super::keys::{KeyType, PrivateKey};
use super::leaf::{Signer, random_serial};
use super::register::Register;
use super::store::{CERTIFICATE, Folder, KEY, LIST, LOCK, REGISTER};
use super::{crl, der, names};
use crate::admin::certificate::Certificate;
use crate::admin::client_ca;
use crate::admin::closed::Closed;
use crate::files::{self, PUBLIC, SECRET};
use crate::tls::dev_keys;

/// What CA to make.
#[derive(Clone, Debug)]
pub struct Init {
    /// `/C=DE/O=GNU Guix/CN=Admin CA`, or only the common name.
    pub subject: String,
    /// For how long.
    pub days: u32,
    /// With what key.
    pub key_type: KeyType,
}

/// Makes a CA in the state folder `state`, and gives the file with its certificate.
///
/// # Errors
///
/// Where something is in its folder already, the subject or the days make no sense, or a file cannot be written.
pub fn init(state: &Path, wanted: &Init) -> Result<Done<PathBuf>, CaError> {
    let folder = Folder::below(state);
    must_be_vacant(&folder)?;
    let dates = Validity::days(dates::now(), wanted.days)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = names::subject(&wanted.subject)
        .map_err(|reason| CaError::Argument(format!("subject \"{}\": {reason}", wanted.subject)))?;
    params.serial_number = Some(SerialNumber::from_slice(&random_serial()?));
    params.not_before = dates::asn1(dates.not_before)?.to_datetime();
    params.not_after = dates::asn1(dates.not_after)?.to_datetime();
    // It signs administrators, and nobody who signs others.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];

    let key = PrivateKey::generate(wanted.key_type)?;
    let certificate = params.self_signed(&key.pair).map_err(CaError::crypto("make the CA's certificate"))?;
    install(state, &folder, certificate.der(), &key)
}

/// Takes over the CA with this certificate and this key: what it signed before stays valid, and what is issued
/// from now on comes from it too. Both are copied; the files they come from are left alone.
///
/// # Errors
///
/// Where the two do not belong together, the certificate is no CA's or out of date, something is in the folder
/// already, or a file cannot be read or written.
pub fn import(state: &Path, certificate: &Path, key: &Path) -> Result<Done<PathBuf>, CaError> {
    let folder = Folder::below(state);
    must_be_vacant(&folder)?;
    let refused = |reason: String| CaError::refused(certificate, reason);
    // The gate's own opinion of what can be a client CA.
    let anchors = client_ca::load(certificate).map_err(|closed| match closed {
        Closed::Invalid { reason, .. } | Closed::Unreadable { reason, .. } => refused(reason),
        Closed::Missing(_) => refused("it is missing".into()),
        closed @ Closed::TakenOver => refused(closed.to_string()),
    })?;
    let [anchor] = &anchors[..] else {
        return Err(refused(format!(
            "there are {} certificates in it; expected one, the CA's whose key it is",
            anchors.len()
        )));
    };
    let now = dates::now();
    if anchor.not_after < now {
        return Err(refused(format!("it has expired ({})", dates::day(anchor.not_after))));
    }
    if anchor.not_before > now {
        return Err(refused(format!("it is not valid before {}", dates::day(anchor.not_before))));
    }
    let der = CertificateDer::from_pem_slice(&read(certificate)?)
        .map_err(|_| refused("expected a certificate in PEM".into()))?;
    let private = PrivateKey::read(key)?;
    let (_, parsed) =
        parse_x509_certificate(&der).map_err(|_| refused("this is no X.509 certificate".into()))?;
    if parsed.public_key().raw != private.public_key_info() {
        let reason = format!("this key does not belong to the certificate in {}", certificate.display());
        return Err(CaError::refused(key, reason));
    }
    if dev_keys::is_throw_away(parsed.public_key().raw) {
        let reason = "this key is published with farmgate's source: it would let everybody in";
        return Err(CaError::refused(key, reason));
    }
    install(state, &folder, &der, &private)
}

fn must_be_vacant(folder: &Folder) -> Result<(), CaError> {
    let mut found: Vec<String> = match fs::read_dir(folder.path()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(CaError::file(folder.path(), "looked into")(error)),
        Ok(entries) => entries.flatten().map(|entry| entry.file_name().display().to_string()).collect(),
    };
    found.sort();
    if found.is_empty() {
        return Ok(());
    }
    let is_ca = found.iter().any(|name| [CERTIFICATE, KEY, REGISTER].contains(&name.as_str()));
    let what = if is_ca { "there is a CA already" } else { "the folder is not empty" };
    let found = format!("{what} ({})", found.join(", "));
    Err(CaError::Occupied { folder: folder.path().to_owned(), found })
}

/// Writes everything into a new folder, and then gives that its name: there is a whole CA, or none.
fn install(state: &Path, folder: &Folder, der: &[u8], key: &PrivateKey) -> Result<Done<PathBuf>, CaError> {
    let certificate = Certificate::parse(der).map_err(|_| CaError::Crypto {
        what: "make the CA's certificate",
        reason: "it cannot be read back".into(),
    })?;
    let register = Register::new(&certificate.subject);
    let signer = Signer::new(certificate, der);
    let encoded = register.encode().map_err(CaError::crypto("write the register"))?;
    let list = crl::make(&signer, key, &register);

    let write = || -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(state)?;
        let new = tempfile::Builder::new()
            .prefix(".admin-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(state)?;
        let create =
            |name, contents: &[u8], mode| files::create(&new.path().join(name), contents, mode, state);
        create(LOCK, b"", SECRET)?;
        create(REGISTER, &encoded, SECRET)?;
        create(KEY, key.pem().as_bytes(), SECRET)?;
        create(CERTIFICATE, der::pem("CERTIFICATE", der).as_bytes(), PUBLIC)?;
        if let Ok(list) = &list {
            create(LIST, list.as_bytes(), PUBLIC)?;
        }
        let opened = files::open_folder(new.path())?;
        files::own_like(&opened, state);
        opened.sync_all()?;
        // Takes the place of an empty folder, and of nothing else.
        fs::rename(new.path(), folder.path())?;
        // Under that name there is nothing to remove any more.
        let _ = new.keep();
        files::sync_folder_of(folder.path())
    };
    write().map_err(|error| match error.kind() {
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => {
            CaError::Occupied { folder: folder.path().to_owned(), found: "there is something already".into() }
        }
        _ => CaError::file(folder.path(), "made")(error),
    })?;
    let notes = list.err().map(|error| format!("There is no revocation list for others: {error}."));
    Ok(Done { made: folder.file(CERTIFICATE), notes: notes.into_iter().collect() })
}
