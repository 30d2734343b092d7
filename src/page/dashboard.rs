//! The overview: what changes of it, part by part. Each part is a section with an id, so that the script can replace
//! one without disturbing the others.

use std::time::Duration;

use super::attention;
use super::html::{Html, html};
use super::plot::{Line, Plot, Unit};
use super::units::{Amount, Bytes, Count, Percent, Span, Utc};
use super::{admins, failures, sites};
use crate::admin::Administrator;
use crate::admin::ca::Row;
use crate::control::Status;
use crate::history::{Bucket, Failed, Figure, Window};

/// Over what "now" is taken: short enough to be now, long enough not to jump.
const NOW: Duration = Duration::from_secs(60);
/// How long a failed request is worth attention.
const LATELY: Duration = Duration::from_secs(300);

/// All that the overview is drawn from.
pub(super) struct Scene<'a> {
    pub(super) base: &'a str,
    pub(super) viewer: &'a Administrator,
    /// Seconds since 1970.
    pub(super) now: u64,
    pub(super) window: Window,
    pub(super) status: &'a Status,
    /// Of `window`.
    pub(super) buckets: &'a [Option<Bucket>],
    /// Of the last hour.
    pub(super) hour: &'a [Option<Bucket>],
    /// The register, or why there is none.
    pub(super) admins: &'a Result<Vec<Row>, String>,
    /// Newest first, and how often each came.
    pub(super) errors: &'a [(Failed, u64)],
}

