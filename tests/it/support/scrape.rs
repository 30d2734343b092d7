//! What Prometheus would read, parsed.

use std::collections::BTreeMap;

use super::config::HOST;
use super::eventually;
use super::gate::Gate;
use super::http1::{Connection, Response};

/// One answer of `/metrics`.
#[derive(Debug, Clone)]
pub struct Scrape {
    pub text: String,
    pub series: Vec<Series>,
}

#[derive(Debug, Clone)]
pub struct Series {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Scrape {
    /// Of a gate that was told to listen for metrics.
    pub fn of(gate: &Gate) -> Scrape {
        let response = ask(gate, "/metrics");
        assert_eq!(response.status, 200, "{response:?}");
        assert_eq!(response.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        Scrape::parse(&response.text())
    }

    /// The first one in which `what` is true.
    pub fn once(gate: &Gate, what: &str, is_true: impl Fn(&Scrape) -> bool) -> Scrape {
        eventually(what, super::SOON, || Some(Scrape::of(gate)).filter(&is_true))
    }

    /// The one that counts `requests` requests: they are counted a moment after they are answered.
    pub fn after(gate: &Gate, requests: u64) -> Scrape {
        let scrape = Scrape::once(gate, &format!("{requests} requests"), |scrape| {
            scrape.sum("farmgate_requests_total", &[]) >= requests as f64
        });
        assert_eq!(scrape.sum("farmgate_requests_total", &[]), requests as f64, "{}", scrape.text);
        scrape
    }

    fn parse(text: &str) -> Scrape {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        Scrape { text: text.to_string(), series: lines.map(series).collect() }
    }

    /// All series of that name with these labels, added up. 0 if there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|series| series.value).sum()
    }

    /// The series of that name with these labels.
    pub fn matching(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = &Series> {
        self.series.iter().filter(move |series| {
            series.name == name
                && labels.iter().all(|(key, value)| series.labels.get(*key).is_some_and(|has| has == value))
        })
    }

    /// The families it declares, with their types.
    pub fn families(&self) -> BTreeMap<String, String> {
        let types = self.text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types
            .filter_map(|line| line.split_once(' '))
            .map(|(name, kind)| (name.to_string(), kind.to_string()))
            .collect()
    }
}

/// One request to the listener for metrics.
pub fn ask(gate: &Gate, target: &str) -> Response {
    Connection::plain(gate.metrics_addr(), HOST).get(target)
}

fn series(line: &str) -> Series {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value in {line:?}"));
    let value = value.parse().unwrap_or_else(|error| panic!("{line:?}: {error}"));
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("no end of labels in {line:?}"));
    let mut rest = labels;
    let mut parsed = BTreeMap::new();
    while !rest.is_empty() {
        let (key, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("a bad label in {line:?}"));
        // Nothing here has a value that needs escaping.
        let (value, after) = after.split_once('"').unwrap_or_else(|| panic!("a bad label in {line:?}"));
        assert!(!value.contains('\\'), "{line:?}");
        assert_eq!(parsed.insert(key.to_string(), value.to_string()), None, "{key} twice in {line:?}");
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    Series { name: name.to_string(), labels: parsed, value }
}
