//! The table, row by row, and the spellings that each row must and must not catch.

use super::*;

const NARINFO: Door = Door::Substitute(Substitute::Narinfo);
const NAR: Door = Door::Substitute(Substitute::Nar);
const FILE: Door = Door::Substitute(Substitute::File);

pub(super) fn admin() -> AdminPrefix {
    AdminPrefix::parse("/admin").unwrap()
}

pub(super) fn door(target: impl AsRef<[u8]>) -> Result<Door, BadTarget> {
    decide(target.as_ref(), &admin()).map(|decision| decision.door)
}

#[track_caller]
fn leads_to(expected: Door, targets: &[&str]) {
    for target in targets {
        assert_eq!(door(target), Ok(expected), "{target}");
    }
}

/// Closed is what the gate or a 400 keeps.
pub(super) fn is_closed(target: &[u8], prefix: &AdminPrefix) -> bool {
    decide(target, prefix).map_or(true, |decision| decision.door == Door::Admin)
}

#[track_caller]
fn are_closed(targets: &[&[u8]]) {
    for target in targets {
        assert!(is_closed(target, &admin()), "{} is open", target.escape_ascii());
    }
}

#[test]
fn every_row_of_the_table_has_its_door() {
    leads_to(Door::Admin, &["/admin", "/admin/", "/admin?x", "/admin/specifications/delete/guix"]);
    leads_to(Door::AcmeChallenge, &["/.well-known/acme-challenge/Zx-9_", "/.well-known/acme-challenge/t?q"]);
    leads_to(
        Door::WellKnown,
        &["/.well-known", "/.well-known/", "/.well-known/security.txt", "/.well-known/a/b/c"],
    );
    leads_to(Door::Robots, &["/robots.txt", "/robots.txt?x=1"]);
    leads_to(Door::Substitute(Substitute::CacheInfo), &["/nix-cache-info"]);
    leads_to(Door::Substitute(Substitute::SigningKey), &["/signing-key.pub"]);
    leads_to(NARINFO, &["/1lnj5lv08v9jaqa2cdyxmmsyssx6mj7v.narinfo", "/x.narinfo?y"]);
    leads_to(NAR, &["/nar/1lnj-hello-2.12", "/nar/zstd/1lnj-hello-2.12", "/nar/gzip/1lnj-gtk+-3.24"]);
    leads_to(FILE, &["/file/hello-2.12.tar.gz/sha256/0ssi1wpaf7plaswqqjwigppsg5fyh99vdlb9kzl7c9lng89ndq1i"]);
    leads_to(Door::Log, &["/log/1lnj-hello-2.12", "/log/a/b"]);
    leads_to(Door::Static, &["/static/css/cuirass.css", "/static/js/jquery-3.6.0.min.js?v=2"]);
    leads_to(Door::Download, &["/download/4711"]);
    leads_to(Door::Other, &["/", "/?x", "/build/1/details", "/api/queue?nr=1", "/jobset/guix/hook/evaluate"]);
}

#[test]
fn a_door_with_nothing_below_it_is_no_door() {
    leads_to(
        Door::Other,
        &["/nar", "/nar/", "/file", "/file//", "/log", "/static", "/static/", "/download", "/log/."],
    );
    leads_to(
        Door::Other,
        &["/robots.txt/x", "/nix-cache-info/x", "/signing-key.pub/x", "/a/b.narinfo", "/b.narinfos"],
    );
    leads_to(
        Door::Other,
        &["/NAR/x", "/Static/x", "/ROBOTS.TXT", "/nix-cache-info2", "/narx/y", "/staticx/y"],
    );
}

