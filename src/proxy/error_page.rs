//! Errors of our own: what is said, to browsers and to others.

use std::fmt::Write;

use crate::admin::Refusal;
use crate::log::RequestId;

/// What is wrong with a request, or with what stands behind the gate.
#[derive(Clone, Debug)]
pub enum Problem {
    /// The target is no path, or one that readers disagree on.
    BadTarget,
    /// The host is no host.
    BadHost,
    /// The bytes were no HTTP request.
    BadRequest,
    /// The verdict on the client certificate.
    NotAdmitted(Refusal),
    /// The verdict changed while the request was on its way.
    NoLongerAdmitted,
    /// The program that asks is one that gets no pages.
    RefusedAgent,
    /// The admin pages were asked for without TLS.
    AdminOverPlainHttp,
    /// Another site had the browser ask for an admin page.
    CrossSite,
    /// Nothing is there.
    NotFound,
    /// The backend has no such method.
    MethodNotAllowed,
    /// The head did not come in time.
    RequestTimeout,
    /// The body is larger than `limits.body`.
    BodyTooLarge,
    /// The connection was made for another site.
    Misdirected,
    /// The client has asked too often; the seconds after which it may ask again.
    TooManyRequests(u64),
    /// The head is too large.
    HeadTooLarge,
    /// The backend cannot be reached, or answered nonsense.
    BadGateway,
    /// The gate has no room.
    Unavailable,
    /// The backend took too long.
    GatewayTimeout,
    /// A fault of ours.
    Internal,
}

impl Problem {
    /// For a status that the engine's parser chose.
    pub fn from_status(status: u16) -> Self {
        match status {
            403 => Self::NoLongerAdmitted,
            405 => Self::MethodNotAllowed,
            408 => Self::RequestTimeout,
            431 => Self::HeadTooLarge,
            500 => Self::Internal,
            503 => Self::Unavailable,
            _ => Self::BadRequest,
        }
    }

    /// The status code (RFC 9110 section 15).
    pub fn status(&self) -> u16 {
        match self {
            Self::BadTarget | Self::BadHost | Self::BadRequest => 400,
            Self::NotAdmitted(_)
            | Self::NoLongerAdmitted
            | Self::AdminOverPlainHttp
            | Self::CrossSite
            | Self::RefusedAgent => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::BodyTooLarge => 413,
            Self::Misdirected => 421,
            Self::TooManyRequests(_) => 429,
            Self::HeadTooLarge => 431,
            Self::Internal => 500,
            Self::BadGateway => 502,
            Self::Unavailable => 503,
            Self::GatewayTimeout => 504,
        }
    }

    /// The reason phrase of the status.
    pub fn title(&self) -> &'static str {
        match self.status() {
            400 => "Bad request",
            403 => "Forbidden",
            404 => "Not found",
            405 => "Method not allowed",
            408 => "Request timeout",
            413 => "Content too large",
            421 => "Misdirected request",
            429 => "Too many requests",
            431 => "Request header fields too large",
            502 => "Bad gateway",
            503 => "Service unavailable",
            504 => "Gateway timeout",
            _ => "Internal error",
        }
    }

    /// A sentence on what is wrong, or missing.
    pub fn explanation(&self) -> &'static str {
        match self {
            Self::BadTarget => "The address is malformed.",
            Self::BadHost => "The Host field does not name a host.",
            Self::BadRequest => "This was not a well-formed HTTP request.",
            Self::NotAdmitted(refusal) => refusal.what_is_missing(),
            Self::NoLongerAdmitted => "Your client certificate is no longer accepted.",
            Self::AdminOverPlainHttp => {
                "The admin pages need HTTPS, where a client certificate can be shown. This was plain HTTP."
            }
            Self::CrossSite => {
                "Another site led here. The admin pages take requests from their own pages only: \
                 open them from there, or type the address."
            }
            Self::RefusedAgent => {
                "These pages are not for programs that collect pages. /robots.txt says what is."
            }
            Self::NotFound => "There is nothing at this address.",
            Self::MethodNotAllowed => "What is at this address cannot be asked for in this way.",
            Self::RequestTimeout => "The request did not arrive in time.",
            Self::BodyTooLarge => "The request carries more than is accepted here.",
            Self::Misdirected => {
                "This connection was made for another site. Ask again on a connection of its own."
            }
            Self::TooManyRequests(_) => {
                "Pages of this kind take the farm some time to make, and you have asked for many of them. \
                 Wait a little, and ask again."
            }
            Self::HeadTooLarge => "The request's header fields are larger than is accepted here.",
            Self::BadGateway => "The program behind this gate does not answer. It may be restarting.",
            Self::Unavailable => "There is no room for this request right now.",
            Self::GatewayTimeout => "The program behind this gate took too long to answer.",
            Self::Internal => "Something went wrong here.",
        }
    }

    /// The page: HTML for those who ask for it, text for the rest. `id` is what the log has it under.
    pub fn page(&self, id: RequestId, html: bool) -> String {
        let (status, title, text) = (self.status(), self.title(), self.explanation());
        if !html {
            return format!("{status} {title}\n{text}\nid {id}\n");
        }
        let mut page = String::with_capacity(1024);
        // The id is ours, and the rest are constants: there is nothing to escape. Writing cannot fail.
        let _ = write!(
            page,
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
             <style>:root{{color-scheme:light dark}}\
             body{{font:1.05rem/1.6 system-ui,sans-serif;max-width:34rem;margin:18vh auto 0;padding:0 1.5rem}}\
             h1{{font-size:1.6rem;font-weight:600;margin:0 0 .6rem}}\
             small{{display:block;margin-top:2.4rem;opacity:.65}}</style>\n\
             <h1>{title}</h1>\n<p>{text}</p>\n<small>{status} &middot; id {id}</small>\n</html>\n"
        );
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_what_is_wrong_and_under_which_id() {
        let problem = Problem::AdminOverPlainHttp;
        for html in [true, false] {
            let page = problem.page(RequestId::from(0xabc123), html);
            assert!(page.contains("403") && page.contains("Forbidden"));
            assert!(page.contains("plain HTTP"));
            assert!(page.contains("abc123"));
        }
    }
}
