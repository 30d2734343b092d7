//! What can be a name.

use super::*;
use crate::admin::ca::names::{near, subject};

#[test]
fn people_s_names_are_names() {
    let long = "ü".repeat(64);
    for good in ["alice", "Zoë Ångström", "O'Brien", "王小明", "a.b-c_d+e@example.org", "1", &long] {
        assert_eq!(name(good).as_str(), good);
    }
}

#[test]
fn what_would_be_a_bad_file_name_or_a_long_common_name_is_none() {
    let (too_long, too_many_bytes) = ("a".repeat(65), "\u{20000}".repeat(51));
    for bad in [
        "",
        " ",
        "a ",
        " a",
        ".",
        "..",
        ".alice",
        "-rf",
        "a/b",
        "/",
        "a\\b",
        "a\0b",
        "a\nb",
        "a\u{7f}",
        "a\u{202e}b",
        "a\u{200b}",
        "\u{feff}a",
        &too_long,
        &too_many_bytes,
    ] {
        let refused = bad.parse::<Name>().expect_err(bad).to_string();
        assert!(!refused.chars().any(char::is_control), "{refused:?} goes to a terminal");
    }
}

#[test]
fn subjects_are_written_as_openssl_has_them() {
    let count = |text: &str| subject(text).map(|name| name.iter().count());
    assert_eq!(count("Admin CA"), Ok(1));
    assert_eq!(count("/C=DE/ST=Berlin/L=Berlin/O=GNU Guix/OU=Cuirass/CN=Cuirass CA"), Ok(6));
    for bad in [
        "",
        "/",
        "/CN",
        "/CN=",
        "CN=\n",
        "/X=y",
        "/CN=a/CN=b",
        "/C=DEU",
        "/C=D\u{e9}",
        &format!("/CN={}", "x".repeat(65)),
    ] {
        assert!(count(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn names_that_look_alike_are_offered() {
    let near = |asked: &str| near(asked, ["alice", "Alicia", "bob", "zoë", "bob"].into_iter());
    assert_eq!(near("alise"), ["alice"]);
    assert_eq!(near("alic"), ["Alicia", "alice"]);
    assert_eq!(near("BOB2"), ["bob"]);
    assert_eq!(near("zoe"), ["zoë"]);
    assert!(near("completely different").is_empty());
}