#[test]
fn what_substitute_clients_send_reaches_publish() {
    leads_to(
        NAR,
        &[
            "/nar/gzip/HASH-name%2B",
            "/nar/lzip/HASH-libstdc%2B%2B-13.2.0",
            "/nar/zstd/HASH-gtk+-3",
            "//nar/x",
        ],
    );
    leads_to(NAR, &["/nar/zstd/HASH-emacs-admin-1", "/nar/admin", "/nar//zstd//HASH-x", "/n%61r/zstd/x"]);
    leads_to(FILE, &["/file/a%20b.tar/sha256/HASH", "/file/x@1:2/sha256/HASH", "/file/admin/sha256/HASH"]);
    leads_to(
        NARINFO,
        &["//HASH.narinfo", "///HASH.narinfo", "http://farm.example.org/HASH.narinfo", "/HASH%2Enarinfo"],
    );
}

#[test]
fn the_word_admin_elsewhere_is_not_the_gate() {
    leads_to(
        Door::Other,
        &["/search?query=spec:admin", "/jobset/admin-tools", "/jobset/admin", "/specification/admin"],
    );
    leads_to(
        Door::Other,
        &["/search/admin", "/administrator", "/admin-x", "/admi", "/admins", "/xadmin", "/?/admin"],
    );
    leads_to(
        Door::Other,
        &["/build/1/log/raw", "/x/./admin", "/x//admin", "/x/%2e/admin", "/x/y%2Fadmin", "/x;/admin"],
    );
    leads_to(
        Door::Other,
        &["http://admin/", "http://admin", "http://admin/x?/admin", "http://h?/admin", "/x/...../admin"],
    );
    leads_to(Door::Other, &["/%EF%BC%A1dmin", "/%EF%BD%81dmin", "/@admin"]);
    leads_to(NARINFO, &["/admin.narinfo"]);
    leads_to(Door::Log, &["/log/admin"]);
}

#[test]
fn each_letter_of_the_prefix_may_be_encoded_in_either_case() {
    for i in 1.."/admin".len() {
        for escape in [format!("%{:02x}", b"/admin"[i]), format!("%{:02X}", b"/admin"[i])] {
            let spelled = format!("{}{escape}{}", &"/admin"[..i], &"/admin"[i + 1..]);
            let twice = spelled.replace('%', "%25");
            for tail in
                ["", "/", "/build/1/restart", "?x", "//", "/../nar/x", ";x", "%00", "%2Fx", "%5Cx", "%3Fx"]
            {
                leads_to(
                    Door::Admin,
                    &[&format!("{spelled}{tail}"), &format!("{twice}{tail}"), &format!("/{spelled}{tail}")],
                );
                leads_to(
                    Door::Admin,
                    &[&format!("http://h{spelled}{tail}"), &format!("/nar/..{spelled}{tail}")],
                );
            }
        }
    }
    leads_to(Door::Admin, &["/%61%64%6d%69%6e", "/%61%64%6D%69%6E/x", "/%2561%2564%256d%2569%256e"]);
}

#[test]
fn slashes_may_be_doubled_encoded_or_turned_around() {
    leads_to(Door::Admin, &["//admin", "///admin/x", "//admin//x", "/admin//", "//h/admin", "//h//admin/x"]);
    leads_to(
        Door::Admin,
        &["/%2Fadmin", "/%2fadmin%2fx", "/%2F%2F/admin", "/admin%2F", "/%252Fadmin", "/admin%252Fx"],
    );
    leads_to(
        Door::Admin,
        &["/\\admin", "/\\admin\\x", "/%5Cadmin", "/%5cadmin%5c", "/admin\\x", "/%255cadmin"],
    );
}

