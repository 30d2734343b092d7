//! The pages in `docs/` that are made from the code say what the code says.

use std::fs;
use std::path::Path;

/// With `FARMGATE_WRITE_DOCS=1` the page is written; otherwise it must be there, word for word.
fn is_current(name: &str, page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    if std::env::var_os("FARMGATE_WRITE_DOCS").is_some() {
        fs::write(&path, page).expect("write a page");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let line = written.lines().zip(page.lines()).position(|(one, other)| one != other);
    let line = line.unwrap_or_else(|| written.lines().count().min(page.lines().count()));
    assert!(
        written == page,
        "docs/{name} is not what the code says, from line {} on:\n  docs: {:?}\n  code: {:?}\n\
         Look whether the code is right; then FARMGATE_WRITE_DOCS=1 ./dev test reference",
        line + 1,
        written.lines().nth(line),
        page.lines().nth(line),
    );
}

#[test]
fn the_page_of_the_commands_is_what_their_help_says() {
    is_current("commands.md", &farmgate::cli::reference::in_markdown());
}

#[test]
fn the_page_of_the_configuration_is_what_the_reader_knows() {
    is_current("configuration.md", &farmgate::config::reference::in_markdown());
}
