//! The CA at work: issuing, signing, revoking.

use std::path::{Path, PathBuf};

use rcgen::PublicKeyData;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::dates::{self, Validity};
use super::error::CaError;
use super::files::{self, Pending};
use super::keys::{KeyType, PrivateKey};
use super::leaf::{Leaf, Signer};
use super::names::{self, Name};
use super::p12::{self, Format};
use super::password::Password;
use super::reason::Reason;
use super::register::{self, Entry, Revocation};
use super::request;
use super::store::{CERTIFICATE, Folder, KEY, Writer};
use super::{crl, der};
use crate::admin::certificate::Certificate;
use crate::files::{PUBLIC, SECRET};

/// The CA in the state folder of a gate.
pub struct Authority {
    folder: Folder,
    signer: Signer,
}

/// What was made, and what there is to say about it.
#[derive(Debug)]
pub struct Done<T> {
    /// What was made.
    pub made: T,
    /// What the operator should know: whole sentences.
    pub notes: Vec<String>,
}

/// A certificate that was issued.
#[derive(Debug)]
pub struct Issued {
    /// Where it was written.
    pub file: PathBuf,
    /// Whose it is.
    pub name: Name,
    /// Its serial number, as everywhere in this program.
    pub serial: String,
    /// Its last second, in seconds since 1970.
    pub not_after: i64,
}

impl Issued {
    /// The last day on which it is valid, in UTC.
    pub fn last_day(&self) -> String {
        dates::day(self.not_after)
    }
}

/// A certificate that is revoked.
#[derive(Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Whose it was; empty when it was not issued here.
    pub name: String,
    /// Its serial number.
    pub serial: String,
    /// Whether it was revoked by this command, rather than before.
    pub now: bool,
}

impl Authority {
    /// Finds the CA in the state folder `state`. Its key is not read until it is needed: a revocation counts
    /// without.
    ///
    /// # Errors
    ///
    /// Where there is none, or its certificate or register cannot be used.
    pub fn open(state: &Path) -> Result<Self, CaError> {
        let folder = Folder::below(state);
        let register = folder.register()?;
        let path = folder.file(CERTIFICATE);
        let damaged = |reason: &str| CaError::Damaged { path: path.clone(), reason: reason.into() };
        let der = CertificateDer::from_pem_slice(&files::read(&path)?)
            .map_err(|_| damaged("there is no certificate in it"))?;
        let certificate = Certificate::parse(&der).map_err(|_| damaged("this is no X.509 certificate"))?;
        if certificate.subject != register.issuer {
            return Err(damaged("it is not the certificate of the CA that the register belongs to"));
        }
        Ok(Self { folder, signer: Signer::new(certificate, &der) })
    }

    /// Makes a key and a certificate for `name`, and writes them to `into/NAME.p12`.
    ///
    /// The certificate is in the register before the file has its name. A file under another name, beginning
    /// with `.farmgate-`, is what an interrupted command may leave; nobody was told its password.
    ///
    /// # Errors
    ///
    /// Where the file is there already, or anything cannot be read, made or written.
    pub fn issue(
        &self,
        name: &Name,
        days: u32,
        key_type: KeyType,
        (password, format): (&Password, Format),
        into: &Path,
    ) -> Result<Done<Issued>, CaError> {
        let file = name.file("p12");
        files::must_not_exist(&into.join(&file))?;
        let ca = self.key()?;
        let key = PrivateKey::generate(key_type)?;
        let leaf = self.signer.leaf(&ca, name, &key.pair, days)?;
        let bundle = p12::encode(name, &key, &leaf.der, password, format)?;
        let pending = Pending::write(into, &file, &bundle, SECRET)?;
        self.hand_out(name, leaf, &ca, pending)
    }

    /// Certifies the key of the request in `csr`, and writes the certificate and the CA's to `into/NAME.crt`.
    /// The name is `name`, else the common name in the request. Nothing else is taken from it.
    ///
    /// # Errors
    ///
    /// Where the request is refused, the file is there already, or anything cannot be read or written.
    pub fn sign(
        &self,
        csr: &Path,
        name: Option<&Name>,
        days: u32,
        into: &Path,
    ) -> Result<Done<Issued>, CaError> {
        let request = request::read(csr)?;
        let name = match name {
            Some(name) => name.clone(),
            None => request.name()?,
        };
        let ca = self.key()?;
        if request.key.subject_public_key_info() == ca.public_key_info() {
            return Err(CaError::refused(csr, "its key is the CA's own, which the gate lets in for nobody"));
        }
        let file = name.file("crt");
        files::must_not_exist(&into.join(&file))?;
        let leaf = self.signer.leaf(&ca, &name, &request.key, days)?;
        let chain = der::pem("CERTIFICATE", &leaf.der) + &der::pem("CERTIFICATE", &self.signer.der);
        let pending = Pending::write(into, &file, chain.as_bytes(), PUBLIC)?;
        let mut done = self.hand_out(&name, leaf, &ca, pending)?;
        if request.common_name.as_deref().is_some_and(|asked| asked != name.as_str()) {
            done.notes.push(format!(
                "The request is in the name of \"{}\"; the certificate is in the name of \"{name}\".",
                request.common_name.unwrap_or_default().escape_debug()
            ));
        }
        Ok(done)
    }

