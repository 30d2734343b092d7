use super::{SHORTEST, assert_has, problem, refused, told};
use crate::config::*;

#[test]
fn all_problems_are_reported_in_one_go_by_line() {
    let text = r#"
[lissen]
http = []
[timeouts]
connect = 10
read = "soon"
nar = "0s"
[[site]]
names = ["ci.example.org", "*.example.org"]
publish = "https://localhost:3000"
certficate = "acme"
log_route = "ci"
[[site]]
names = ["CI.example.org"]
[access_log]
ipv4_mask = 33
format = "jsn"
rotate = { size = "0B", keep = -1 }
"#;
    let expected = [
        "2:2 lissen: unknown key `lissen` at the top of the file; did you mean `listen`?",
        "5:11 timeouts.connect: expected a duration, found \"10\"; it needs a unit: \"10s\" if seconds are meant",
        "6:8 timeouts.read: expected a duration, found \"soon\"; write a whole number and one of ms, s, m, h, d, such as \"10s\" or \"2d\"",
        "7:7 timeouts.nar: this must not be zero; the shortest is \"1ms\"",
        "9:28 site.names: expected a host name such as \"ci.example.org\", found \"*.example.org\"; there are no wildcards: list every name that clients use",
        "10:11 site.publish: a backend is reached over plain http; backends run on this machine, and TLS ends here: write \"http://localhost:3000\"",
        "11:1 site.certficate: unknown key `certficate` in [[site]]; did you mean `certificate`?",
        "12:13 site.log_route: this site has no ci to answer /log/; add ci, or leave log_route out",
        "13:1 site.publish: this site has neither publish nor ci; add publish = \"http://localhost:3000\" or ci = \"http://localhost:8081\"",
        "14:10 site.names: \"ci.example.org\" is named already, in line 9; a name belongs to one site, once",
        "16:13 access_log.ipv4_mask: expected a whole number from 0 to 32, found the number 33; -",
        "17:10 access_log.format: expected \"combined\" or \"json\", found \"jsn\"; did you mean \"json\"?",
        "18:19 access_log.rotate.size: this must not be zero; write a size such as \"100MiB\"",
        "18:32 access_log.rotate.keep: expected a whole number from 0 to 100000, found the number -1; -",
    ];
    assert_eq!(told(&refused(text)), expected);
}

#[test]
fn a_problem_is_shown_with_its_line_a_caret_and_help() {
    let problems = refused(&format!("{SHORTEST}plain_htttp = \"serve\"\n[limits]\n\tbody = \"1MB\" # büt\n"));
    let expected = r#"error: unknown key `plain_htttp` in [[site]]
 --> /etc/farmgate/farmgate.toml:6:1
  |
6 | plain_htttp = "serve"
  | ^^^^^^^^^^^
  = help: did you mean `plain_http`?

error: expected a size, found "1MB"
 --> /etc/farmgate/farmgate.toml:8:9
  |
8 |  body = "1MB" # büt
  |         ^^^^^
  = help: units are powers of 1024: write "1MiB""#;
    assert_eq!(problems.to_string(), expected);
    assert_eq!(ConfigError::Invalid(problems).to_string(), expected);
}

#[test]
fn problems_are_readable_by_programs() {
    let problems = refused("");
    let json = serde_json::to_value(&problems).expect("plain data");
    assert_eq!(json[0]["severity"], "error");
    assert_eq!(json[0]["line"], 1);
    assert_eq!(json[0]["column"], 1);
    assert_eq!(json[0]["key"], "site");
    assert_eq!(json[0]["message"], "there is no site");
    assert_has(json[0]["hint"].as_str().expect("a hint"), &["[[site]]", "names", "publish"]);
    assert_eq!(problems.origin(), super::origin());
}

#[test]
fn what_is_not_toml_is_one_problem_where_the_parser_stopped() {
    for (text, place) in [
        ("[[site]]\nnames = [ci.example.org]\n", "2:10 -: string values must be quoted"),
        ("[cache]\nmemory = 32MiB\n", "2:10 -: string values must be quoted"),
        ("[cache]\n[cache]\n", "2:2 -: duplicate key"),
        ("[cache", "1:7 -: unclosed table"),
        ("a = \"", "1:6 -: "),
    ] {
        let told = told(&refused(text));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with(place), "{told:?}");
    }
}

