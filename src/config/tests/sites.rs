use super::{assert_has, refused, told};

#[test]
fn a_site_with_single_brackets_is_told_of_the_double_ones_and_read() {
    let told = told(&refused("[site]\nnames = ['10.0.0.1']\nci = 'http://localhost'"));
    assert_eq!(told.len(), 2, "{told:?}");
    assert_has(&told[0], &["1:1 site: `site` is a list of tables", "[[site]]"]);
    assert_has(&told[1], &["2:10 site.names"]);
}

#[test]
fn a_file_without_a_site_is_refused() {
    for text in ["", "site = []", "[limits]", "# nothing\n\n"] {
        assert_has(&told(&refused(text))[0], &["site: there is no site"]);
    }
    for text in ["site = 1", "site = [1]"] {
        let told = told(&refused(text));
        assert_eq!(told.len(), 1, "{told:?}");
        assert_has(&told[0], &["site: expected a"]);
    }
}

#[test]
fn a_site_needs_names_and_a_backend() {
    let told = told(&refused("[[site]]\n[[site]]\nnames = []\nci = 'http://localhost'\n"));
    assert_eq!(told.len(), 3, "{told:?}");
    assert_has(&told[0], &["1:1 site.names: this site has no names"]);
    assert_has(&told[1], &["1:1 site.publish: this site has neither publish nor ci"]);
    assert_has(&told[2], &["3:9 site.names: a site needs a name at least"]);
}

/// The one problem of a site with these lines.
fn site_problem(lines: &str) -> String {
    let problems = refused(&format!("[[site]]\n{lines}"));
    assert_eq!(problems.len(), 1, "{problems}");
    told(&problems).remove(0)
}

#[test]
fn a_name_that_no_client_can_send_is_refused() {
    let long = "a".repeat(64);
    for (name, hint) in [
        ("*.example.org", "no wildcards"),
        ("_", "first site already answers"),
        ("192.0.2.1", "counts as the first site"),
        ("[2001:db8::1]", "counts as the first site"),
        ("2001:db8::1", "counts as the first site"),
        ("192.0.2.1:80", "counts as the first site"),
        ("example.org:443", "\"example.org\""),
        ("https://example.org/x", "\"example.org\""),
        ("bücher.example", "xn--"),
        ("", "; -"),
        (".", "; -"),
        ("a..example", "; -"),
        ("-a.example", "; -"),
        ("a_b.example", "; -"),
        ("a b", "; -"),
        ("10.0.0.256", "; -"),
        (&long, "; -"),
        (&format!("{}a", "a.".repeat(127)), "; -"),
    ] {
        let told = site_problem(&format!("names = [\"{name}\"]\nci = 'http://localhost'"));
        assert_has(&told, &["site.names: expected a host name", hint]);
    }
}

#[test]
fn a_backend_that_is_more_or_less_than_host_and_port_is_refused() {
    for (written, part) in [
        ("https://localhost:3000", "TLS ends here"),
        ("unix:///run/publish", "only scheme here is http"),
        ("localhost:3000", "write \\\"http://localhost:3000\\\""),
        ("http://localhost:3000/", "write \\\"http://localhost:3000\\\""),
        ("http://localhost/guix?x", "no path"),
        ("http://user:secret@localhost:3000", "no user"),
        ("http://::1", "http://[::1]"),
        ("http://", "expected an address"),
        ("http://localhost:", "expected an address"),
        ("http://localhost:0", "expected an address"),
        ("http://localhost:+80", "expected an address"),
        ("http://localhost:65536", "expected an address"),
        ("http://[::1", "expected an address"),
        ("http://[::1]80", "expected an address"),
        ("http://[localhost]", "expected an address"),
        ("http://127.0.0.256", "expected an address"),
        ("http://a b", "expected an address"),
        ("", "expected an address"),
    ] {
        let told = site_problem(&format!("names = ['a.example']\nci = '{written}'"));
        assert_has(&told, &["site.ci: ", &part.replace('\\', "")]);
    }
}

#[test]
fn what_a_site_says_must_fit_what_it_has() {
    let site = "names = ['a.example']\n";
    let no_publish = site_problem(&format!("{site}ci = 'http://localhost'\nlog_route = 'publish'"));
    assert_has(&no_publish, &["4:13 site.log_route: this site has no publish"]);
    let twice = site_problem("names = ['a.example', 'A.example.']\nci = 'http://localhost'");
    assert_has(&twice, &["2:23 site.names: \"a.example\" is named already, in line 2"]);
    let no_key = site_problem(&format!("{site}ci = 'http://localhost'\ncertificate = {{ chain = 'x' }}"));
    assert_has(&no_key, &["4:15 site.certificate.key: `key` is missing"]);
    let unknown = site_problem(&format!(
        "{site}ci = 'http://localhost'\ncertificate = {{ chain = 'x', key = 'y', kye = 'z' }}"
    ));
    assert_has(&unknown, &["4:41 site.certificate.kye: unknown key", "did you mean `key`?"]);
    let word = site_problem(&format!("{site}ci = 'http://localhost'\ncertificate = '/etc/x.pem'"));
    assert_has(&word, &["expected \"acme\" or \"self-signed\"", "{ chain = "]);
    let slip = site_problem(&format!("{site}ci = 'http://localhost'\ncertificate = 'selfsigned'"));
    assert_has(&slip, &["did you mean \"self-signed\"?"]);
}