#[test]
fn dot_segments_may_come_before_after_and_encoded() {
    leads_to(
        Door::Admin,
        &["/./admin", "/.//admin/.", "/../admin", "/x/../admin", "/nar/../admin", "/a/b/../../admin"],
    );
    leads_to(
        Door::Admin,
        &["/admin/..", "/admin/../x", "/admin/../nar/x", "/admin/../../x.narinfo", "/admin/./x"],
    );
    leads_to(
        Door::Admin,
        &["/%2e/admin", "/x/%2e%2e/admin", "/x/.%2E/admin", "/x/%252e%252e/admin", "/x%2F..%2Fadmin"],
    );
    leads_to(
        Door::Admin,
        &["/x\\..\\admin", "/x/..%5cadmin", "/x/..;/admin", "/x/..%00/admin", "/x%2Fy/../admin"],
    );
    leads_to(
        Door::Admin,
        &["/static/%2e%2e/%61dmin", "/.well-known/../admin", "/x/..//./%41DMIN/x", "/nar/x/../../admin"],
    );
}

#[test]
fn letter_case_parameters_and_nul_do_not_open_the_gate() {
    leads_to(
        Door::Admin,
        &["/ADMIN", "/Admin/x", "/aDmIn", "/%41dmin", "/admin;x=1", "/admin;/x", "/;x/admin"],
    );
    leads_to(
        Door::Admin,
        &["/admin%00", "/admin%00/x", "/admin%00x", "/%00/admin", "/admin%3Bx", "/admin%23", "/admin%3F"],
    );
}

#[test]
fn absolute_forms_lead_where_their_path_does() {
    leads_to(
        Door::Admin,
        &["http://h/admin", "HTTPS://h:1/admin", "hTtP://h//admin/x", "http://[::1]:80/admin"],
    );
    leads_to(Door::Admin, &["http://127.0.0.1/x/../admin", "http://h:/%61dmin", "http://a.b-c_d~/./admin?x"]);
    leads_to(Door::Static, &["http://h/static/x", "https://h.example:8443/static/x?y"]);
    leads_to(Door::Other, &["http://h", "http://h/", "http://h?x"]);
}

#[test]
fn degenerate_forms_are_refused() {
    for target in [
        "",
        "*",
        "?",
        "?/admin",
        "admin",
        "x/admin",
        "h:80",
        "http:",
        "http:/",
        "http:/admin",
        "http:admin",
        "foo:admin",
        "foo:/admin",
        "foo://h/admin",
        "https:/nar/x",
        "://h/admin",
        "h:80/admin",
        "ftp://h/",
        "1http://h/",
        "http",
        "http//h/admin",
        "\\admin",
        "\\\\h\\admin",
        "%2Fadmin",
        "./admin",
        "../admin",
        "javascript:/admin",
    ] {
        assert_eq!(door(target), Err(BadTarget::Form), "{target}");
    }
    for target in [
        "http://",
        "http:///",
        "http:///admin",
        "http:////h/admin",
        "http://?",
        "http://user@h/",
        "HTTPS://user@h:1/x",
        "http://a@b@c/x",
        "http://@/x",
        "http://:80/x",
        "http://h:x/",
        "http://h:1:2/",
        "http://h%41/",
        "http://h\\admin",
        "http://[::1/",
        "http://[]/",
        "http://[::1]x/",
        "http://[x]/",
        "http://h,i/",
        "http://h#/admin",
        "http:// /admin",
    ] {
        assert_eq!(door(target), Err(BadTarget::Authority), "{target}");
    }
}

#[test]
fn bytes_that_no_client_sends_unencoded_are_refused() {
    for byte in (0..=b' ').chain([b'#', 0x7f]) {
        let at = |before: &str, after: &str| [before.as_bytes(), &[byte], after.as_bytes()].concat();
        let inside =
            [at("/nar/", "x"), at("/", "admin"), at("/admin", ""), at("/x?", ""), at("/x?y", "/../admin")];
        for target in inside {
            assert_eq!(door(&target), Err(BadTarget::Byte), "{}", target.escape_ascii());
        }
        assert!(door(at("", "/admin")).is_err());
        assert!(door(at("http://h", "/admin")).is_err());
    }
}

