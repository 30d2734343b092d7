//! When the CA wants a certificate renewed (RFC 9773).

use std::time::Duration;

use instant_acme::{CertificateIdentifier, Error};
use tracing::info;

use super::account::Accounts;
use super::clock::Time;
use super::http::Http;
use super::schedule::{WINDOW_RETRY, Window, window_asked_again};
use super::state::Renewal;

/// Where the CA offers no renewal information, one may come one day.
const NOT_OFFERED: Duration = Duration::from_secs(24 * 3600);

/// Asks the CA at `url` about the certificate that it calls `ari_id`. What comes out says when to ask again, also
/// when the CA did not answer; `before` is what it said last.
pub(super) async fn ask(
    url: &str,
    ari_id: &str,
    before: Option<&Renewal>,
    accounts: &Accounts,
    http: &Http,
    now: Time,
) -> Renewal {
    // What was said of this certificate holds until something else is.
    let before = before.filter(|renewal| renewal.ari_id == ari_id);
    let unchanged = |wait| Renewal {
        ari_id: ari_id.to_owned(),
        window: before.and_then(|renewal| renewal.window),
        ask_again: window_asked_again(now, wait),
        explanation: before.and_then(|renewal| renewal.explanation.clone()),
    };
    let Some(id) = identifier(ari_id) else { return unchanged(NOT_OFFERED) };
    let account = match accounts.existing(url, http).await {
        Ok(Some(account)) => account,
        Ok(None) => return unchanged(NOT_OFFERED),
        Err(failure) => {
            info!("acme: renewal information: {failure}");
            return unchanged(failure.retry_after.unwrap_or(WINDOW_RETRY));
        }
    };
    match account.renewal_info(&id).await {
        Ok((answer, wait)) => {
            let window = Window {
                start: Time::from_unix(answer.suggested_window.start.unix_timestamp()),
                end: Time::from_unix(answer.suggested_window.end.unix_timestamp()),
            };
            // One that ends before it begins is as good as none (RFC 9773 section 4.3.2).
            let window = (window.start < window.end).then_some(window);
            Renewal {
                ari_id: ari_id.to_owned(),
                window,
                ask_again: window_asked_again(now, wait),
                explanation: answer.explanation_url,
            }
        }
        Err(Error::Unsupported(_)) => Renewal {
            ari_id: ari_id.to_owned(),
            window: None,
            explanation: None,
            ask_again: now.plus(NOT_OFFERED),
        },
        Err(error) => {
            let failure = http.failed("renewal information", &error);
            info!("acme: {failure}");
            unchanged(failure.retry_after.unwrap_or(WINDOW_RETRY))
        }
    }
}

/// The CA's name for a certificate, taken apart (RFC 9773 section 4.1).
pub(super) fn identifier(ari_id: &str) -> Option<CertificateIdentifier<'static>> {
    let (authority, serial) = ari_id.split_once('.')?;
    Some(CertificateIdentifier {
        authority_key_identifier: authority.to_owned().into(),
        serial: serial.to_owned().into(),
    })
}
