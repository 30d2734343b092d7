//! What Prometheus reads.
//!
//! Every family stands in each scrape; series that nothing has happened to yet are left out where there would be
//! hundreds of them, and are there from the start where an alert or a rate wants to see their first step.

mod sites;

use std::fmt;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, NoLabelSet, prometheus_text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::counter::Distribution;
use super::labels::{
    CacheOutcome, HandshakeFailure, Http2Refusal, Refused, Share, Space, TlsVersion, Verdict,
};
use super::process::Process;
use super::{Counter, Metrics, Observed, Phase, Worker};

/// The `Content-Type` of [`text`].
pub use prometheus_text::CONTENT_TYPE;

/// All metrics, in the text format of Prometheus, version 0.0.4. Reads files, and may wait for whoever changes the
/// configuration: not for a thread that serves.
pub fn text(metrics: &Arc<Metrics>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape {
        metrics: metrics.clone(),
        observed: metrics.observe(),
        process: Process::now(),
    }));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry)?;
    Ok(text)
}

/// One look at everything.
#[derive(Debug)]
struct Scrape {
    metrics: Arc<Metrics>,
    observed: Observed,
    process: Process,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Families(encoder);
        let all = self.metrics.sites();
        self.gate(&mut out)?;
        sites::requests(&mut out, &all)?;
        sites::durations(&mut out, &all)?;
        sites::substitutes(&mut out, &all)?;
        sites::backends(&mut out, &all)?;
        self.cache(&mut out)?;
        self.connections(&mut out)?;
        self.shares(&mut out)?;
        self.certificates(&mut out)?;
        self.process(&mut out)
    }
}

impl Scrape {
    fn gate(&self, out: &mut Families<'_>) -> fmt::Result {
        let version: Labels<'_> = &[("version", env!("CARGO_PKG_VERSION"))];
        out.gauges("farmgate_build_info", "The program's version; always 1", [(version, 1)])?;
        let ready = u64::from(self.metrics.phase() == Phase::Serving);
        out.gauge(
            "farmgate_ready",
            "Whether connections are taken: 1, or 0 while starting or stopping",
            ready,
        )?;
        let reloads = [
            (&[("result", "done")], &self.metrics.reloads_done),
            (&[("result", "refused")], &self.metrics.reloads_refused),
        ];
        let reloads =
            reloads.map(|(labels, count)| (labels.as_slice(), count.load(super::Ordering::Relaxed)));
        out.counters("farmgate_reloads", "Times the configuration was read again", reloads)?;
        out.counter(
            "farmgate_access_log_dropped_lines",
            "Lines of the access log that were dropped, as they could not be written fast enough",
            self.observed.log_lines_dropped,
        )
    }

    fn cache(&self, out: &mut Families<'_>) -> fmt::Result {
        let counted = |space: Space, outcome: CacheOutcome| {
            self.sum(|worker| &worker.cache[space.index()][outcome.index()])
        };
        let labels = pairs(&Space::ALL, &CacheOutcome::ALL);
        let requests: Vec<_> = labels
            .map(|(space, outcome)| {
                let labels = [("space", space.token()), ("result", outcome.token())];
                (labels, counted(space, outcome))
            })
            .collect();
        out.counters(
            "farmgate_cache_requests",
            "Requests for what may be kept, by what the cache did with them",
            requests.iter().map(|(labels, count)| (labels.as_slice(), *count)),
        )?;
        let cache = &self.observed.cache;
        let spaces = |figure: fn(&crate::cache::SpaceStats) -> u64| -> Vec<([(&str, &str); 1], u64)> {
            cache.spaces.iter().map(|space| ([("space", space.name.as_str())], figure(space))).collect()
        };
        out.gauges("farmgate_cache_bytes", "Bytes of bodies kept on disk", of(&spaces(|space| space.bytes)))?;
        out.gauges(
            "farmgate_cache_limit_bytes",
            "Bytes of bodies that may be kept on disk",
            of(&spaces(|space| space.max_size)),
        )?;
        out.gauges("farmgate_cache_responses", "Responses kept on disk", of(&spaces(|space| space.count)))?;
        out.counters(
            "farmgate_cache_evictions",
            "Responses that had to go, for others or because nobody wanted them",
            of(&spaces(|space| space.evicted)),
        )?;
        out.gauge("farmgate_cache_memory_bytes", "Bytes of memory used for hot responses", cache.memory)
    }

