//! Taking a certificate back: a page that asks, the act, and a page that says it is done.

use tracing::{error, info};

use super::admins::{facts, name};
use super::frame::{Frame, message};
use super::html::{Html, html};
use super::{Answer, Ask, Page, not_found};
use crate::admin::ca::{self, Authority, CaError, Reason, Row, State};

/// Asks whether it is meant. Changes nothing.
pub(super) fn confirm(page: &Page, ask: &Ask, serial: &str) -> Answer {
    let row = match find(page, ask, serial) {
        Ok(row) => row,
        Err(answer) => return answer,
    };
    if row.state != State::Valid {
        let text = html!(
            "<p>The certificate of <strong>{}</strong> opens nothing any more: {}.</p>",
            name(&row),
            facts(&row)
        );
        return message(ask, 200, "Nothing to revoke", text);
    }
    let mut own = Html::default();
    if row.serial == ask.administrator.serial {
        html!(
            own,
            "<p class=\"note bad\"><b>This is the certificate you are using now.</b> Without another one you will be \
             locked out of this page and of the admin pages, from the next request on.</p>\n"
        );
    }
    let mut reasons = Html::default();
    for reason in Reason::ALL {
        html!(reasons, "<option value=\"{}\">{}</option>", reason, words(reason));
    }
    let content = html!(
        "<div class=\"message\">\n<h1>Revoke this certificate?</h1>\n<dl class=\"facts\">\n\
         <div><dt>Name</dt><dd><strong>{}</strong></dd></div>\n\
         <div><dt>Serial number</dt><dd><code>{}</code></dd></div>\n\
         <div><dt>Valid</dt><dd>{} to {}</dd></div>\n<div><dt>Last seen</dt><dd>{}</dd></div>\n</dl>\n\
         {}<p>It counts at once, on connections that are open too, and cannot be taken back.</p>\n\
         <form method=\"post\" action=\"{}/revoke/{}\">\n<input type=\"hidden\" name=\"token\" value=\"{}\">\n\
         <p><label for=\"reason\">Reason</label> <select id=\"reason\" name=\"reason\">{}</select></p>\n\
         <p class=\"buttons\"><button class=\"button danger\">Revoke</button> \
         <a class=\"button\" href=\"{}/#admins\">Cancel</a></p>\n</form>\n</div>\n",
        name(&row),
        row.serial,
        row.first_day(),
        row.last_day(),
        row.last_seen.as_deref().unwrap_or("never"),
        own,
        ask.base,
        row.serial,
        page.tokens.make(&ask.administrator.serial, &row.serial),
        reasons,
        ask.base,
    );
    Answer::page(200, Frame { base: &ask.base, title: "Revoke a certificate", window: None }.around(&content))
}

/// Does it, if `is_admitted`. The form says that one of our pages was seen, by this administrator, with this certificate
/// on it.
pub(super) fn carry_out(page: &Page, ask: &Ask, serial: &str, is_admitted: &dyn Fn() -> bool) -> Answer {
    let by = &ask.administrator.serial;
    let form = Form::parse(&ask.form);
    let Some(Form { reason, .. }) = form.filter(|form| page.tokens.is_good(&form.token, by, serial)) else {
        let text = html!(
            "<p>Nothing was revoked. The form was not made for you by this gate, or before it was started anew: go back \
             and begin again.</p>"
        );
        return message(ask, 403, "Not accepted", text);
    };
    // By the number, whatever names there are.
    let revoked = Authority::open(&page.state)
        .and_then(|ca| ca.revoke_if(&format!("0x{serial}"), reason, false, is_admitted));
    match revoked {
        Ok(done) => {
            info!("certificate {serial} was revoked ({reason}) on the page, by certificate {by}");
            for note in done.notes {
                info!("{note}");
            }
            Answer::see_other(format!("{}/revoked/{serial}", ask.base))
        }
        Err(CaError::Withdrawn) => {
            let text = html!("<p>Nothing was revoked: your own certificate opens nothing any more.</p>");
            message(ask, 403, "Not accepted", text)
        }
        Err(reason) => {
            error!("certificate {serial} was not revoked: {reason}");
            let text = html!("<p>Nothing was revoked.</p>\n<pre>{}</pre>", reason);
            message(ask, 500, "It did not work", text)
        }
    }
}

/// Says what has become of it, by the register.
pub(super) fn done(page: &Page, ask: &Ask, serial: &str) -> Answer {
    match find(page, ask, serial) {
        Ok(row) if row.state == State::Revoked => {
            let text = html!(
                "<p>The certificate of <strong>{}</strong> opens nothing any more: {}.</p>\n<p><code>{}</code></p>",
                name(&row),
                facts(&row),
                row.serial,
            );
            message(ask, 200, "Revoked", text)
        }
        Ok(_) => not_found(ask),
        Err(answer) => answer,
    }
}

/// Looks a serial number up, as the register writes them.
fn find(page: &Page, ask: &Ask, serial: &str) -> Result<Row, Answer> {
    let rows = ca::list(&page.state).map_err(|reason| {
        message(ask, 503, "No register", html!("<p>The register cannot be used.</p>\n<pre>{}</pre>", reason))
    })?;
    rows.into_iter()
        .find(|row| row.serial == serial && row.state != State::Unlisted)
        .ok_or_else(|| not_found(ask))
}

fn words(reason: Reason) -> &'static str {
    match reason {
        Reason::Unspecified => "not said",
        Reason::KeyCompromise => "somebody else has the key, or may have",
        Reason::AffiliationChanged => "they belong elsewhere now",
        Reason::Superseded => "there is a newer one",
        Reason::CessationOfOperation => "it is no longer needed",
        Reason::PrivilegeWithdrawn => "no longer an administrator",
    }
}

/// What a browser makes of the form.
struct Form {
    token: String,
    reason: Reason,
}

impl Form {
    /// Neither value has a character that would be encoded: what has one is not ours.
    fn parse(body: &[u8]) -> Option<Self> {
        let (mut token, mut reason) = (None, None);
        for field in std::str::from_utf8(body).ok()?.split('&') {
            match field.split_once('=')? {
                ("token", value) if token.is_none() => token = Some(value.to_owned()),
                ("reason", value) if reason.is_none() => reason = Some(value.parse().ok()?),
                // Anything else, or anything twice, is not ours.
                _ => return None,
            }
        }
        Some(Self { token: token?, reason: reason? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_form_is_read_as_it_was_made_and_not_otherwise() {
        let form = Form::parse(b"token=00ff&reason=superseded").unwrap();
        assert_eq!((form.token.as_str(), form.reason), ("00ff", Reason::Superseded));
        for odd in [
            &b""[..],
            b"token=00ff",
            b"reason=superseded",
            b"token=1&token=2&reason=superseded",
            b"token=1&reason=superseded&x=y",
            b"token=1&reason=because",
            b"token=1&reason=superseded&",
            b"\xff",
        ] {
            assert!(Form::parse(odd).is_none(), "{}", odd.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Form::parse(&body);
        }
    }
}