#[test]
fn white_space_as_guile_sees_it_does_not_hide_the_slash() {
    are_closed(&[
        b"\xa0/admin",
        b"\x85/admin",
        b"\t/admin",
        b" /admin",
        b"\x0b/admin",
        b"\xa0http://h/admin",
    ]);
    are_closed(&[b"/\xa0/admin", b"/admin\xa0", b"/\xc2\xa0admin"]);
}

#[test]
fn paths_that_guile_cannot_decode_are_refused() {
    for target in
        ["/%ff", "/%c0%aex", "/%c0%af", "/%e9t%e9", "/nar/%80", "/%ed%a0%80", "/%f4%90%80%80", "/%c3/%a9"]
    {
        assert_eq!(door(target), Err(BadTarget::NotUtf8), "{target}");
    }
    assert_eq!(door(b"/\xff"), Err(BadTarget::Byte));
    assert_eq!(door("/é"), Err(BadTarget::Byte));
    leads_to(NAR, &["/nar/%c3%a9"]);
}

#[test]
fn a_percent_sign_that_begins_no_escape_is_refused_in_the_path_only() {
    for target in ["/%", "/x/%", "/%6", "/%zz", "/%6/1", "/nar/%2g", "/%%61dmin", "/%+1", "/100%?x"] {
        assert_eq!(door(target), Err(BadTarget::Escape), "{target}");
    }
    leads_to(Door::Other, &["/search?query=100%", "/search?%zz", "/x?\u{e9}", "/%25zz"]);
    leads_to(NAR, &["/nar/x%2525"]);
}

#[test]
fn nothing_is_cached_that_some_reader_finds_elsewhere() {
    leads_to(
        Door::Other,
        &[
            "/static/%2e%2e/api",
            "/static/../api",
            "/static%2Fx",
            "/st%61tic/x",
            "/%73tatic/x",
            "/static/../log/x",
        ],
    );
    leads_to(
        Door::Other,
        &["/download/..%2fapi", "/log/x/../../api", "/api/../static/x", "/x/%2e./log/y", "/log/.."],
    );
    leads_to(NAR, &["/static/../nar/x", "/nar/../static/x", "/nar%2Fx"]);
    leads_to(
        Door::Static,
        &["/static/a/../b", "/static//x", "/static/./x", "/static/%2e/x", "//static/x", "/static/a%2Fb"],
    );
    leads_to(Door::Log, &["/log/HASH-gtk%2B-3", "/log/a%20b"]);
}

#[test]
fn what_we_answer_ourselves_is_not_passed_on_for_its_spelling() {
    leads_to(
        Door::Robots,
        &["//robots.txt", "/%72obots.txt", "/x/../robots.txt", "/robots.txt/.", "/robots%2Etxt"],
    );
    leads_to(
        Door::WellKnown,
        &["/%2ewell-known/x", "/.well-known/../x", "/x/../.well-known/y", "/.well-known%2Fx"],
    );
}

#[test]
fn a_challenge_is_exactly_one_base64url_segment_in_every_reading() {
    leads_to(Door::AcmeChallenge, &["//.well-known//acme-challenge/T", "/.well-known/acme-challenge/T/"]);
    leads_to(
        Door::AcmeChallenge,
        &["http://h/.well-known/acme-challenge/T", "/.well-known/./acme-challenge/./T"][..1],
    );
    leads_to(
        Door::WellKnown,
        &["/.well-known/acme-challenge", "/.well-known/acme-challenge/", "/.well-known/acme-challenge/a/b"],
    );
    leads_to(
        Door::WellKnown,
        &[
            "/.well-known/acme-challenge/a.b",
            "/.well-known/acme-challenge/a%2Fb",
            "/.well-known/acme-challenge/%41",
        ],
    );
    leads_to(
        Door::WellKnown,
        &[
            "/.well-known/acme-challenge/..",
            "/.well-known/acme-challenge/x/../T",
            "/.well-known/acme-challenge/+",
        ],
    );
    leads_to(Door::WellKnown, &["/%2ewell-known/acme-challenge/T", "/x/../.well-known/acme-challenge/T"]);
}

