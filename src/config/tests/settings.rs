use std::path::Path;

use super::{SHORTEST, assert_has, config, loaded, told};
use crate::config::*;

/// What the value of `publish` becomes.
fn backend(written: &str) -> String {
    let text = format!("[[site]]\nnames = [\"a.example\"]\npublish = \"{written}\"");
    loaded(&text).config.sites[0].publish.as_ref().expect("given").to_string()
}

#[test]
fn a_backend_is_a_host_and_a_port() {
    for (written, meant) in [
        ("http://localhost:3000", "localhost:3000"),
        ("http://LocalHost", "localhost:80"),
        ("HTTP://127.0.0.1:8081", "127.0.0.1:8081"),
        ("http://[::1]:3000", "[::1]:3000"),
        ("http://[::1]", "[::1]:80"),
        ("http://guix_publish.internal:65535", "guix_publish.internal:65535"),
    ] {
        assert_eq!(backend(written), meant, "{written}");
    }
}

#[test]
fn names_are_taken_in_any_case_and_with_a_dot_at_the_end() {
    let site = &loaded(
        r#"site = [{ names = ["CI.Example.Org.", "localhost", "xn--bcher-kva.example"], ci = "http://localhost" }]"#,
    )
    .config
    .sites[0];
    assert_eq!(site.names, ["ci.example.org", "localhost", "xn--bcher-kva.example"]);
}

#[test]
fn files_are_relative_to_the_folder_of_the_configuration() {
    let text = r#"
        [paths]
        state = "state"
        pid = "/run/pid"
        [[site]]
        names = ["a.example"]
        ci = "http://localhost"
        certificate = { chain = "tls/chain.pem", key = "tls/key.pem" }
        webroot = "www"
        [admin]
        crl = ["../crl.pem"]
        [acme]
        ca_file = "root.pem"
        [access_log]
        http = "log"
        https = "-"
    "#;
    let config = parse(text, Path::new("/srv/gate/farmgate.toml")).expect("good").config;
    let in_folder = |name: &str| Path::new("/srv/gate").join(name);
    assert_eq!(config.paths.state, in_folder("state"));
    assert_eq!(config.paths.pid, Path::new("/run/pid"));
    let files = Certificate::Files { chain: in_folder("tls/chain.pem"), key: in_folder("tls/key.pem") };
    assert_eq!(config.sites[0].certificate, files);
    assert_eq!(config.sites[0].webroot, Some(in_folder("www")));
    assert_eq!(config.admin.client_ca, in_folder("state/admin/ca.crt"));
    assert_eq!(config.admin.crl, [in_folder("../crl.pem")]);
    assert_eq!(config.acme.ca_file, Some(in_folder("root.pem")));
    assert_eq!(config.access_log.http, LogTarget::File(in_folder("log")));
    assert_eq!(config.access_log.https, LogTarget::Stdout);
}

#[test]
fn logs_go_to_the_backend_there_is() {
    let route = |backend: &str| {
        loaded(&format!("[[site]]\nnames = [\"a.example\"]\n{backend} = \"http://localhost\"")).config.sites
            [0]
        .log_route
    };
    assert_eq!(route("publish"), LogRoute::Publish);
    assert_eq!(route("ci"), LogRoute::Ci);
    assert_eq!(config("").sites[0].log_route, LogRoute::Ci);
    assert_eq!(
        loaded(&format!("{SHORTEST}log_route = 'publish'")).config.sites[0].log_route,
        LogRoute::Publish
    );
}

#[test]
fn every_word_means_one_thing() {
    let site = |line: &str| loaded(&format!("{SHORTEST}{line}")).config.sites.remove(0);
    assert_eq!(site("certificate = 'self-signed'").certificate, Certificate::SelfSigned);
    assert_eq!(site("plain_http = 'substitutes'").plain_http, PlainHttp::Substitutes);
    assert_eq!(site("plain_http = 'redirect'").plain_http, PlainHttp::Redirect);
    assert_eq!(config("access_log.format = 'json'").access_log.format, LogFormat::Json);
    assert_eq!(config("access_log.http = 'off'").access_log.http, LogTarget::Off);
    assert_eq!(config("metrics.listen = 'off'").metrics.listen, None);
    let staging = "https://acme-staging-v02.api.letsencrypt.org/directory";
    assert_eq!(config("acme.directory = 'letsencrypt-staging'").acme.directory, staging);
    let pebble = "https://localhost:14000/dir";
    assert_eq!(config(&format!("acme.directory = '{pebble}'")).acme.directory, pebble);
}

