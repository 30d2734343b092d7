//! The families that have a site for a label.

use std::fmt;
use std::sync::Arc;

use super::{Families, pairs};
use crate::metrics::counter::Distribution;
use crate::metrics::shards::{RouteShard, SiteShard};
use crate::metrics::{BackendShard, Compression, Counter, Histogram, Protocol, Role, Route, Site, Status};

pub(super) fn requests(out: &mut Families<'_>, sites: &[Arc<Site>]) -> fmt::Result {
    let mut series = Vec::new();
    for site in sites {
        for (route, protocol) in pairs(&Route::ALL, &Protocol::ALL) {
            for status in Status::ALL {
                let count = sum(site, |shard| {
                    &shard.routes[route.index()].requests[protocol.index()][status.index()]
                });
                let labels = [
                    ("site", site.name()),
                    ("route", route.token()),
                    ("status", status.token()),
                    ("scheme", protocol.scheme()),
                    ("version", protocol.version()),
                ];
                series.push((labels, count));
            }
        }
    }
    out.counters(
        "farmgate_requests",
        "Requests answered; 499 is a client that left before there was an answer",
        series.iter().filter(|(_, count)| *count > 0).map(|(labels, count)| (labels.as_slice(), *count)),
    )?;
    for (name, help, counter) in [
        (
            "farmgate_response_body_bytes",
            "Bytes of the bodies sent to clients",
            (|route| &route.bytes_out) as fn(&RouteShard) -> &Counter,
        ),
        ("farmgate_request_body_bytes", "Bytes of the bodies that clients sent", |route| &route.bytes_in),
    ] {
        let series = by_route(sites, |site, route| sum(site, |shard| counter(&shard.routes[route.index()])));
        out.counters(
            name,
            help,
            series.iter().filter(|(_, count)| *count > 0).map(|(labels, count)| (labels.as_slice(), *count)),
        )?;
    }
    Ok(())
}

pub(super) fn durations(out: &mut Families<'_>, sites: &[Arc<Site>]) -> fmt::Result {
    for (name, help, histogram) in [
        (
            "farmgate_request_duration_seconds",
            "From a request's head to the end of its answer",
            (|route| &route.whole) as fn(&RouteShard) -> &Histogram,
        ),
        (
            "farmgate_request_backend_seconds",
            "The part of it that was spent waiting for the backend; requests that needed none are not in it",
            |route| &route.backend,
        ),
        (
            "farmgate_request_own_seconds",
            "The gate's own part of it: neither waiting for the backend nor for the client",
            |route| &route.own,
        ),
    ] {
        let series = by_route(sites, |site, route| {
            let mut all = Distribution::default();
            site.shards().iter().for_each(|shard| all.add(histogram(&shard.routes[route.index()])));
            all
        });
        let there = series.iter().filter(|(_, all)| all.count() > 0);
        out.histograms(name, help, there.map(|(labels, all)| (labels.as_slice(), all)))?;
    }
    Ok(())
}

pub(super) fn substitutes(out: &mut Families<'_>, sites: &[Arc<Site>]) -> fmt::Result {
    let narinfos: Vec<_> = sites
        .iter()
        .flat_map(|site| {
            let found = sum(site, |shard| &shard.narinfos_found);
            let absent = sum(site, |shard| &shard.narinfos_absent);
            let labels = |result| [("site", site.name()), ("result", result)];
            [(labels("found"), found), (labels("absent"), absent)]
        })
        .collect();
    out.counters(
        "farmgate_narinfos",
        "Narinfos asked for, by whether the farm has the item: its coverage",
        narinfos.iter().map(|(labels, count)| (labels.as_slice(), *count)),
    )?;
    let mut nars = Vec::new();
    for site in sites {
        for compression in Compression::ALL {
            let bytes = sum(site, |shard| &shard.nar_bytes[compression.index()]);
            nars.push(([("site", site.name()), ("compression", compression.token())], bytes));
        }
    }
    out.counters(
        "farmgate_nar_bytes",
        "Bytes of nars sent to clients, compressed as they were",
        nars.iter().map(|(labels, count)| (labels.as_slice(), *count)),
    )
}

pub(super) fn backends(out: &mut Families<'_>, sites: &[Arc<Site>]) -> fmt::Result {
    let all = sites.iter().flat_map(|site| Role::ALL.map(|role| (site, role)));
    let backends: Vec<_> = all
        .map(|(site, role)| ([("site", site.name()), ("backend", role.token())], site.backend(role).clone()))
        .filter(|(_, backend)| backend.is_configured())
        .collect();
    for (name, help, counter) in [
        (
            "farmgate_backend_connections",
            "Connections made to a backend",
            (|shard| &shard.connections) as fn(&BackendShard) -> &Counter,
        ),
        (
            "farmgate_backend_connect_failures",
            "Connections to a backend that could not be made, after all waiting",
            |shard| &shard.connect_failures,
        ),
        (
            "farmgate_backend_restart_waits",
            "Requests that waited for a backend which refused connections",
            |shard| &shard.restart_waits,
        ),
        (
            "farmgate_backend_retries",
            "Requests sent again because the backend had dropped them without an answer",
            |shard| &shard.retries,
        ),
        (
            "farmgate_backend_refused",
            "Requests answered with 503 because their turn at a backend did not come in time",
            |shard| &shard.refused,
        ),
        ("farmgate_backend_errors", "Requests answered with 502 or 504 because of a backend", |shard| {
            &shard.errors
        }),
    ] {
        let series = backends.iter().map(|(labels, backend)| (labels.as_slice(), backend.sum(counter)));
        out.counters(name, help, series)?;
    }
    let waits: Vec<_> = backends.iter().map(|(labels, backend)| (labels, backend.queue_waits())).collect();
    out.histograms(
        "farmgate_backend_queue_seconds",
        "How long requests waited for their turn at a backend; those that had a turn at once are not in it",
        waits.iter().map(|(labels, all)| (labels.as_slice(), all)),
    )?;
    out.gauges(
        "farmgate_backend_waiting",
        "Requests that wait for their turn at a backend",
        backends.iter().map(|(labels, backend)| (labels.as_slice(), backend.waiting())),
    )?;
    out.gauges(
        "farmgate_backend_requests",
        "Requests that a backend is at",
        backends.iter().map(|(labels, backend)| (labels.as_slice(), backend.in_flight())),
    )?;
    out.gauges(
        "farmgate_backend_up",
        "Whether a backend could be reached when that was last tried: 1, or 0; nothing before the first try",
        backends
            .iter()
            .filter_map(|(labels, backend)| Some((labels.as_slice(), u64::from(backend.health.is_up()?)))),
    )
}

fn sum(site: &Site, counter: impl Fn(&SiteShard) -> &Counter) -> u64 {
    site.shards().iter().map(|shard| counter(shard).get()).sum()
}

fn by_route<T>(sites: &[Arc<Site>], figure: impl Fn(&Site, Route) -> T) -> Vec<([(&str, &str); 2], T)> {
    let pairs = sites.iter().flat_map(|site| Route::ALL.map(|route| (site, route)));
    pairs
        .map(|(site, route)| ([("site", site.name()), ("route", route.token())], figure(site, route)))
        .collect()
}