#[test]
fn a_file_that_is_not_utf8_is_shown_where_it_stops_being_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("latin1.toml");
    std::fs::write(&path, b"[[site]]\n# b\xfcild farm\n").expect("written");
    match load(&path).expect_err("not text") {
        ConfigError::Invalid(problems) => {
            assert_has(&told(&problems)[0], &["2:4 -: this is not text in UTF-8"]);
            assert_has(&problems.to_string(), &["2 | # b\u{fffd}ild farm\n  |    ^\n"]);
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_key_in_the_wrong_table_is_sent_to_the_right_one() {
    for (more, hint) in [
        ("[cache]\nconnect = '1s'", "`connect` belongs in [timeouts]"),
        ("[cache]\ninactive = '1s'", "`inactive` belongs in [cache.logs] or [cache.static]"),
        ("[listen]\nwebroot = 'x'", "`webroot` belongs in [[site]]"),
        ("[listen]\nmasks = 1", "known here: http, https"),
        ("[cache.statics]\nmax_size = '1GiB'", "did you mean `static`?"),
        ("[cache.static]\nmax-size = '1GiB'", "did you mean `max_size`?"),
        ("[Limits]", "did you mean `limits`?"),
        ("[access_log.rotate]\nbody = '1MiB'", "`body` belongs in [limits]"),
    ] {
        assert_has(&problem(more), &["unknown key", hint]);
    }
    // Below [[site]], a dotted key is one of the site; what was meant is a table of the file.
    let below = told(&refused(&format!("{SHORTEST}listen.http = []")));
    assert_has(
        &below[0],
        &["site.listen: unknown key `listen` in [[site]]", "a table of its own: write [listen]"],
    );
    // Also where no site is there to show which keys it could have.
    assert_has(&told(&refused("names = ['a.example']"))[0], &["`names` belongs in [[site]]"]);
}

#[test]
fn what_lies_below_a_key_that_holds_no_table_is_not_called_unknown_too() {
    assert_has(
        &problem("[cache.memory]\nmax = 1"),
        &["cache.memory: expected a size such as", "found a table"],
    );
}

#[test]
fn a_table_is_not_a_value_and_a_value_no_table() {
    for (more, parts) in [
        ("[timeouts]\nread = true", ["expected a duration such as", "found true, without quotes"]),
        ("[access_log]\nrotate = '1GiB'", ["expected a table, found \"1GiB\"", "write [access_log.rotate]"]),
        ("[access_log]\nipv4_mask = '12'", ["found \"12\"", "write it without quotes: 12"]),
        ("[access_log]\nipv4_mask = 12.0", ["a whole number from 0 to 32", "found the number 12.0"]),
        ("[listen]\nhttp = '0.0.0.0:80'", ["expected a list", "http = [\"0.0.0.0:80\"]"]),
        ("[admin]\nclient_ca = ['a']", ["expected the name of a file", "found a list"]),
        (
            "[limits]\nconnections = 1979-05-27",
            ["a whole number from 1 to 1000000", "found the date 1979-05-27"],
        ),
        ("[limits]\nconnections = 99999999999999999999", ["a whole number from 1", "found the number 9999"]),
        ("[limits]\nbody = 1048576", ["expected a size, found \"1048576\"", "\"1048576B\" if bytes"]),
    ] {
        assert_has(&problem(more), &parts);
    }
}

#[test]
fn an_address_is_listened_on_once() {
    assert_has(
        &problem("[listen]\nhttp = ['[::]:80', '[0::0]:80']"),
        &["listen.http: [::]:80 is listened on already, by listen.http in line 2"],
    );
    assert_has(
        &problem("[listen]\nhttp = ['127.0.0.1:80']\nhttps = ['127.0.0.1:80']"),
        &["listen.https: 127.0.0.1:80 is listened on already, by listen.http in line 2"],
    );
    // One of them may be the default.
    assert_has(
        &problem("[listen]\nhttp = ['[::]:443']"),
        &["[::]:443 is listened on already, by the default of listen.https"],
    );
    assert_has(
        &problem("[metrics]\nlisten = '0.0.0.0:80'"),
        &["metrics.listen: 0.0.0.0:80 is listened on already"],
    );
    assert_has(&problem("[listen]\nhttp = []\nhttps = []"), &["there is nothing to listen on"]);
}

#[test]
fn a_bad_address_is_answered_with_a_good_one() {
    for (written, hint) in [
        ("80", "both \"0.0.0.0:80\" and \"[::]:80\""),
        (":80", "both \"0.0.0.0:80\" and \"[::]:80\""),
        ("*:80", "both \"0.0.0.0:80\" and \"[::]:80\""),
        ("localhost:80", "\"127.0.0.1:80\""),
        ("192.0.2.1", "\"192.0.2.1:80\""),
        ("::1", "\"[::1]:80\""),
        ("192.0.2.1:65536", "up to 65535"),
        ("", "names are not looked up"),
    ] {
        assert_has(
            &problem(&format!("[listen]\nhttp = ['{written}']")),
            &["expected an address and a port", hint],
        );
    }
}

#[test]
fn a_prefix_has_one_spelling_and_closes_less_than_all() {
    for prefix in [
        "",
        "/",
        "admin",
        "/admin/",
        "//admin",
        "/a//b",
        "/a/./b",
        "/a/..",
        "/%61dmin",
        "/admin?x",
        "/ad min",
        "/ädmin",
        "/a\\\\b",
        "/a\\u0000",
    ] {
        assert_has(&problem(&format!("[admin]\nprefix = \"{prefix}\"")), &["admin.prefix: expected a path"]);
    }
}

#[test]
fn an_acme_server_is_a_known_name_or_an_https_url() {
    for (written, hint) in [
        ("letsencript", "did you mean \"letsencrypt\"?"),
        ("letsencrypt-stagin", "did you mean \"letsencrypt-staging\"?"),
        ("http://localhost:14000/dir", "\"https://localhost:14000/dir\""),
        ("ftp://localhost/dir", "looks like"),
        ("https://", "looks like"),
        ("https://user@acme.example/dir", "looks like"),
        ("https://acme.example/a b", "looks like"),
        ("", "; -"),
    ] {
        assert_has(
            &problem(&format!("[acme]\ndirectory = '{written}'")),
            &["acme.directory: expected", hint],
        );
    }
}

#[test]
fn a_contact_is_a_mail_address() {
    assert_has(&problem("[acme]\ncontact = ['mailto:a@example.org']"), &["\"a@example.org\""]);
    for written in [
        "",
        "a",
        "@example.org",
        "a@",
        "a@b@example.org",
        "a@example.org?cc=b",
        "a,b@example.org",
        "a b@example.org",
    ] {
        assert_has(
            &problem(&format!("[acme]\ncontact = ['{written}']")),
            &["acme.contact: expected a mail address"],
        );
    }
}

#[test]
fn a_path_must_name_something_that_can_be_opened() {
    for (more, part) in [
        ("pid = ''", "expected the name of a file"),
        ("pid = \"a\\u0000b\"", "expected the name of a file"),
        ("state = '~/farmgate'", "`~` is known to shells only"),
        ("state = '/var/cache/farmgate/state'", "state lies inside cache"),
        ("cache = '/var/lib'", "state lies inside cache"),
        ("cache = '/var/lib/farmgate'", "state lies inside cache"),
    ] {
        assert_has(&problem(&format!("[paths]\n{more}")), &[part]);
    }
    assert_has(&problem(&format!("[paths]\ncontrol = '/{}'", "a".repeat(107))), &["107 bytes at most"]);
}

#[test]
fn zero_is_refused_where_nothing_would_work() {
    for key in [
        "timeouts.connect",
        "timeouts.read",
        "timeouts.send",
        "timeouts.nar",
        "timeouts.idle",
        "limits.header_timeout",
        "limits.connection_age",
        "cache.static.inactive",
        "cache.logs.inactive",
    ] {
        let problems = refused(&format!("{key} = '0ms'\n{SHORTEST}"));
        assert_has(&told(&problems)[0], &[&format!("{key}: this must not be zero")]);
    }
    for key in ["limits.connections", "limits.connections_per_client", "limits.connection_requests"] {
        let problems = refused(&format!("{key} = 0\n{SHORTEST}"));
        assert_has(&told(&problems)[0], &["expected a whole number from 1"]);
    }
}

#[test]
fn a_file_cannot_talk_to_the_terminal() {
    let problems =
        refused(&format!("{SHORTEST}'\u{9b}31m' = 1\n\"\\u001b[31m\" = 1\nlog_route = \"\\u001b[31m\""));
    assert_eq!(problems.len(), 3);
    assert!(!problems.to_string().contains(|c: char| c.is_control() && c != '\n'), "{problems}");
}

#[test]
fn an_account_elsewhere_has_a_name_and_one_key() {
    assert_has(&problem("[acme.eab]\nhmac_key = 'YWJj'"), &["acme.eab.kid", "is missing"]);
    assert_has(&problem("[acme.eab]\nkid = 'k'"), &["acme.eab.hmac_key", "hmac_key_file"]);
    assert_has(&problem("[acme.eab]\nkid = 'k'\nhmac_key = 'a b'"), &["expected a key in base64url"]);
    let both = "[acme.eab]\nkid = 'k'\nhmac_key = 'YWJj'\nhmac_key_file = '/f'";
    assert_has(&problem(both), &["expected `hmac_key` or `hmac_key_file`"]);
    assert_has(&problem("[acme]\nkey_type = 'rsa1024'"), &["acme.key_type", "rsa2048"]);
    assert_has(&problem("[acme.fallback]\nca_file = '/f'"), &["`directory` is missing"]);
    assert_has(&problem("[acme]\nfallback = 'http://x.example/dir'"), &["over https only"]);
}

#[test]
fn a_process_is_a_user_by_name_and_less_than_root() {
    for (line, said) in [
        ("user = 'root'", "root is what it is to become less than"),
        ("user = '1000'", "expected the name of an account such as \"farmgate\", found \"1000\""),
        ("user = '-x'", "expected the name of an account"),
        ("user = ''", "expected the name of an account"),
        ("group = 'www'", "there is a group and no user; add user = \"farmgate\""),
        ("landlock = 'true'", "expected true or false, found \"true\"; write it without quotes: true"),
        ("seccomp = 1", "expected true or false, found the number 1"),
    ] {
        let problems = told(&refused(&format!("{SHORTEST}[process]\n{line}")));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_has(&problems[0], &[said]);
    }
}
