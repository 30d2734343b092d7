//! What holds for every target: above all that whatever Guile reads as the admin prefix is closed.

use proptest::prelude::*;

use super::tests::{admin, door, is_closed};
use super::*;

/// What Guile makes of a request-target, written from `web/http.scm` and `web/uri.scm` and nothing else: the segments
/// that Cuirass matches on. `None` is an exception there. Lenient where versions differ.
fn guile_segments(target: &[u8]) -> Option<Vec<Vec<u8>>> {
    let target: &[u8] = match target.iter().position(|b| !matches!(b, b'\t'..=b'\r' | b' ' | 0xa0)) {
        Some(start) => &target[start..],
        None => return None,
    };
    let until =
        |bytes: &[u8], stops: &[u8]| bytes.iter().position(|b| stops.contains(b)).unwrap_or(bytes.len());
    let path = if target[0] == b'/' {
        &target[..until(target, b"?#")]
    } else {
        let colon = until(target, b":");
        let scheme = &target[..colon];
        let is_scheme_byte = |b: &u8| b.is_ascii_alphanumeric() || b"+.-".contains(b);
        if colon == target.len()
            || !scheme.first()?.is_ascii_alphabetic()
            || !scheme.iter().all(is_scheme_byte)
        {
            return None;
        }
        let mut rest = &target[colon + 1..];
        if let Some(authority) = rest.strip_prefix(b"//") {
            rest = &authority[until(authority, b"/?#")..]; // whatever the authority is, though Guile checks it
        }
        &rest[..until(rest, b"?#")]
    };
    let hex = |b: u8| b"0123456789abcdef".iter().position(|h| *h == b.to_ascii_lowercase());
    let mut segments = Vec::new();
    for part in path.split(|b| *b == b'/') {
        let (mut bytes, mut i) = (Vec::new(), 0);
        while i < part.len() {
            if part[i] == b'%'
                && i + 2 < part.len()
                && let (Some(high), Some(low)) = (hex(part[i + 1]), hex(part[i + 2]))
            {
                bytes.push((high << 4 | low) as u8);
                i += 3;
                continue;
            }
            if part[i] >= 0x80 {
                return None;
            }
            bytes.push(part[i]);
            i += 1;
        }
        std::str::from_utf8(&bytes).ok()?;
        if !bytes.is_empty() {
            segments.push(bytes);
        }
    }
    Some(segments)
}

fn runs_admin_in_guile(target: &[u8], prefix: &[&str]) -> bool {
    guile_segments(target).is_some_and(|segments| {
        segments.len() >= prefix.len()
            && segments.iter().zip(prefix).all(|(segment, wanted)| segment == wanted.as_bytes())
    })
}

#[test]
fn the_model_of_guile_says_what_guile_3_0_8_was_seen_to_do() {
    for target in [
        "http://x//admin/x",
        "http:///admin",
        "http:/admin",
        "http:admin",
        "foo:/admin",
        "https://user@host:1/admin",
        "/%61dmin",
        "/admin//",
        "/admin/../x",
        "/admin#x",
        "/admin?x",
        "\t/admin",
        "foo://h/admin",
    ] {
        assert!(runs_admin_in_guile(target.as_bytes(), &["admin"]), "{target}");
    }
    assert!(runs_admin_in_guile(b"\xa0/admin", &["admin"]));
    for target in [
        "/../admin",
        "/admin;x",
        "/admin%2Fx",
        "/ADMIN",
        "/admin%00/x",
        "/%2561dmin",
        "*",
        "admin",
        "/é/admin",
    ] {
        assert!(!runs_admin_in_guile(target.as_bytes(), &["admin"]), "{target}");
    }
    assert_eq!(guile_segments(b"/a+b/%2B/%zz/%").unwrap(), [&b"a+b"[..], b"+", b"%zz", b"%"]);
    assert_eq!(guile_segments(b"/%ff"), None);
}

