//! The account at a CA (RFC 8555 section 7.3): made once, and kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use instant_acme::{Account, AccountCredentials, Error};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::clock::Time;
use super::failure::{Failure, describe, is, patiently};
use super::http::Http;
use super::new_account::{self, Made, mail_urls};
use super::settings::Directory;
use crate::config::without_url_secrets;
use crate::files::{self, Content};

/// An account of that age worked once.
const OLD: Duration = Duration::from_secs(24 * 3600);

/// The accounts, one file per CA.
#[derive(Clone, Debug)]
pub(super) struct Accounts {
    folder: PathBuf,
}

/// What is kept of an account. The key is in it: mode 0600.
#[derive(Serialize, Deserialize)]
struct Record {
    /// The directory it belongs to.
    directory: String,
    /// What the CA was told, without `mailto:`.
    contact: Vec<String>,
    /// The terms were agreed to when it was made: whoever configures a CA's certificates wants that.
    terms_of_service_agreed: bool,
    /// Which ones: their URL, where the CA names one.
    #[serde(default)]
    terms_of_service: Option<String>,
    /// The account that it was bound to.
    eab_kid: Option<String>,
    /// When it was made.
    created: Time,
    /// URL and key.
    credentials: AccountCredentials,
}

impl Accounts {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The account at `ca`; makes it if there is none yet.
    pub(super) async fn open(
        &self,
        ca: &Directory,
        contact: &[String],
        http: &Http,
    ) -> Result<Account, Failure> {
        let path = self.path(&ca.url);
        match files::read_json::<Record>(&path) {
            Content::Good(record) => self.reopen(record, contact, http, &path).await,
            Content::Missing => create(ca, contact, http, &path).await,
            // Whoever can read it tomorrow has an account.
            Content::Unreadable(why) => {
                Err(Failure::us(format!("{}: {why}; no other account is made", path.display())))
            }
            Content::Damaged(why) => {
                warn!("{}: {why}; the account in it is lost, and a new one made", path.display());
                put_aside(&path);
                create(ca, contact, http, &path).await
            }
        }
    }

    /// The account at `ca` if there is one: for asking what needs none.
    pub(super) async fn existing(&self, url: &str, http: &Http) -> Result<Option<Account>, Failure> {
        let Content::Good(record) = files::read_json::<Record>(&self.path(url)) else { return Ok(None) };
        connect(record.credentials, http).await.map(Some)
    }

    /// A new account in place of one that the CA does not know any more, or will not serve.
    pub(super) async fn replace(
        &self,
        ca: &Directory,
        contact: &[String],
        http: &Http,
    ) -> Result<Account, Failure> {
        let path = self.path(&ca.url);
        put_aside(&path);
        create(ca, contact, http, &path).await
    }

    async fn reopen(
        &self,
        record: Record,
        contact: &[String],
        http: &Http,
        path: &Path,
    ) -> Result<Account, Failure> {
        let changed = record.contact != contact;
        let account = connect(record.credentials, http).await?;
        if changed {
            tell_contact(&account, contact, path).await?;
        }
        Ok(account)
    }

    /// Whether `error` means that the CA will not have our account at `ca` any more: it does not know it, or has closed
    /// it (RFC 8555 sections 7.3.1 and 7.3.6). A new account that is refused is refused for something else, and would
    /// be followed by another one at each try.
    pub(super) fn is_gone(&self, ca: &Directory, error: &Error) -> bool {
        let is_old = || match files::read_json::<Record>(&self.path(&ca.url)) {
            Content::Good(record) => Time::now().since(record.created) > OLD,
            _ => false,
        };
        is(error, "accountDoesNotExist") || is(error, "unauthorized") && is_old()
    }

    fn path(&self, url: &str) -> PathBuf {
        let host = url.split("://").nth(1).unwrap_or(url).split('/').next().unwrap_or_default();
        let host: String = host
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || ".-".contains(c) { c } else { '_' })
            .collect();
        let digest = digest(&SHA256, url.as_bytes());
        let hash: String = hex::encode(digest).chars().take(8).collect();
        self.folder.join(format!("{host}-{hash}.json"))
    }
}

async fn connect(credentials: AccountCredentials, http: &Http) -> Result<Account, Failure> {
    Account::builder_with_http(Box::new(http.clone()))
        .from_credentials(credentials)
        .await
        .map_err(|error| http.failed("its directory", &error))
}

async fn create(ca: &Directory, contact: &[String], http: &Http, path: &Path) -> Result<Account, Failure> {
    let key_file = path.with_extension("key");
    let Made { account, credentials, contact: told } =
        new_account::make(ca, contact, http, &key_file).await?;
    let record = Record {
        directory: ca.url.clone(),
        contact: told,
        terms_of_service_agreed: true,
        terms_of_service: http.terms_of_service(),
        eab_kid: ca.eab.as_ref().map(|eab| eab.kid.clone()),
        created: Time::now(),
        credentials,
    };
    files::write_json(path, &record).map_err(|error| Failure::file(path, &error))?;
    files::remove(&key_file).map_err(|error| Failure::file(&key_file, &error))?;
    info!("acme: new account {} at {}", account.id(), without_url_secrets(&ca.url));
    if record.contact != contact {
        tell_contact(&account, contact, path).await?;
    }
    Ok(account)
}

/// Tells the CA whom to write to (RFC 8555 section 7.3.2).
async fn tell_contact(account: &Account, contact: &[String], path: &Path) -> Result<(), Failure> {
    let urls = mail_urls(contact);
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    if let Err(error) = patiently!(account.update_contacts(&urls)) {
        // Nobody needs a certificate less for it.
        warn!("acme: the CA did not take the contact: {}", describe(&error));
        return Ok(());
    }
    if let Content::Good(record) = files::read_json::<Record>(path) {
        let record = Record { contact: contact.to_vec(), ..record };
        files::write_json(path, &record).map_err(|error| Failure::file(path, &error))?;
    }
    Ok(())
}

/// A file that is not used any more stays for whoever wants to know.
fn put_aside(path: &Path) {
    let aside = path.with_extension(format!("json.old-{}", Time::now().unix()));
    if let Err(error) = fs::rename(path, &aside) {
        warn!("{}: {error}", path.display());
    }
}