    /// Revokes every certificate of the name `asked` that is not revoked or expired, or the one with the serial
    /// number `asked`. Where it could be both, `0x` in front says that it is a serial number.
    ///
    /// With `unlisted`, a serial number that the register does not have is taken too: that of a certificate
    /// which was issued before the CA was taken over.
    ///
    /// # Errors
    ///
    /// Where nothing is called that, or the register cannot be written. Then nothing was revoked. That the list
    /// for others could not be written is a note.
    pub fn revoke(&self, asked: &str, reason: Reason, unlisted: bool) -> Result<Done<Vec<Revoked>>, CaError> {
        self.revoke_if(asked, reason, unlisted, &|| true)
    }

    /// The same, if `may` still says so once nobody else can write the register: whoever asks may have lost the right
    /// to it while this waited.
    ///
    /// # Errors
    ///
    /// As above, and [`CaError::Withdrawn`].
    pub fn revoke_if(
        &self,
        asked: &str,
        reason: Reason,
        unlisted: bool,
        may: &dyn Fn() -> bool,
    ) -> Result<Done<Vec<Revoked>>, CaError> {
        let mut writer = Writer::open(&self.folder)?;
        if !may() {
            return Err(CaError::Withdrawn);
        }
        let now = dates::now();
        let entries = &mut writer.register.entries;
        let serial = register::serial_text(asked);
        let of_serial = |entry: &Entry| serial.as_ref() == Some(&entry.serial);
        let of_name = |entry: &Entry| entry.name.as_deref() == Some(asked);
        let (by_serial, by_name) = (entries.iter().any(of_serial), entries.iter().any(of_name));
        if by_serial && by_name {
            return Err(CaError::Argument(format!(
                "\"{asked}\" is a name and a serial number: write 0x{asked} for the serial number, or give the \
                 serial numbers of that name (see \"farmgate admin list\")"
            )));
        }
        if !by_serial && !by_name {
            let Some(serial) = serial.clone().filter(|_| unlisted) else {
                return Err(unknown(asked, entries));
            };
            entries.push(Entry { serial, name: None, dates: None, key: None, revoked: None });
        }
        let mut revoked = Vec::new();
        for entry in entries.iter_mut().filter(|entry| of_serial(entry) || of_name(entry)) {
            let expired = entry.dates.is_some_and(|dates| dates.not_after < now);
            if entry.revoked.is_none() && expired && by_name {
                continue;
            }
            let name = entry.name.clone().unwrap_or_default();
            let newly = entry.revoked.is_none();
            entry.revoked.get_or_insert(Revocation { at: now, reason });
            revoked.push(Revoked { name, serial: entry.serial.clone(), now: newly });
        }
        // Even when nothing is new: the number of the list that is written next must be.
        writer.save()?;
        let list = self.key().and_then(|ca| crl::write(&self.signer, &ca, &writer.register, &self.folder));
        Ok(Done { made: revoked, notes: list.err().map(list_not_written).into_iter().collect() })
    }

    /// Records the certificate, and only then lets its file have its name.
    fn hand_out(
        &self,
        name: &Name,
        leaf: Leaf,
        ca: &PrivateKey,
        pending: Pending,
    ) -> Result<Done<Issued>, CaError> {
        let mut notes = leaf.notes;
        let mut writer = Writer::open(&self.folder)?;
        let entries = &mut writer.register.entries;
        let compromised = |entry: &&Entry| {
            entry.key.as_ref() == Some(&leaf.key)
                && entry.revoked.is_some_and(|revoked| revoked.reason == Reason::KeyCompromise)
        };
        if let Some(entry) = entries.iter().find(compromised) {
            return Err(CaError::Argument(format!(
                "this key was certified before, and certificate {} was revoked because the key was compromised: \
                 a new key is needed",
                entry.serial
            )));
        }
        entries.push(Entry {
            serial: leaf.serial.clone(),
            name: Some(name.as_str().to_owned()),
            dates: Some(leaf.dates),
            key: Some(leaf.key),
            revoked: None,
        });
        writer.save()?;
        let file = pending
            .publish()
            .map_err(|source| CaError::NotHandedOut { serial: leaf.serial.clone(), source: source.into() })?;
        notes
            .extend(crl::write(&self.signer, ca, &writer.register, &self.folder).err().map(list_not_written));
        let Validity { not_after, .. } = leaf.dates;
        Ok(Done { made: Issued { file, name: name.clone(), serial: leaf.serial, not_after }, notes })
    }

    fn key(&self) -> Result<PrivateKey, CaError> {
        let path = self.folder.file(KEY);
        let key = PrivateKey::read(&path)?;
        if !self.signer.is_certified(&key) {
            return Err(CaError::refused(&path, "it is not the key of the certificate in ca.crt"));
        }
        Ok(key)
    }
}

fn list_not_written(error: CaError) -> String {
    format!("The revocation list for others was not written: {error}. The gate does not need it.")
}

fn unknown(asked: &str, entries: &[Entry]) -> CaError {
    let names = entries.iter().filter_map(|entry| entry.name.as_deref());
    CaError::Unknown { asked: asked.escape_debug().to_string(), near: names::near(asked, names) }
}
