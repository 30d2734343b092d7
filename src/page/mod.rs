//! The gate's own page, below the admin prefix: what is served, what goes wrong, whose certificates open the gate, and
//! a way to take one back.
//!
//! It is HTML from here, readable without scripts; a script of a few lines fetches the changing parts anew. Nothing in
//! it is forwarded anywhere, and nothing is fetched from anywhere else.
//!
//! Whoever asks has been judged already, for this very request. What the page shows of the process it does not know
//! itself: whoever runs the process tells it, by way of [`Overview`]. That is a question and not a copy kept fresh by
//! somebody, so that a figure is as old as the page that has it, and costs nothing while nobody looks.

mod admins;
mod assets;
mod attention;
mod dashboard;
mod failures;
mod frame;
mod html;
mod plot;
mod revoke;
mod sites;
#[cfg(test)]
mod tests;
mod token;
mod units;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::Method;

use self::frame::Frame;
use self::html::{Html, html};
use self::token::Tokens;
use crate::admin::Administrator;
use crate::control::Status;
use crate::history::{Errors, History, Moment, Window};

/// Tells how things are with the process.
pub trait Overview: Send + Sync + 'static {
    /// A snapshot of this moment. May take its time: it is called where blocking is allowed.
    fn status(&self) -> Status;
}

/// What every answer of the page says besides: nothing is loaded but what is served here,
/// nothing frames it, and nothing keeps it. `same-origin` rather than `no-referrer`, under which a browser would send a
/// form without saying where it is from.
pub const HEADERS: [(&str, &str); 6] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
];

/// The longest form there is, in bytes.
pub const LONGEST_FORM: u64 = 1024;

/// The page, shared by all workers.
pub struct Page {
    state: PathBuf,
    overview: Arc<dyn Overview>,
    history: Arc<History>,
    errors: Arc<Errors>,
    tokens: Tokens,
}

/// A request for something of the page.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The method.
    pub method: Method,
    /// The decoded segments below [`Self::base`]; none for a spelling that leads nowhere.
    pub path: Option<Vec<String>>,
    /// The path of the page itself, without a slash at the end: `/admin/gate`.
    pub base: String,
    /// Who asks.
    pub administrator: Administrator,
    /// The body; empty but for POST.
    pub form: Bytes,
}

/// An answer. [`HEADERS`] go with it, whatever it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The type of the body.
    pub content_type: &'static str,
    /// Further header fields.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
}