/// Targets made of the pieces that spellings of the prefix are made of.
fn tricky_target() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&[u8]> = vec![
        b"/",
        b"/",
        b"/",
        b"//",
        b"admin",
        b"admin",
        b"a",
        b"dmin",
        b"%61",
        b"%41",
        b"adm",
        b"%69n",
        b"in",
        b"cuirass",
        b"%2F",
        b"%2f",
        b"%252F",
        b"%25",
        b"%",
        b".",
        b"..",
        b"%2e",
        b"%2E",
        b"\\",
        b"%5c",
        b";",
        b"%3b",
        b"?",
        b"#",
        b"%3F",
        b"%23",
        b"%00",
        b"\0",
        b"\xa0",
        b" ",
        b"\t",
        b"http:",
        b"HTTPS:",
        b"foo:",
        b"h",
        b"h:80",
        b"u@h",
        b"[::1]",
        b"nar",
        b"static",
        b"log",
        b"x.narinfo",
        b".well-known",
        b"acme-challenge",
        b"robots.txt",
        b"+",
        b"%2B",
        b"%c3%a9",
        b"%ff",
        b"\xc3\xa9",
    ];
    let start =
        prop::sample::select(vec![&b"/"[..], b"/", b"/", b"//", b"http://h/", b"http://h", b"", b"\xa0/"]);
    (start, prop::collection::vec(prop::sample::select(pieces), 0..12))
        .prop_map(|(start, pieces)| [start.to_vec(), pieces.concat()].concat())
}

/// A spelling of `word` with some letters encoded.
fn spelling(word: &'static str) -> impl Strategy<Value = String> {
    prop::collection::vec(0..4u8, word.len()).prop_map(|how| {
        word.bytes().zip(how).fold(String::new(), |spelled, (letter, how)| match how {
            0 => format!("{spelled}%{letter:02x}"),
            1 => format!("{spelled}%{letter:02X}"),
            _ => format!("{spelled}{}", char::from(letter)),
        })
    })
}

