//! What is deployed beside farmgate: alert rules and a dashboard, by what is really there.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{farm, gate};
use crate::support::scrape::Scrape;
use crate::support::{need, output, run, tests_folder};

#[test]
fn promtool_finds_nothing_wrong_with_the_scrape() {
    if !need("promtool") {
        return;
    }
    let recorder = farm();
    let gate = gate(&recorder);
    gate.http().get("/1.narinfo");
    gate.https().get("/static/a.css");
    let scrape = Scrape::after(&gate, 2);
    let file = gate.folder().join("scrape");
    fs::write(&file, &scrape.text).expect("write the scrape");
    let said = run(Command::new("sh").arg("-c").arg(format!("promtool check metrics < {}", file.display())));
    assert_eq!(said, "");
}

fn deployed(name: &str) -> PathBuf {
    tests_folder().with_file_name("deploy").join(name)
}

/// Every metric that `text` names, as Prometheus names them.
fn names_in(text: &str) -> BTreeSet<&str> {
    text.split(|character: char| !character.is_ascii_alphanumeric() && !matches!(character, '_' | ':'))
        .filter(|word| word.starts_with("farmgate_") || word.starts_with("process_"))
        .collect()
}

#[test]
fn the_dashboard_and_the_rules_name_metrics_and_labels_that_are_there() {
    let recorder = farm();
    let gate = gate(&recorder);
    gate.http().get("/1.narinfo");
    gate.http().get("/static/x");
    let scrape = Scrape::after(&gate, 2);
    let families = scrape.families();
    let exists = |name: &str| {
        let parts = ["_bucket", "_sum", "_count"];
        let histogram = parts.iter().find_map(|part| name.strip_suffix(part));
        families.contains_key(name)
            || histogram.is_some_and(|family| families.get(family).is_some_and(|kind| kind == "histogram"))
    };
    let labels: BTreeSet<&str> =
        scrape.series.iter().flat_map(|series| series.labels.keys().map(String::as_str)).collect();

    let dashboard = fs::read_to_string(deployed("grafana/farmgate.json")).expect("the dashboard");
    let parsed: serde_json::Value = serde_json::from_str(&dashboard).expect("JSON");
    let mut expressions = Vec::new();
    collect(&parsed, "expr", &mut expressions);
    assert!(expressions.len() > 15, "{} expressions", expressions.len());
    let rules = fs::read_to_string(deployed("prometheus/farmgate.rules.yml")).expect("the rules");
    let dashboard = expressions.join("\n");
    for (file, text) in [("the dashboard", &dashboard), ("the rules", &rules)] {
        let names = names_in(text);
        assert!(names.len() > 5, "{file}: {names:?}");
        for name in names {
            assert!(exists(name), "{file} names {name}, which is not in a scrape");
        }
        for used in labels_in(text) {
            assert!(labels.contains(used.as_str()) || used == "instance", "{file} uses the label {used}");
        }
    }
    // Nobody has to look at each panel to see that it is about something else.
    for name in [
        "requests",
        "narinfos",
        "nar_bytes",
        "cache_requests",
        "certificate_expiry",
        "backend_up",
        "backend_waiting",
        "http2_refused",
    ] {
        assert!(dashboard.contains(&format!("farmgate_{name}")), "{name}");
    }
}

/// The labels that expressions aggregate by or select.
fn labels_in(text: &str) -> BTreeSet<String> {
    let mut labels = BTreeSet::new();
    for part in text.split("by (").skip(1).chain(text.split("on (").skip(1)) {
        let list = part.split(')').next().unwrap_or_default();
        labels
            .extend(list.split(',').map(|label| label.trim().to_string()).filter(|label| !label.is_empty()));
    }
    for part in text.split('{').skip(1) {
        let selector = part.split('}').next().unwrap_or_default();
        for (at, _) in selector.match_indices(['=', '!']) {
            let label = selector[..at].rsplit([',', ' ']).next().unwrap_or_default();
            if !label.is_empty() && label.chars().all(|one| one.is_ascii_lowercase() || one == '_') {
                labels.insert(label.to_string());
            }
        }
    }
    labels
}

fn collect(value: &serde_json::Value, key: &str, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    serde_json::Value::String(text) if name == key => found.push(text.clone()),
                    other => collect(other, key, found),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, key, found)),
        _ => {}
    }
}

#[test]
fn the_rules_are_rules_and_fire_when_they_should() {
    if !need("promtool") {
        return;
    }
    let rules = deployed("prometheus/farmgate.rules.yml");
    run(Command::new("promtool").args(["check", "rules"]).arg(&rules));
    let tests = output(
        Command::new("promtool").args(["test", "rules"]).arg(tests_folder().join("prometheus/alerts.yml")),
    );
    let said = [tests.stdout, tests.stderr].concat();
    assert!(tests.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn the_expressions_of_the_dashboard_are_ones() {
    if !need("promtool") {
        return;
    }
    let text = fs::read_to_string(deployed("grafana/farmgate.json")).expect("the dashboard");
    let mut expressions = Vec::new();
    collect(&serde_json::from_str(&text).expect("JSON"), "expr", &mut expressions);
    // Grafana's own variables, as it would fill them in. What parses as a rule parses as a query.
    let rules: Vec<serde_json::Value> = expressions
        .iter()
        .enumerate()
        .map(|(at, expr)| {
            let expr = expr.replace("$__rate_interval", "5m").replace("$instance", "x").replace("$site", "x");
            serde_json::json!({ "record": format!("panel:{at}"), "expr": expr })
        })
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rules.yml");
    // JSON is YAML.
    let groups = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    fs::write(&file, groups.to_string()).expect("write the rules");
    run(Command::new("promtool").args(["check", "rules"]).arg(&file));
}