#[test]
fn well_known_segments_are_decoded_and_safe_as_file_names() {
    let segments = |target: &str| {
        well_known_segments(target.as_bytes()).map(|segments| {
            segments.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect::<Vec<_>>()
        })
    };
    assert_eq!(segments("/.well-known/acme-challenge/T?q").unwrap(), ["acme-challenge", "T"]);
    assert_eq!(segments("http://h//.well-known/a%20b//c/./d/../%65/").unwrap(), ["a b", "c", "e"]);
    assert_eq!(segments("/.well-known/%252e%252e/x").unwrap(), ["%2e%2e", "x"]);
    assert!(segments("/.well-known").unwrap().is_empty());
    for target in [
        "/",
        "/x",
        "/.well-known/../x",
        "/.well-known/%2e%2e/x",
        "/.well-known/a/../../etc",
        "/.well-known%2Fx",
        "/.well-known/a%2Fb",
        "/.well-known/..%2F..%2Fetc",
        "/.well-known/a%00",
        "/.well-knownx/y",
    ] {
        assert_eq!(segments(target), Err(BadTarget::FileName), "{target}");
    }
}

#[test]
fn a_prefix_of_two_segments_needs_both() {
    let prefix = AdminPrefix::parse("/cuirass/admin/").unwrap();
    assert_eq!(prefix.to_string(), "/cuirass/admin");
    for target in [
        "/cuirass/admin",
        "/cuirass//%61dmin/x",
        "/cuirass/./admin",
        "/cuirass/x/../admin",
        "/x/../cuirass/admin",
        "/CUIRASS/ADMIN",
        "//h/cuirass/admin",
        "/cuirass%2Fadmin",
        "/cuirass/..;/../admin",
        "/cuirass;x/admin;y",
    ] {
        assert_eq!(decide(target.as_bytes(), &prefix).unwrap().door, Door::Admin, "{target}");
    }
    for target in
        ["/cuirass", "/admin", "/cuirass/x/admin", "/cuirassadmin", "/admin/cuirass", "/admin/../cuirass"]
    {
        assert_eq!(decide(target.as_bytes(), &prefix).unwrap().door, Door::Other, "{target}");
    }
}

#[test]
fn the_gate_goes_before_every_other_row() {
    for row in
        ["/nar", "/static/x", "/.well-known", "/robots.txt", "/x.narinfo", "/.well-known/acme-challenge/T"]
    {
        let prefix = AdminPrefix::parse(row).unwrap();
        for target in [row.to_owned(), format!("{row}/y"), format!("/{row}"), format!("/z/..{row}")] {
            assert_eq!(decide(target.as_bytes(), &prefix).unwrap().door, Door::Admin, "{target}");
        }
    }
}

#[test]
fn a_prefix_that_could_be_spelled_in_two_ways_is_no_prefix() {
    assert_eq!(AdminPrefix::parse(""), Err(BadAdminPrefix::NoSlash));
    assert_eq!(AdminPrefix::parse("admin"), Err(BadAdminPrefix::NoSlash));
    assert_eq!(AdminPrefix::parse("/"), Err(BadAdminPrefix::WholeSite));
    assert_eq!(AdminPrefix::parse("//"), Err(BadAdminPrefix::WholeSite));
    for prefix in ["//admin", "/admin//", "/a//b", "/./admin", "/admin/..", "/."] {
        assert_eq!(AdminPrefix::parse(prefix), Err(BadAdminPrefix::Segment), "{prefix}");
    }
    for prefix in ["/%61dmin", "/ad min", "/admin?", "/admin#", "/a;b", "/é", "/a\\b", "/a+b", "/a\0"] {
        assert_eq!(AdminPrefix::parse(prefix), Err(BadAdminPrefix::Character), "{prefix}");
    }
}

