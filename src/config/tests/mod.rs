//! The module as its users see it: text in, settings or problems out.

mod defaults;
mod garbage;
mod limits;
mod problems;
mod reference;
mod settings;
mod sites;

use std::path::Path;

use super::{Config, Diagnostics, Loaded, parse};

/// The shortest good file.
const SHORTEST: &str = r#"
[[site]]
names = ["ci.example.org"]
publish = "http://localhost:3000"
ci = "http://localhost:8081"
"#;

fn origin() -> &'static Path {
    Path::new("/etc/farmgate/farmgate.toml")
}

fn loaded(text: &str) -> Loaded {
    parse(text, origin()).unwrap_or_else(|problems| panic!("refused:\n{problems}"))
}

/// What the shortest file means with `more` above it.
fn config(more: &str) -> Config {
    loaded(&format!("{more}\n{SHORTEST}")).config
}

fn refused(text: &str) -> Diagnostics {
    match parse(text, origin()) {
        Ok(_) => panic!("taken:\n{text}"),
        Err(problems) => problems,
    }
}

/// Each problem as "LINE:COLUMN KEY: MESSAGE; HINT".
fn told(problems: &Diagnostics) -> Vec<String> {
    let line = |problem: &super::Diagnostic| {
        let key = problem.key.as_deref().unwrap_or("-");
        let hint = problem.hint.as_deref().unwrap_or("-");
        format!("{}:{} {key}: {}; {hint}", problem.line, problem.column, problem.message)
    };
    problems.iter().map(line).collect()
}

/// The one problem that the shortest file has with `more` above it, as "KEY: MESSAGE; HINT".
#[track_caller]
fn problem(more: &str) -> String {
    let problems = refused(&format!("{more}\n{SHORTEST}"));
    assert_eq!(problems.len(), 1, "{problems}");
    let told = told(&problems).remove(0);
    told.split_once(' ').map(|(_, rest)| rest.to_owned()).expect("a place, a blank, the rest")
}

/// Asserts that `text` has every one of `parts`.
#[track_caller]
fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}
