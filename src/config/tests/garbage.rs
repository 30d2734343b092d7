use std::path::Path;

use proptest::prelude::*;
use toml::de::DeTable;

use super::{SHORTEST, loaded};
use crate::config::diagnostics::{Complaint, Source};
use crate::config::wire::{Findings, Reader};
use crate::config::{Diagnostics, Severity, parse, read};

/// Reads and renders, which must go well whatever the text is.
fn survives(text: &str) {
    match parse(text, Path::new("x.toml")) {
        Ok(loaded) => {
            assert!(!loaded.config.sites.is_empty());
            let _ = loaded.warnings.to_string();
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in &problems {
                assert!(problem.line >= 1 && problem.line <= text.matches('\n').count() + 1);
                assert!(problem.column >= 1);
            }
            let _ = problems.to_string();
        }
    }
}

/// A value of any type, most of them wrong wherever they stand.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("\"http://localhost\"".to_owned()),
        Just("\"10s\"".to_owned()),
        Just("\"\"".to_owned()),
        Just("0xffff_ffff_ffff_ffff_ffff".to_owned()),
        Just("-1".to_owned()),
        Just("nan".to_owned()),
        Just("true".to_owned()),
        Just("07:32:00".to_owned()),
        "[ -&(-~]{0,12}".prop_map(|text| format!("'{}'", text.replace('\'', ""))),
        "\\PC{0,8}".prop_map(|text| format!("{text:?}")),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|list| format!("[{}]", list.join(", "))),
            (key(), inner).prop_map(|(key, value)| format!("{{ {key} = {value} }}")),
        ]
    })
}

const KEYS: &[&str] = &[
    "names",
    "publish",
    "ci",
    "certificate",
    "site",
    "cache",
    "static",
    "max_size",
    "http",
    "listen",
    "state",
    "rotate",
    "limits",
    "requests",
    "paths",
    "rate",
];

fn key() -> impl Strategy<Value = String> {
    let written = |key: &str| Just(key.to_owned());
    prop_oneof![
        4 => prop::sample::select(KEYS).prop_map(str::to_owned),
        1 => "[a-z_]{1,8}",
        1 => written("\"\""),
        1 => written("'a.b'"),
    ]
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => (key(), value()).prop_map(|(key, value)| format!("{key} = {value}")),
        1 => (key(), key(), value()).prop_map(|(table, key, value)| format!("{table}.{key} = {value}")),
        1 => key().prop_map(|table| format!("[{table}]")),
        1 => key().prop_map(|table| format!("[[{table}]]")),
    ]
}

/// Every name that may stand above the first site.
fn known() -> Vec<String> {
    let nothing = DeTable::new();
    let mut findings = Findings::new(Source { origin: Path::new(""), text: "" });
    read::config(&mut Reader::of_file(&mut findings, &nothing), Path::new(""));
    findings.known.into_iter().filter(|name| !name.starts_with("site")).collect()
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC*") {
        survives(&text);
    }

    #[test]
    fn no_toml_makes_it_panic(lines in prop::collection::vec(line(), 0..12)) {
        survives(&lines.join("\n"));
    }

    #[test]
    fn no_value_of_a_known_key_makes_it_panic(index in 0usize..100, value in value()) {
        let known = known();
        let name = &known[index % known.len()];
        survives(&format!("{name} = {value}\n{SHORTEST}"));
    }

    #[test]
    fn no_cut_and_no_byte_put_in_makes_it_panic(cut in 0usize..120, byte in any::<char>()) {
        let at = cut.min(SHORTEST.len());
        survives(&SHORTEST[..at]);
        survives(&format!("{}{byte}{}", &SHORTEST[..at], &SHORTEST[at..]));
    }

    #[test]
    fn no_span_makes_it_panic(text in "[aü\n\r]{0,12}", start in 0usize..40, end in 0usize..40) {
        let source = Source { origin: Path::new("x.toml"), text: &text };
        prop_assert!(source.line(start) >= 1);
        let complaint = Complaint::new("");
        let told = complaint.at(&source, start..end, Severity::Error, None);
        let _ = Diagnostics::new(source.origin, vec![told]).to_string();
    }
}

#[test]
fn deep_nesting_is_an_error_and_no_overflow_of_the_stack() {
    for (open, close) in [("[", "]"), ("{ a = ", "}")] {
        survives(&format!("a = {}1{}", open.repeat(100_000), close.repeat(100_000)));
    }
    survives(&vec!["a"; 10_000].join("."));
    survives(&format!("[{}]", vec!["a"; 10_000].join(".")));
}

#[test]
fn ten_thousand_sites_are_read_in_no_time() {
    let site = |n: u32| format!("[[site]]\nnames = ['n{n}.example']\nci = 'http://localhost'\n");
    let text: String = (0..10_000).map(site).collect();
    assert_eq!(loaded(&text).config.sites.len(), 10_000);
}