    fn connections(&self, out: &mut Families<'_>) -> fmt::Result {
        let open = self.metrics.surroundings().map_or(0, |surroundings| surroundings.open_connections());
        out.gauge("farmgate_connections", "Connections of clients that are open", open)?;
        out.counter(
            "farmgate_connections_refused",
            "Connections of clients that the limits did not allow",
            self.observed.connections_refused,
        )?;
        let handshakes: Vec<_> = TlsVersion::ALL
            .into_iter()
            .flat_map(|version| {
                let full = self.sum(|worker| &worker.handshakes_full[version.index()]);
                let resumed = self.sum(|worker| &worker.handshakes_resumed[version.index()]);
                let labels = |kind| [("version", version.token()), ("kind", kind)];
                [(labels("full"), full), (labels("resumed"), resumed)]
            })
            .collect();
        out.counters(
            "farmgate_tls_handshakes",
            "TLS handshakes, with a full key exchange or taking up an earlier session",
            handshakes.iter().map(|(labels, count)| (labels.as_slice(), *count)),
        )?;
        let failures: Vec<_> = HandshakeFailure::ALL
            .into_iter()
            .map(|why| ([("reason", why.token())], self.sum(|worker| &worker.handshakes_failed[why.index()])))
            .collect();
        out.counters(
            "farmgate_tls_handshake_failures",
            "TLS handshakes that came to nothing",
            of(&failures),
        )?;
        let refused: Vec<_> = Http2Refusal::ALL
            .into_iter()
            .map(|why| ([("reason", why.token())], self.sum(|worker| &worker.http2_refused[why.index()])))
            .collect();
        out.counters(
            "farmgate_http2_refused",
            "Requests, answers and connections refused over HTTP/2",
            of(&refused),
        )
    }

    fn shares(&self, out: &mut Families<'_>) -> fmt::Result {
        let refused = Refused::ALL
            .map(|why| ([("reason", why.token())], self.sum(|worker| &worker.refused[why.index()])));
        out.counters("farmgate_requests_refused", "Requests that the limits did not allow", of(&refused))?;
        let waits = Share::ALL
            .map(|share| ([("share", share.token())], self.sum(|worker| &worker.waits[share.index()])));
        out.counters(
            "farmgate_share_waits",
            "Times that a part of an answer or of a request had to wait for its share, by the limit",
            of(&waits),
        )?;
        out.gauge(
            "farmgate_request_bodies_bytes",
            "Bytes of request bodies that are in memory",
            self.observed.bodies,
        )?;
        out.gauge(
            "farmgate_request_bodies_limit_bytes",
            "Bytes of request bodies that may be in memory",
            self.observed.bodies_limit,
        )
    }

    fn certificates(&self, out: &mut Families<'_>) -> fmt::Result {
        let verdicts: Vec<_> = Verdict::ALL
            .into_iter()
            .map(|verdict| {
                ([("verdict", verdict.token())], self.sum(|worker| &worker.verdicts[verdict.index()]))
            })
            .collect();
        out.counters(
            "farmgate_admin_verdicts",
            "What was said about those who asked for an admin page",
            of(&verdicts),
        )?;
        let open = u64::from(self.observed.admin_open);
        out.gauge("farmgate_admin_open", "Whether the admin pages let anybody in: 1, or 0", open)?;
        let ends: Vec<_> = self
            .observed
            .certificates
            .iter()
            .map(|shown| ([("site", shown.site.as_str()), ("source", shown.source)], shown.not_after))
            .collect();
        out.gauges(
            "farmgate_certificate_expiry_timestamp_seconds",
            "When the certificate ends that a site shows, in seconds since 1970",
            ends.iter().map(|(labels, at)| (labels.as_slice(), *at)),
        )?;
        let renewals = [
            ([("result", "done")], self.observed.renewals),
            ([("result", "failed")], self.observed.renewals_failed),
        ];
        out.counters("farmgate_certificate_orders", "Tries to get a certificate from a CA", of(&renewals))
    }

