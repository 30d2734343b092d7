//! The reference and the code say the same: which keys there are, and what counts when one is left out.

use std::collections::BTreeSet;

use toml::de::DeTable;

use super::{SHORTEST, origin};
use crate::config::diagnostics::Source;
use crate::config::reference::{Absent, Key, TABLES};
use crate::config::wire::{Findings, Reader};
use crate::config::{parse, read};

const HOW: &str = "src/config/reference.rs says what each key means: change it there, then \
                   FARMGATE_WRITE_DOCS=1 ./dev test reference";

/// Every key that is asked for when a file is read. What others stand below is a table.
fn known() -> BTreeSet<String> {
    let file = DeTable::parse(SHORTEST).unwrap();
    let mut findings = Findings::new(Source { origin: origin(), text: SHORTEST });
    read::config(&mut Reader::of_file(&mut findings, file.get_ref()), origin());
    findings.known
}

fn described() -> impl Iterator<Item = &'static Key> {
    TABLES.iter().flat_map(|table| table.keys)
}

/// The shortest file with this key in it.
fn with(key: &Key, value: &str) -> String {
    match key.name.strip_prefix("site.") {
        // The file has a publish and a ci already.
        Some(name) if SHORTEST.contains(&format!("\n{name} =")) => {
            let line = SHORTEST.lines().find(|line| line.starts_with(&format!("{name} ="))).unwrap();
            SHORTEST.replace(line, &format!("{name} = {value}"))
        }
        Some(name) => format!("{SHORTEST}{name} = {value}\n"),
        None => format!("{} = {value}\n{SHORTEST}", key.name),
    }
}

#[test]
fn every_key_that_is_read_is_described_and_no_other() {
    let known = known();
    let described: BTreeSet<String> = described().map(|key| key.name.to_owned()).collect();
    for key in &known {
        let is_table = known.iter().any(|other| other.starts_with(&format!("{key}.")));
        assert!(is_table || described.contains(key), "`{key}` is read, and nowhere described. {HOW}");
    }
    for key in &described {
        assert!(known.contains(key), "`{key}` is described, and nobody reads it. {HOW}");
    }
    for table in TABLES {
        let foreign = table.keys.iter().find(|key| !key.name.starts_with(&format!("{}.", table.name)));
        assert!(foreign.is_none(), "{foreign:?} is in the wrong table");
    }
}

#[test]
fn the_default_that_is_described_is_what_counts_when_the_key_is_left_out() {
    let without = parse(SHORTEST, origin()).unwrap().config;
    for key in described() {
        let Absent::Value(value) = key.default else { continue };
        let text = with(key, value);
        let loaded =
            parse(&text, origin()).unwrap_or_else(|problems| panic!("{}: {problems}\n{HOW}", key.name));
        assert!(loaded.given.contains(key.name), "{} is not in\n{text}", key.name);
        assert_eq!(loaded.config, without, "{} = {value} is not the default. {HOW}", key.name);
    }
}

#[test]
fn the_example_of_a_key_without_a_default_is_taken_and_changes_something() {
    let without = parse(SHORTEST, origin()).unwrap().config;
    for key in described() {
        let (Absent::None(value) | Absent::Required(value)) = key.default else { continue };
        // What only counts together with others is an error about those, not about the key.
        match parse(&with(key, value), origin()) {
            Ok(loaded) if SHORTEST.contains(&format!("= {value}\n")) => assert_eq!(loaded.config, without),
            Ok(loaded) => assert_ne!(loaded.config, without, "{} = {value} changes nothing", key.name),
            Err(problems) => {
                let about = problems.iter().find(|one| one.key.as_deref() == Some(key.name));
                assert_eq!(about, None, "{} = {value}", key.name);
            }
        }
    }
}