/// What can be asked for.
enum Resource<'a> {
    /// The page, with plots over that time, or over what there is to plot.
    Dashboard(Option<Window>),
    /// Its changing parts alone.
    Live(Window),
    /// A file.
    Asset(&'static assets::Asset),
    /// The certificate with this serial number, to be revoked.
    Revoke(&'a str),
    /// The same, when it is.
    Revoked(&'a str),
}

impl Page {
    /// The page of the gate with the state folder `state`.
    ///
    /// # Errors
    ///
    /// Where the system has no random numbers.
    pub fn new(
        state: &Path,
        overview: Arc<dyn Overview>,
        history: Arc<History>,
        errors: Arc<Errors>,
    ) -> io::Result<Self> {
        Ok(Self { state: state.to_owned(), overview, history, errors, tokens: Tokens::new()? })
    }

    /// Where to tell of errors that are to be shown.
    pub fn errors(&self) -> &Errors {
        &self.errors
    }

    /// Answers. Reads files and may wait for locks: to be called where blocking is allowed.
    ///
    /// Before anything is changed, `is_admitted` is asked whether whoever asks is still an administrator; nothing can be
    /// revoked between that and the change. What is only read is to be judged by the caller, when it is there.
    pub fn answer(&self, ask: &Ask, is_admitted: &dyn Fn() -> bool) -> Answer {
        let resource = ask.path.as_deref().and_then(Resource::at);
        let Some(resource) = resource else { return not_found(ask) };
        let is_read = matches!(ask.method, Method::GET | Method::HEAD);
        match resource {
            Resource::Revoke(serial) if is_read => revoke::confirm(self, ask, serial),
            Resource::Revoke(serial) if ask.method == Method::POST => {
                revoke::carry_out(self, ask, serial, is_admitted)
            }
            Resource::Revoke(_) => not_allowed(ask, "GET, HEAD, POST"),
            _ if !is_read => not_allowed(ask, "GET, HEAD"),
            Resource::Dashboard(window) => {
                let window = window.unwrap_or_else(|| self.usual_window());
                let (status, live) = self.live(ask, window);
                let name = status.sites.first().and_then(|site| site.names.first());
                let name = name.map_or("farmgate", String::as_str);
                let frame = Frame { base: &ask.base, title: name, window: Some(window) };
                Answer::page(200, frame.around(&live))
            }
            Resource::Live(window) => Answer::page(200, self.live(ask, window).1),
            Resource::Asset(asset) => Answer::file(asset),
            Resource::Revoked(serial) => revoke::done(self, ask, serial),
        }
    }

    /// The last day; the last hour, while there is nothing older.
    fn usual_window(&self) -> Window {
        let day = self.history.view(Window::Day, Moment::now().unix);
        let before_the_hour =
            day.len().saturating_sub(Window::Hour.length().div_ceil(Window::Day.step()) as usize);
        let has_more = day.iter().take(before_the_hour).any(Option::is_some);
        if has_more { Window::Day } else { Window::Hour }
    }

    /// The parts of the page that change.
    fn live(&self, ask: &Ask, window: Window) -> (Status, Html) {
        let now = Moment::now().unix;
        let status = self.overview.status();
        let errors = self.errors.recent();
        let scene = dashboard::Scene {
            base: &ask.base,
            viewer: &ask.administrator,
            now,
            window,
            status: &status,
            buckets: &self.history.view(window, now),
            hour: &self.history.view(Window::Hour, now),
            admins: &crate::admin::ca::list(&self.state).map_err(|error| error.to_string()),
            errors: &errors,
        };
        let live = scene.live();
        (status, live)
    }
}

impl<'a> Resource<'a> {
    fn at(path: &'a [String]) -> Option<Self> {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        Some(match path[..] {
            [] => Self::Dashboard(None),
            ["live", window] => Self::Live(named(window)?),
            ["revoke", serial] => Self::Revoke(serial),
            ["revoked", serial] => Self::Revoked(serial),
            [one] => match named(one) {
                Some(window) => Self::Dashboard(Some(window)),
                None => Self::Asset(assets::named(one)?),
            },
            _ => return None,
        })
    }
}

impl Answer {
    fn page(status: u16, body: Html) -> Self {
        let body = body.into_string().into();
        Self { status, content_type: "text/html; charset=utf-8", headers: Vec::new(), body }
    }

    fn file(asset: &assets::Asset) -> Self {
        let body = Bytes::from_static(asset.content.as_bytes());
        Self { status: 200, content_type: asset.content_type, headers: Vec::new(), body }
    }

    /// To look at something else (RFC 9110 section 15.4.4).
    fn see_other(location: String) -> Self {
        let headers = vec![("location", location)];
        Self { status: 303, content_type: "text/plain; charset=utf-8", headers, body: Bytes::new() }
    }
}

fn named(window: &str) -> Option<Window> {
    Window::ALL.into_iter().find(|known| known.name() == window)
}

fn not_found(ask: &Ask) -> Answer {
    frame::message(ask, 404, "Not found", html!("<p>There is nothing at this address.</p>"))
}

fn not_allowed(ask: &Ask, allowed: &str) -> Answer {
    let text = html!("<p>What is at this address cannot be asked for in this way.</p>");
    let mut answer = frame::message(ask, 405, "Method not allowed", text);
    answer.headers.push(("allow", allowed.to_owned()));
    answer
}