#[test]
fn the_outermost_values_are_taken() {
    let access_log =
        config("access_log = { ipv4_mask = 32, ipv6_mask = 128, rotate = { keep = 0 } }").access_log;
    assert_eq!((access_log.ipv4_mask, access_log.ipv6_mask, access_log.rotate.keep), (32, 128, 0));
    assert_eq!(access_log.rotate.age, None);
    assert_eq!(
        config("access_log.rotate.age = '1d'").access_log.rotate.age,
        Some(std::time::Duration::from_secs(86_400))
    );
    let access_log = config("access_log = { ipv4_mask = 0, ipv6_mask = 0x54 }").access_log;
    assert_eq!((access_log.ipv4_mask, access_log.ipv6_mask), (0, 84));
    assert!(config("timeouts.backend_restart = '0s'").timeouts.backend_restart.is_zero());
    assert!(config("cache.static.fallback_ttl = '0s'").cache.static_files.fallback_ttl.is_zero());
    assert_eq!(config("cache.memory = '0B'").cache.memory, 0);
    assert_eq!(config("admin.prefix = '/cuirass/admin-2'").admin.prefix, "/cuirass/admin-2");
}

#[test]
fn the_system_may_choose_any_number_of_ports() {
    let listen = config("listen = { http = ['127.0.0.1:0', '127.0.0.1:0'], https = ['127.0.0.1:0'] }").listen;
    assert_eq!((listen.http.len(), listen.https.len()), (2, 1));
    assert!(config("listen.http = []").listen.http.is_empty());
}

#[test]
fn what_is_good_but_hardly_meant_is_a_warning() {
    let text = r#"
        [[site]]
        names = ["a.example"]
        ci = "http://localhost"
        certificate = "self-signed"
        plain_http = "substitutes"
        [acme]
        contact = ["a@example.org"]
        [limits]
        connections = 10
    "#;
    let loaded = loaded(&format!("{text}connections_per_client = 11"));
    let told = told(&loaded.warnings);
    assert_eq!(told.len(), 3, "{told:?}");
    assert_has(&told[0], &["6:22 site.plain_http: this site has no publish"]);
    assert_has(&told[1], &["7:9 acme: no site has certificate"]);
    assert_has(&told[2], &["11:30 limits.connections_per_client: all clients together have 10"]);
    assert_has(&loaded.warnings.to_string(), &["warning: this site has no publish"]);
}

#[test]
fn a_file_is_read_and_its_origin_is_absolute() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("farmgate.toml");
    std::fs::write(&path, format!("\u{feff}{}", SHORTEST.replace('\n', "\r\n"))).expect("written");
    assert_eq!(load(&path).expect("good").config.origin, path);

    let absent = load(&folder.path().join("absent.toml")).expect_err("no such file");
    assert!(matches!(absent, ConfigError::Unreadable { .. }));
    assert_has(&absent.to_string(), &["cannot read the configuration", "absent.toml", "No such file"]);
}

#[test]
fn a_relative_file_without_a_folder_has_the_current_one() {
    let text = format!("paths.pid = 'pid'\n{SHORTEST}");
    let config = parse(&text, Path::new("farmgate.toml")).expect("good").config;
    assert_eq!(config.paths.pid, Path::new("pid"));
}

#[test]
fn an_acme_account_elsewhere_a_kind_of_certificate_and_a_fallback_are_taken() {
    let acme = config("").acme;
    assert_eq!((acme.key_type, acme.profile, acme.eab, acme.fallback), (KeyType::P256, None, None, None));
    let acme = config(
        r#"
        [acme]
        profile = "shortlived"
        key_type = "rsa2048"
        eab = { kid = "kid-1", hmac_key_file = "/run/secrets/hmac" }
        fallback = "letsencrypt"
        "#,
    )
    .acme;
    assert_eq!((acme.key_type, acme.profile.as_deref()), (KeyType::Rsa2048, Some("shortlived")));
    assert_eq!(acme.eab.expect("given").hmac_key, HmacKey::File("/run/secrets/hmac".into()));
    let fallback = acme.fallback.expect("given");
    assert_eq!(
        (fallback.directory.as_str(), fallback.eab),
        ("https://acme-v02.api.letsencrypt.org/directory", None)
    );
    let acme = config(
        r#"
        [acme.fallback]
        directory = "https://acme.zerossl.com/v2/DV90"
        eab = { kid = "k", hmac_key = "c2VjcmV0_-" }
        "#,
    )
    .acme;
    let fallback = acme.fallback.expect("given");
    assert_eq!(fallback.directory, "https://acme.zerossl.com/v2/DV90");
    // A secret is shown to nobody.
    assert!(!format!("{fallback:?}").contains("c2VjcmV0"), "{fallback:?}");
}

#[test]
fn the_process_is_kept_small_unless_it_is_told_otherwise() {
    let process = config("").process;
    assert!(process.landlock && process.seccomp && !process.core_dumps && process.user.is_none());
    let process = config("process = { user = 'farm-gate', group = 'www_data', landlock = false }").process;
    assert_eq!((process.user.as_deref(), process.group.as_deref()), (Some("farm-gate"), Some("www_data")));
    assert!(!process.landlock && process.seccomp);
}
