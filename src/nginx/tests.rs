//! What is refused, and why: nothing about the admin pages is guessed.

use std::fmt::Write as _;
use std::path::Path;

use super::*;

/// A farm with this in its server, and this below it as a location.
fn farm(server: &str, locations: &str) -> String {
    format!(
        "http {{ server {{ listen 80; listen 443 ssl; server_name a.example;
           ssl_certificate /c.pem; ssl_certificate_key /k.pem; {server}
           location ~ \\.narinfo$ {{ proxy_pass http://localhost:3000; }}
           location / {{ proxy_pass http://localhost:8081; }}
           {locations} }} }}"
    )
}

const CERTIFICATES: &str = "ssl_client_certificate /ca.crt; ssl_verify_client optional;";
const GATE: &str = "location ~ ^/admin { if ($ssl_client_verify != SUCCESS) { return 403; } proxy_pass http://localhost:8081; }";

fn read(text: &str) -> Result<Imported, Refusal> {
    read_with(text, Options::default())
}

fn read_with(text: &str, options: Options) -> Result<Imported, Refusal> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nginx.conf");
    std::fs::write(&path, text).unwrap();
    import(&path, options)
}

fn config(imported: &Imported) -> config::Config {
    config::parse(&imported.toml, Path::new("/etc/farmgate/farmgate.toml")).expect("a good file").config
}

fn refusal(text: &str) -> String {
    match read(text) {
        Ok(imported) => panic!("not refused:\n{text}\n{}", imported.toml),
        Err(refusal) => refusal.to_string(),
    }
}

#[test]
fn a_certificate_of_the_ca_is_the_one_rule_for_the_admin_pages_that_is_carried_over() {
    for gate in [
        GATE,
        "location /admin { if ($ssl_client_verify != \"SUCCESS\") { return 403; } proxy_pass http://localhost:8081; }",
        "location ^~ /admin { if ($ssl_client_verify = NONE) { return 404; } proxy_pass http://localhost:8081/admin; }",
        "location ~* ^/admin(/|$) { if ($ssl_client_verify !~ ^SUCCESS$) { return 444; } proxy_pass http://localhost:8081; }",
    ] {
        let imported = read(&farm(&format!("{CERTIFICATES} ssl_crl /crl.pem;"), gate)).expect(gate);
        let admin = config(&imported).admin;
        assert_eq!(admin.client_ca, Path::new("/ca.crt"), "{gate}");
        assert_eq!(admin.crl, [Path::new("/crl.pem")], "{gate}");
    }
}

