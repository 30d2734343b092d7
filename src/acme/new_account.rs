//! Making an account (RFC 8555 section 7.3).
//!
//! Its key is on disk before the CA hears of it. A CA gives the same account for the same key (section 7.3.1), so one
//! that it made while we were stopped is not lost, and not followed by another.

use std::fs;
use std::io;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::{Account, AccountBuilder, AccountCredentials, Error, ExternalAccountKey, Key, NewAccount};
use pem::Pem;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::failure::{Failure, is, is_refusal, patiently};
use super::http::Http;
use super::settings::Directory;
use crate::config::{Eab, HmacKey};
use crate::files::{self, SECRET};

/// An account that the CA has.
pub(super) struct Made {
    pub account: Account,
    /// To be written down.
    pub credentials: AccountCredentials,
    /// What the CA was told of `contact`.
    pub contact: Vec<String>,
}

/// Makes an account at `ca`, its key being in `key_file` until its credentials are written down elsewhere.
pub(super) async fn make(
    ca: &Directory,
    contact: &[String],
    http: &Http,
    key_file: &Path,
) -> Result<Made, Failure> {
    let bound_to = ca.eab.as_ref().map(external_account).transpose()?;
    let made = match bound_to {
        // instant-acme makes the key of a bound account itself, and gives it only with the account.
        Some(bound_to) => at_once(ca, contact, Some(&bound_to), http).await,
        None => match with_key(ca, http, key_file).await? {
            // It may be one that insists on being told the contact with it.
            Err(error) if !contact.is_empty() && is_refusal(&error) => at_once(ca, contact, None, http).await,
            made => made,
        },
    };
    made.map_err(|error| {
        let mut failure = http.failed("a new account", &error);
        if is(&error, "externalAccountRequired") {
            failure
                .message
                .push_str("; get a key from the CA, and set acme.eab = { kid = …, hmac_key_file = … }");
        }
        failure
    })
}

/// With a key that is on disk. The contact is told afterwards.
async fn with_key(ca: &Directory, http: &Http, key_file: &Path) -> Result<Result<Made, Error>, Failure> {
    let der = key_on_disk(key_file).map_err(|error| Failure::file(key_file, &error))?;
    let key =
        || Ok::<_, Error>((Key::from_pkcs8_der(der.clone_key())?, PrivateKeyDer::Pkcs8(der.clone_key())));
    let made = patiently!(async { builder(http).create_from_key(key()?, ca.url.clone()).await });
    Ok(made.map(|(account, credentials)| Made { account, credentials, contact: Vec::new() }))
}

/// Everything in one request.
async fn at_once(
    ca: &Directory,
    contact: &[String],
    bound_to: Option<&ExternalAccountKey>,
    http: &Http,
) -> Result<Made, Error> {
    let urls = mail_urls(contact);
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let request = NewAccount { contact: &urls, terms_of_service_agreed: true, only_return_existing: false };
    let (account, credentials) = patiently!(builder(http).create(&request, ca.url.clone(), bound_to))?;
    Ok(Made { account, credentials, contact: contact.to_vec() })
}

fn builder(http: &Http) -> AccountBuilder {
    Account::builder_with_http(Box::new(http.clone()))
}

/// The key that was made before, if it is one; else a new one.
fn key_on_disk(path: &Path) -> io::Result<PrivatePkcs8KeyDer<'static>> {
    if let Ok(der) = PrivatePkcs8KeyDer::from_pem_file(path)
        && Key::from_pkcs8_der(der.clone_key()).is_ok()
    {
        return Ok(der);
    }
    let (_, der) = Key::generate_pkcs8().map_err(io::Error::other)?;
    let text = Zeroizing::new(pem::encode(&Pem::new("PRIVATE KEY", der.secret_pkcs8_der())));
    path.parent().map_or(Ok(()), files::make_folder)?;
    files::replace(path, text.as_bytes(), SECRET)?;
    Ok(der)
}

/// Addresses as the CA wants them (RFC 8555 section 7.3).
pub(super) fn mail_urls(contact: &[String]) -> Vec<String> {
    contact.iter().map(|address| format!("mailto:{address}")).collect()
}

fn external_account(eab: &Eab) -> Result<ExternalAccountKey, Failure> {
    let text = match &eab.hmac_key {
        HmacKey::Inline(text) => text.clone(),
        HmacKey::File(path) => {
            fs::read_to_string(path).map(Zeroizing::new).map_err(|error| Failure::file(path, &error))?
        }
    };
    // What it is is not repeated in messages.
    let key = BASE64_URL_SAFE_NO_PAD
        .decode(text.trim().trim_end_matches('='))
        .map(Zeroizing::new)
        .map_err(|_| Failure::us("acme.eab: expected the CA's key in base64url"))?;
    Ok(ExternalAccountKey::new(eab.kid.clone(), &key))
}
