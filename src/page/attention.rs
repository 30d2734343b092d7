//! What an administrator should look at.

use super::html::{Html, html};
use super::sites::program;
use super::units::{Count, Span};
use crate::control::Status;
use crate::history::{Bucket, Figure};

/// A certificate that ends sooner than this should have been renewed already.
const SOON: i64 = 10 * 86_400;

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Something does not work.
    Problem,
    /// Something may not work before long.
    Warning,
}

impl Level {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Problem => "Problem",
            Self::Warning => "Warning",
        }
    }

    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Problem => "bad",
            Self::Warning => "warn",
        }
    }
}

/// One thing, and the part of the page that has more on it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) level: Level,
    pub(super) text: String,
    pub(super) part: &'static str,
}

/// All there is, the worst first. `lately` are the last minutes.
pub(super) fn points(status: &Status, lately: &Bucket, now: u64) -> Vec<Point> {
    let mut points = Vec::new();
    let mut point = |level, part, text: String| points.push(Point { level, text, part });
    for site in &status.sites {
        let name = site.names.first().map_or("", String::as_str);
        let left = left(site.certificate.not_after, now);
        if left <= 0 {
            point(Level::Problem, "certificates", format!("The certificate of {name} has expired."));
        } else if left < SOON {
            let span = Span(left.unsigned_abs());
            point(Level::Warning, "certificates", format!("The certificate of {name} ends in {span}."));
        }
        for backend in site.backends.iter().filter(|backend| backend.up == Some(false)) {
            let text = format!("{} of {name} does not answer.", program(&backend.role));
            point(Level::Problem, "backends", text);
        }
    }
    if status.last_reload.as_ref().is_some_and(|reload| reload.error.is_some()) {
        let text = "The last reload was refused: the configuration of before is in force.";
        point(Level::Problem, "reload", text.into());
    }
    let failed = lately.counts[Figure::ServerError];
    if failed > 0 {
        let text = format!("{} failed within the last five minutes.", several(failed, "request"));
        point(Level::Problem, "errors", text);
    }
    if status.log_lines_dropped > 0 {
        let text = format!("Dropped from the access log: {}.", several(status.log_lines_dropped, "line"));
        point(Level::Warning, "process", text);
    }
    points.sort_by_key(|point| point.level);
    points
}

/// The points as a list, or the word that there are none.
pub(super) fn list(points: &[Point]) -> Html {
    if points.is_empty() {
        return html!("<p class=\"state good\">Everything is in order.</p>");
    }
    let mut items = Html::default();
    for Point { level, text, part } in points {
        let (class, word) = (level.class(), level.word());
        html!(items, "<li class=\"{}\"><b>{}:</b> <a href=\"#{}\">{}</a></li>\n", class, word, part, text);
    }
    html!("<ul class=\"state\">{}</ul>", items)
}

/// So many of something.
fn several(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{} {what}s", Count(count)) }
}

/// Seconds until `not_after`.
pub(super) fn left(not_after: i64, now: u64) -> i64 {
    not_after.saturating_sub(i64::try_from(now).unwrap_or(i64::MAX))
}