#[test]
fn any_other_rule_for_the_admin_pages_is_refused_with_its_line() {
    let asks = CERTIFICATES;
    for (server, gate, why) in [
        (asks, "", "lets everybody into /admin all the same"),
        ("ssl_client_certificate /ca.crt; ssl_verify_client on;", GATE, "wants a certificate for every page"),
        ("ssl_client_certificate /ca.crt; ssl_verify_client optional_no_ca;", GATE, "that nobody has checked"),
        ("", GATE, "do not say of whom"),
        ("ssl_verify_client optional;", GATE, "do not say of whom"),
        (asks, "location /admin { deny all; proxy_pass http://localhost:8081; }", "deny all decides"),
        (asks, "location /admin { allow 10.0.0.0/8; deny all; proxy_pass http://localhost:8081; }", "deny all decides"),
        ("", "location /admin { auth_basic x; proxy_pass http://localhost:8081; }", "auth_basic x decides"),
        ("", "location /admin { auth_request /a; proxy_pass http://localhost:8081; }", "auth_request /a decides"),
        (
            asks,
            "location /admin { if ($http_x_key != s3cret) { return 403; } \
             if ($ssl_client_verify != SUCCESS) { return 403; } proxy_pass http://localhost:8081; }",
            "by what a client says",
        ),
        (
            asks,
            "location /admin { if ($ssl_client_s_dn !~ CN=ada) { return 403; } proxy_pass http://localhost:8081; }",
            "something else with /admin",
        ),
        (
            asks,
            "location /admin { if ($ssl_client_verify != SUCCESS) { return 403; } proxy_pass http://localhost:8081; }
             location /admin/build { proxy_pass http://localhost:8081; }",
            "some pages below /admin differently",
        ),
        (
            asks,
            "location = /admin { if ($ssl_client_verify != SUCCESS) { return 403; } proxy_pass http://localhost:8081; }",
            "some pages below /admin differently",
        ),
        (asks, "location ~ ^/admin(?!x) { deny all; }", "cannot be read here"),
        (asks, "location /admin { proxy_pass http://$backend; }", "something else with /admin"),
        (asks, "location /admin { return 403; }", "lets nobody into /admin"),
        (
            asks,
            "location /admin { if ($ssl_client_verify != SUCCESS) { return 403; } proxy_pass http://localhost:9; }",
            "another backend than the pages",
        ),
    ] {
        let text = refusal(&farm(server, gate));
        assert!(text.contains(why), "{why:?} for {server} {gate} in\n{text}");
        assert!(text.contains("nginx.conf:"), "{text}");
    }
}

#[test]
fn the_admin_pages_stay_closed_when_that_is_what_is_asked_for() {
    let text = farm("ssl_client_certificate /ca.crt; ssl_verify_client optional_no_ca;", GATE);
    let imported = read_with(&text, Options { admin_closed: true }).expect("a way out");
    // The default, where nothing is until somebody makes a CA.
    assert_eq!(config(&imported).admin.client_ca, Path::new("/var/lib/farmgate/admin/ca.crt"));
    assert!(imported.notes.iter().any(|note| note.to_string().contains("--admin-closed")));
}

#[test]
fn admin_pages_that_were_open_to_all_are_closed_and_that_is_said() {
    let imported = read(&farm("", "")).expect("a farm");
    assert!(imported.notes.iter().any(|note| note.to_string().contains("everybody can use /admin in nginx")));
    assert!(!imported.toml.contains("client_ca"));
}

#[test]
fn two_sites_with_admins_of_different_cas_are_refused() {
    let site = |name: &str, ca: &str| {
        format!(
            "server {{ listen 443 ssl; server_name {name}; ssl_certificate /c.pem; ssl_certificate_key /k.pem;
             ssl_client_certificate {ca}; ssl_verify_client optional; location / {{ proxy_pass http://localhost:8081; }} {GATE} }}"
        )
    };
    let both = |one: &str, other: &str| {
        format!("http {{ {} {} }}", site("a.example", one), site("b.example", other))
    };
    assert!(refusal(&both("/a.crt", "/b.crt")).contains("different CAs"));
    let imported = read(&both("/a.crt", "/a.crt")).expect("the same");
    assert_eq!(config(&imported).sites.len(), 2);
}

#[test]
fn a_server_that_redirects_for_many_makes_no_one_site_of_them() {
    let site = |name: &str, port: u16| {
        format!(
            "server {{ listen 443 ssl; server_name {name}; ssl_certificate /c.pem; ssl_certificate_key /k.pem; \
             location / {{ proxy_pass http://localhost:{port}; }} }}"
        )
    };
    let text = format!(
        "http {{ server {{ listen 80; server_name a.example b.example; return 301 https://$host$request_uri; }} {} {} }}",
        site("a.example", 3000),
        site("b.example", 3001)
    );
    let sites = config(&read(&text).expect("two farms")).sites;
    let found: Vec<_> =
        sites.iter().map(|site| (site.names.join(" "), site.publish.clone().unwrap().port)).collect();
    assert_eq!(found, [("a.example".to_owned(), 3000), ("b.example".to_owned(), 3001)]);
    assert!(sites.iter().all(|site| site.plain_http == config::PlainHttp::Redirect));
}

#[test]
fn what_nginx_closes_and_the_gate_would_open_is_refused() {
    for (server, location, why) in [
        ("auth_basic x;", "", "auth_basic"),
        ("allow 10.0.0.0/8; deny all;", "", "deny"),
        ("ssl_client_certificate /ca.crt; ssl_verify_client on;", "", "ssl_verify_client"),
        (
            "",
            "location /api { if ($remote_addr != 127.0.0.1) { return 403; } proxy_pass http://localhost:8081; }",
            "cannot be said",
        ),
        (
            "",
            "location /api { if ($http_x_key != s3cret) { return 403; } proxy_pass http://localhost:8081; }",
            "cannot be said",
        ),
        ("", "location ~ ^/(?!api) { proxy_pass http://localhost:8081; }", "cannot be said"),
        ("", "location /jobset { auth_basic x; proxy_pass http://localhost:8081; }", "auth_basic"),
        ("", "location /secret { auth_basic x; proxy_pass http://localhost:8081; }", "/secret"),
        (
            CERTIFICATES,
            "location /vip { if ($ssl_client_verify != SUCCESS) { return 403; } proxy_pass http://localhost:8081; }",
            "/vip",
        ),
    ] {
        let text = refusal(&farm(server, &format!("{location} {GATE}")));
        assert!(text.contains(why), "{why:?} in\n{text}");
    }
}

#[test]
fn what_is_no_farm_is_refused() {
    for (text, why) in [
        ("", "no server"),
        ("http { }", "no server"),
        ("http { server { server_name a.example; root /srv; } }", "there is no farm"),
        ("http { server { location / { proxy_pass http://localhost:3000; } } }", "has no name"),
        (
            "http { server { server_name a.example; location / { proxy_pass https://localhost; } } }",
            "plain HTTP",
        ),
        ("http { server { server_name a.example; location / { proxy_pass http://$x; } } }", "variable"),
        (
            "http { server { server_name a.example; location / { proxy_pass http://unix:/x; } } }",
            "Unix socket",
        ),
        (
            "http { server { server_name a.example; location / { proxy_pass http://localhost/x/; } } }",
            "changes the path",
        ),
        (
            "http { server { listen 443 ssl; server_name a.example; location / { proxy_pass http://b; } } }",
            "ssl_certificate",
        ),
    ] {
        let told = refusal(text);
        assert!(told.contains(why), "{why:?} in {told:?}");
    }
}

#[test]
fn who_answers_is_asked_of_nginxs_own_rules() {
    // The longest prefix, but for regular expressions in their order, but for ^~ and =.
    let text = "http { upstream p { server 127.0.0.1:1 backup; server 127.0.0.1:3000; } server { server_name a.example;
        location / { try_files /maintenance @pages; }
        location @pages { proxy_pass http://127.0.0.1:8081; }
        location ~ ^/[a-z0-9]+\\.narinfo$ { proxy_pass http://p; }
        location ~ narinfo { return 404; }
        location ^~ /nar/ { location ~ gzip { proxy_pass http://p; } }
        location ~ ^/nar/ { return 404; }
        location =/nix-cache-info { proxy_pass http://p; }
        location /log/ { proxy_pass http://p; } } }";
    let site = config(&read(text).expect("a farm")).sites.remove(0);
    assert_eq!(site.publish.unwrap().to_string(), "127.0.0.1:3000");
    assert_eq!(site.ci.unwrap().to_string(), "127.0.0.1:8081");
    assert_eq!(site.log_route, config::LogRoute::Publish);
}

#[test]
fn a_name_that_no_site_can_have_is_told_of_and_the_others_stay() {
    let text = "http { server { server_name A.Example. .b.example *.c.example ~^d _; \
                location / { proxy_pass http://localhost:3000; } } }";
    let imported = read(text).expect("a farm");
    assert_eq!(config(&imported).sites[0].names, ["a.example", "b.example"]);
    let note =
        imported.notes.iter().find(|note| note.to_string().contains("server_name")).expect("a word on it");
    assert!(note.to_string().contains("*.b.example *.c.example ~^d is left behind"), "{note}");
}

#[test]
fn words_are_taken_apart_as_nginx_does_it() {
    let file = Path::new("f").into();
    let mut id = 0;
    let text = "a 'b \\' c' \"d;{}\" e\\ f#g; # h;\nset $x \"${y}z\"; if ($a = \"b\") { return 200 'x\\n'; } i ${j}k;";
    let parsed = syntax::parse(text, &file, 0, &mut id, &mut |_, _, _| Ok(Vec::new())).expect("good");
    let mut shown = String::new();
    for one in &parsed {
        let _ = write!(shown, "{} {:?} {}; ", one.name, one.args, one.inside().len());
    }
    assert_eq!(
        shown,
        "a [\"b ' c\", \"d;{}\", \"e\\\\ f#g\"] 0; set [\"$x\", \"${y}z\"] 0; \
         if [\"($a\", \"=\", \"b\", \")\"] 1; i [\"${j}k\"] 0; "
    );
}

#[test]
fn what_nginx_would_not_take_is_an_error_with_its_line() {
    let deep = format!("http {{\n{}", "a {".repeat(100_000));
    for (text, line, why) in [
        ("a\nb", 2, "unexpected end of file"),
        ("a {\n b;\n", 3, "a \"}\" is missing"),
        ("a;\n}", 2, "unexpected \"}\""),
        ("\n;", 2, "unexpected \";\""),
        ("a\n\"b", 2, "never closed"),
        ("a 'b'c;", 1, "right behind a closing"),
        ("content_by_lua_block { x }", 1, "Lua"),
        ("include a b;", 1, "one file"),
        ("include /nonexistent.conf;", 1, "/nonexistent.conf cannot be read"),
        ("include /dev/zero;", 1, "not a file"),
        ("include nginx.conf;", 1, "include each other"),
        ("include [;", 1, "no pattern"),
        (&deep, 2, "more than 32 blocks"),
    ] {
        let told = refusal(text);
        assert!(told.contains(&format!("nginx.conf:{line}: ")), "{line} in {told}");
        assert!(told.contains(why), "{why:?} in {told}");
    }
}

#[test]
fn times_and_sizes_keep_their_length() {
    for (nginx, ours) in [
        ("60", "\"60s\""),
        ("1h30m", "\"90m\""),
        ("2d", "\"2d\""),
        ("500ms", "\"500ms\""),
        ("1w", "\"7d\""),
        ("0", "\"0s\""),
    ] {
        assert_eq!(values::time(nginx).map(values::duration_in_toml).as_deref(), Some(ours), "{nginx}");
    }
    for (nginx, ours) in
        [("200m", "\"200MiB\""), ("128k", "\"128KiB\""), ("10G", "\"10GiB\""), ("77", "\"77B\"")]
    {
        assert_eq!(values::size(nginx).map(values::size_in_toml).as_deref(), Some(ours), "{nginx}");
    }
    for text in ["", "x", "10x", "1.5h", "-1", "99999999999999999999d", "9999999999999999d"] {
        assert_eq!(values::time(text), None, "{text}");
        assert_eq!(values::size(text), None, "{text}");
    }
}