#[test]
fn the_target_tells_its_authority_path_and_query() {
    let target = Target::parse(b"HTTP://h.example:8080/a%20b?c?d").unwrap();
    assert_eq!(target.authority, Some(&b"h.example:8080"[..]));
    assert_eq!((target.path, target.query), (&b"/a%20b"[..], Some(&b"c?d"[..])));
    let target = Target::parse(b"/x?").unwrap();
    assert_eq!((target.authority, target.path, target.query), (None, &b"/x"[..], Some(&b""[..])));
    assert_eq!(Target::parse(b"/x").unwrap().query, None);
    assert_eq!(Target::parse(b"http://h").unwrap().path, b"");
    assert!(decide(b"http://h/x", &admin()).unwrap().absolute_form);
    assert!(!decide(b"/x", &admin()).unwrap().absolute_form);
}

#[test]
fn the_usual_targets_have_one_reading_only() {
    for target in [
        "/HASH.narinfo",
        "/nar/zstd/HASH-gtk+-3.24.1",
        "/file/a/sha256/b",
        "/",
        "/build/1?x=%41",
        "/static/a.css",
    ] {
        assert!(Target::parse(target.as_bytes()).unwrap().plain, "{target}");
    }
    for target in ["/%41", "//x", "/.x", "/x/./y", "/x\\y", "/x;y", "/x//"] {
        assert!(!Target::parse(target.as_bytes()).unwrap().plain, "{target}");
    }
}

#[test]
fn a_target_of_many_segments_takes_time_in_proportion() {
    // Quadratic work on 16000 segments would take minutes; the gate must still be found at the end.
    for unit in ["/../x", "/%2e%2e/x", "/x%2F..", "/%252e./x", "\\..\\x"] {
        let long = format!("/{}/admin", unit.repeat(64_000 / unit.len()));
        assert_eq!(door(&long), Ok(Door::Admin));
    }
}

#[test]
fn the_page_is_found_by_its_decoded_path_and_no_other_spelling_of_it_is_passed_on() {
    let page = AdminPrefix::parse("/admin/gate").unwrap();
    let door = |target: &str| admin_door(target.as_bytes(), &page).unwrap();
    let at = |segments: &[&str]| {
        AdminDoor::Page(Some(segments.iter().map(|segment| (*segment).to_owned()).collect()))
    };
    for target in [
        "/admin/gate",
        "/admin/gate/",
        "//admin//gate/",
        "/%61dmin/g%61te?x",
        "/admin/x/../gate/.",
        "http://h/admin/gate",
    ] {
        assert_eq!(door(target), at(&[]), "{target}");
    }
    assert_eq!(door("/admin/gate/revoke/0A"), at(&["revoke", "0A"]));
    assert_eq!(door("/admin/gate/%72evoke//0A/?x=/y"), at(&["revoke", "0A"]));
    assert_eq!(door("/admin/gate/a%2Fb"), at(&["a/b"]));
    assert_eq!(door("/admin/gate/x/../day"), at(&["day"]));
    for target in [
        "/ADMIN/gate",
        "/admin/GATE/",
        "/admin%2Fgate",
        "/admin%2fgate/day",
        "/admin\\gate",
        "/%2561dmin/gate",
        "/admin/g%2561te",
        "/admin/gate/..",
        "/admin/gate/../build/1/restart",
        "/admin;x/gate",
        "/admin/gate;x",
        "/admin/gate%00",
        "//h/admin/gate",
        "/admin/x/../y/gate",
    ] {
        assert!(matches!(door(target), AdminDoor::Page(_)), "{target}");
        assert_ne!(door(target), at(&[]), "{target}");
    }
    for target in
        ["/admin", "/admin/", "/admin/gates", "/admin/build/1/restart", "/admin/x/gate", "/admin/?/gate"]
    {
        assert_eq!(door(target), AdminDoor::Ci, "{target}");
    }
}