    fn process(&self, out: &mut Families<'_>) -> fmt::Result {
        let process = &self.process;
        let started = self.metrics.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        out.gauge(
            "process_start_time_seconds",
            "When the program was started, in seconds since 1970",
            started,
        )?;
        let none: Labels<'_> = &[];
        let cpu = process.cpu_seconds.map(|seconds| (none, seconds));
        out.counters("process_cpu_seconds", "User and system time used", cpu)?;
        for (name, help, value) in [
            ("process_resident_memory_bytes", "Resident memory", process.resident),
            ("process_virtual_memory_bytes", "Virtual memory", process.virtual_memory),
            ("process_threads", "Threads", process.threads),
            ("process_open_fds", "File descriptors that are open", process.open_fds),
            ("process_max_fds", "File descriptors that may be open", process.max_fds),
        ] {
            out.gauges(name, help, value.map(|value| (none, value)))?;
        }
        Ok(())
    }

    /// The sum of one counter over all workers.
    fn sum(&self, counter: impl Fn(&Worker) -> &Counter) -> u64 {
        self.metrics.workers.iter().map(|worker| counter(worker).get()).sum()
    }
}

fn pairs<A: Copy, B: Copy>(one: &[A], two: &[B]) -> impl Iterator<Item = (A, B)> {
    one.iter().flat_map(move |&one| two.iter().map(move |&two| (one, two)))
}

fn of<'a, const N: usize>(
    series: &'a [([(&'a str, &'a str); N], u64)],
) -> impl Iterator<Item = (Labels<'a>, u64)> {
    series.iter().map(|(labels, value)| (labels.as_slice(), *value))
}

/// Names and values.
type Labels<'a> = &'a [(&'a str, &'a str)];

/// Writes whole families.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    /// The name goes without the `_total` that a counter's name ends with.
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let none: Labels<'_> = &[];
        self.counters(name, help, [(none, value)])
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> fmt::Result {
        let none: Labels<'_> = &[];
        self.gauges(name, help, [(none, value)])
    }

    fn counters<'l, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'l>, V)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in series {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&value, None)?;
        }
        Ok(())
    }

    fn gauges<'l, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'l>, V)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in series {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn histograms<'l, 'd>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'l>, &'d Distribution)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, all) in series {
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
                all.sum(),
                all.count(),
                &all.buckets(),
                None,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::{Protocol, Request, Route, Spent};

    #[test]
    fn a_histograms_buckets_end_with_all_of_its_observations() {
        let metrics = Metrics::new(2);
        let site = metrics.site("farm.example");
        let spent = Spent::default();
        for (worker, milliseconds) in [(0, 1), (1, 30), (1, 90_000)] {
            let request = Request {
                route: Route::Page,
                protocol: Protocol::Http11,
                status: 200,
                bytes_in: 0,
                bytes_out: 1,
                compression: None,
                took: Some(Duration::from_millis(milliseconds)),
                spent: &spent,
            };
            site.record(&metrics.worker(worker), &request);
        }
        let text = text(&metrics).unwrap();
        let series = |what: &str| {
            let line =
                text.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}\n{text}"));
            line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
        };
        assert_eq!(
            series(
                "farmgate_request_duration_seconds_bucket{site=\"farm.example\",route=\"page\",le=\"0.05\"}"
            ),
            2.0
        );
        assert_eq!(
            series(
                "farmgate_request_duration_seconds_bucket{site=\"farm.example\",route=\"page\",le=\"+Inf\"}"
            ),
            3.0
        );
        assert_eq!(series("farmgate_request_duration_seconds_count{"), 3.0);
        assert!((series("farmgate_request_duration_seconds_sum{") - 90.031).abs() < 1e-6);
    }
}