/// What a path is to a server that decodes it whole, up to `decodings` times, and resolves dots before the `dots`-th.
fn resolved_after(path: &str, decodings: usize, dots: usize) -> Vec<String> {
    let mut path = path.to_owned();
    for round in 0..=decodings {
        if round == dots {
            let mut resolved: Vec<&str> = Vec::new();
            for segment in path.split('/') {
                match segment {
                    ".." => drop(resolved.pop()),
                    "." | "" => {}
                    _ => resolved.push(segment),
                }
            }
            path = resolved.join("/");
        }
        if round < decodings {
            path = String::from_utf8_lossy(&decode(path.as_bytes())).into_owned();
        }
    }
    path.split('/').filter(|s| !s.is_empty()).map(str::to_owned).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn whatever_guile_reads_as_admin_is_closed(target in tricky_target()) {
        for segments in [&["admin"][..], &["cuirass", "admin"]] {
            let prefix = AdminPrefix::parse(&format!("/{}", segments.join("/"))).unwrap();
            prop_assert!(
                !runs_admin_in_guile(&target, segments) || is_closed(&target, &prefix),
                "{} is open", target.escape_ascii()
            );
        }
    }

    #[test]
    fn whatever_guile_reads_as_admin_is_closed_when_it_is_spelled_to_be(
        slashes in "/{1,3}", word in spelling("admin"), tail in "(|/|//|/.{0,20}|\\?.{0,20}|#.{0,20})",
        start in prop::sample::select(vec!["", "http://h", "HTTP://h:80", "http://", "foo://h", "\t", "\u{a0}"]),
    ) {
        let target = format!("{start}{slashes}{word}{tail}");
        prop_assert!(is_closed(target.as_bytes(), &admin()), "{target} is open");
    }

    #[test]
    fn whatever_a_resolving_server_reads_as_admin_is_closed(target in tricky_target()) {
        let Ok(parsed) = Target::parse(&target) else { return Ok(()) };
        let path = String::from_utf8_lossy(parsed.path).into_owned();
        for (decodings, dots) in [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)] {
            let read = resolved_after(&path, decodings, dots);
            let is_admin = read.first().is_some_and(|first| first.eq_ignore_ascii_case("admin"));
            prop_assert!(!is_admin || is_closed(&target, &admin()), "{} is open", target.escape_ascii());
        }
    }

    #[test]
    fn the_page_is_behind_the_gate_and_guile_never_sees_its_address(target in tricky_target()) {
        for segments in [["admin", "cuirass"], ["cuirass", "admin"]] {
            let prefix = AdminPrefix::parse(&format!("/{}", segments[0])).unwrap();
            let page = AdminPrefix::parse(&format!("/{}", segments.join("/"))).unwrap();
            let Ok(door) = admin_door(&target, &page) else { return Ok(()) };
            prop_assert!(
                door == AdminDoor::Ci || is_closed(&target, &prefix),
                "{} shows the page", target.escape_ascii()
            );
            prop_assert!(
                door != AdminDoor::Ci || !runs_admin_in_guile(&target, &segments),
                "{} is passed on", target.escape_ascii()
            );
        }
    }

    #[test]
    fn what_is_cached_is_below_the_same_door_for_guile(target in tricky_target()) {
        let name = match door(&target) {
            Ok(Door::Static) => "static",
            Ok(Door::Log) => "log",
            Ok(Door::Download) => "download",
            _ => return Ok(()),
        };
        prop_assert_eq!(&guile_segments(&target).unwrap()[0], name.as_bytes());
    }

    #[test]
    fn the_fast_path_and_the_slow_path_agree(target in prop_oneof![tricky_target(), plain_target()]) {
        let Ok(parsed) = Target::parse(&target) else { return Ok(()) };
        if parsed.plain {
            for prefix in ["/admin", "/cuirass/admin", "/nar", "/static/x"] {
                let prefix = AdminPrefix::parse(prefix).unwrap();
                prop_assert_eq!(plain_door(parsed.path, &prefix), strictest_door(parsed.path, &prefix));
            }
        }
    }

    #[test]
    fn a_challenge_always_has_its_token(target in tricky_target()) {
        if door(&target) == Ok(Door::AcmeChallenge) {
            let segments = well_known_segments(&target).unwrap();
            prop_assert!(matches!(&segments[..], [challenge, _] if **challenge == *b"acme-challenge"));
        }
    }

    #[test]
    fn well_known_segments_never_leave_their_folder(target in tricky_target()) {
        for segment in well_known_segments(&target).unwrap_or_default() {
            prop_assert!(!segment.is_empty() && *segment != *b"." && *segment != *b"..");
            prop_assert!(!segment.contains(&b'/') && !segment.contains(&0));
        }
    }

    #[test]
    fn any_bytes_are_decided_without_a_panic(target in prop::collection::vec(any::<u8>(), 0..64), slash: bool) {
        let target = if slash { [b"/", &target[..]].concat() } else { target };
        let _ = decide(&target, &admin());
        let _ = well_known_segments(&target);
        prop_assert!(!runs_admin_in_guile(&target, &["admin"]) || is_closed(&target, &admin()));
    }
}

/// Targets of the kind that the fast path is for, the words of the table among them.
fn plain_target() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "admin",
        "ADMIN",
        "cuirass",
        "nar",
        "file",
        "log",
        "static",
        "download",
        "robots.txt",
        "x.narinfo",
        "x",
        "nix-cache-info",
        "signing-key.pub",
        "a+b",
        "a:b@c",
        "y..z",
        "Z~",
    ]);
    (prop::collection::vec(word, 0..5), any::<bool>()).prop_map(|(words, slash)| {
        format!("/{}{}", words.join("/"), if slash { "/" } else { "" }).into_bytes()
    })
}