impl Scene<'_> {
    pub(super) fn live(&self) -> Html {
        html!(
            "{}{}{}{}{}{}<div class=\"columns\">\n{}{}</div>\n",
            self.heading(),
            self.tiles(),
            self.plots(),
            sites::sections(self),
            admins::section(self),
            failures::section(self),
            sites::reload(self),
            self.process(),
        )
    }

    fn heading(&self) -> Html {
        let name = self.status.sites.first().and_then(|site| site.names.first());
        let others = self.status.sites.len().saturating_sub(1);
        let mut more = Html::default();
        match others {
            0 => {}
            1 => html!(more, " <span class=\"soft\">and 1 more site</span>"),
            _ => html!(more, " <span class=\"soft\">and {} more sites</span>", others),
        }
        let points = attention::points(self.status, &self.last(LATELY), self.now);
        // The state alone is announced when it changes; a time that changes all the while is not.
        html!(
            "<section id=\"top\" data-part aria-labelledby=\"name\">\n<h1 id=\"name\">{}{}</h1>\n\
             <p class=\"soft\">As of <time datetime=\"{}\">{} UTC</time> · <a href=\"{}/{}\">Reload</a></p>\n</section>\n\
             <section id=\"state\" data-part role=\"status\" aria-label=\"State\">{}</section>\n",
            name.map_or("farmgate", String::as_str),
            more,
            Utc(self.now).rfc_3339(),
            Utc(self.now).time_with_seconds(),
            self.base,
            self.window.name(),
            attention::list(&points),
        )
    }

    fn tiles(&self) -> Html {
        let (now, hour) = (self.last(NOW), self.last(Duration::from_secs(Window::Hour.length())));
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".into());
        let requests = or_dash(now.rate(now.counts.requests()).map(|rate| Amount(rate).to_string()));
        let bytes = or_dash(now.rate(now.counts[Figure::Bytes]).map(|rate| Bytes(rate).to_string()));
        let coverage = or_dash(coverage(&hour).map(|share| Percent(share).to_string()));
        let hits = or_dash(hit_ratio(&hour).map(|share| Percent(share).to_string()));
        let failed = Count(hour.counts[Figure::ServerError]).to_string();
        let mut tiles = Html::default();
        for (name, value, about) in [
            ("Requests", requests, "a second"),
            ("Sent", bytes, "a second"),
            ("Connections", Count(self.status.connections as u64).to_string(), "open"),
            ("Substitutes", coverage, "of those asked for in the last hour were there"),
            ("Cache", hits, "of the last hour's answers came from it"),
            ("Failed", failed, "requests in the last hour"),
        ] {
            html!(tiles, "<div><dt>{}</dt><dd><b>{}</b> <span>{}</span></dd></div>\n", name, value, about);
        }
        html!(
            "<section id=\"now\" data-part aria-labelledby=\"now-title\">\n<h2 id=\"now-title\">Now</h2>\n\
             <dl class=\"tiles\">\n{}</dl>\n</section>\n",
            tiles
        )
    }

    fn plots(&self) -> Html {
        let plot = |id, title, about, unit, lines: &[Line]| {
            let (buckets, window, now) = (self.buckets, self.window, self.now);
            Plot { id, title, about, unit, lines, buckets, window, now }.figure()
        };
        let requests = plot(
            "requests",
            "Requests",
            "All that were answered",
            Unit::Rate,
            &[
                Line { name: "all", value: |bucket| bucket.rate(bucket.counts.requests()) },
                Line {
                    name: "client errors (4xx)",
                    value: |bucket| bucket.rate(bucket.counts[Figure::ClientError]),
                },
                Line {
                    name: "failed (5xx)",
                    value: |bucket| bucket.rate(bucket.counts[Figure::ServerError]),
                },
            ],
        );
        let bandwidth = plot(
            "bandwidth",
            "Bandwidth",
            "Bodies sent to clients",
            Unit::Bandwidth,
            &[
                Line { name: "all", value: |bucket| bucket.rate(bucket.counts[Figure::Bytes]) },
                Line { name: "nars", value: |bucket| bucket.rate(bucket.counts[Figure::NarBytes]) },
            ],
        );
        let substitutes = plot(
            "substitutes",
            "Substitutes there",
            "Narinfos found, of those asked for",
            Unit::Share,
            &[Line { name: "found", value: coverage }],
        );
        let cache = plot(
            "cache",
            "Cache",
            "Answers from it, of those it may keep",
            Unit::Share,
            &[Line { name: "from the cache", value: hit_ratio }],
        );
        html!(
            "<section id=\"plots\" data-part aria-labelledby=\"plots-title\">\n<h2 id=\"plots-title\">The last {}</h2>\n\
             <div class=\"plots\">\n{}{}{}{}</div>\n</section>\n",
            self.window.name(),
            requests,
            bandwidth,
            substitutes,
            cache,
        )
    }

    fn process(&self) -> Html {
        let Status { version, pid, uptime, connections_refused, log_lines_dropped, .. } = self.status;
        html!(
            "<section id=\"process\" data-part aria-labelledby=\"process-title\">\n\
             <h2 id=\"process-title\">Process</h2>\n<dl class=\"facts\">\n\
             <div><dt>Version</dt><dd>{}</dd></div>\n<div><dt>Process</dt><dd>{}</dd></div>\n\
             <div><dt>Up for</dt><dd>{}</dd></div>\n<div><dt>Connections refused</dt><dd>{}</dd></div>\n\
             <div><dt>Log lines dropped</dt><dd>{}</dd></div>\n</dl>\n</section>\n",
            version,
            pid,
            Span(*uptime),
            Count(*connections_refused),
            Count(*log_lines_dropped),
        )
    }

    /// The sum of the last `time`, which is within the hour; the bucket that has only begun comes on top.
    fn last(&self, time: Duration) -> Bucket {
        let count = usize::try_from(time.as_secs() / Window::Hour.step()).unwrap_or(usize::MAX);
        let mut sum = Bucket::default();
        self.hour.iter().rev().take(count.saturating_add(1)).flatten().for_each(|bucket| sum.merge(bucket));
        sum
    }
}

fn coverage(bucket: &Bucket) -> Option<f64> {
    bucket.share(&[Figure::NarinfoFound], &[Figure::NarinfoAbsent])
}

fn hit_ratio(bucket: &Bucket) -> Option<f64> {
    bucket.share(&[Figure::CacheHits, Figure::CacheStale], &[Figure::CacheMisses])
}
