//! The ways to write `/admin`, and what looks like it. `peers.rs` has Guile confirm them.

/// One way to write `/admin…`.
pub struct Spelling {
    pub target: Vec<u8>,
    /// Whether Debian's Guile 3.0.8 takes it for `/admin`. Later ones take all of them.
    pub guile_3_0_8: bool,
}

/// Every way to write `/admin` + `rest` that Guile's reading of a request line leads to the admin action.
pub fn spellings(rest: &str) -> Vec<Spelling> {
    let mut all = Vec::new();
    let mut add = |target: String, guile_3_0_8: bool| {
        // `\xa0` is written as U+00A0 here: requests are latin-1 to Guile.
        all.push(Spelling { target: target.chars().map(|char| char as u8).collect(), guile_3_0_8 });
    };
    add(format!("/admin{rest}"), true);
    // Each letter, both cases of the hex digits, and all of them.
    for at in 0..5 {
        let (before, after) = "admin".split_at(at);
        let byte = after.as_bytes()[0];
        add(format!("/{before}%{byte:02x}{}{rest}", &after[1..]), true);
        add(format!("/{before}%{byte:02X}{}{rest}", &after[1..]), true);
    }
    add(format!("/{}{rest}", "admin".bytes().map(|byte| format!("%{byte:02X}")).collect::<String>()), true);
    // Further letters encoded, in the rest too.
    add(format!("/%61%64min{}", rest.replace("restart", "%72estart").replace("build", "buil%64")), true);
    // Empty segments, wherever they are.
    add(format!("/admin/{rest}"), true);
    add(format!("/admin///{}", rest.replace('/', "//")), true);
    add(format!("/admin{rest}/"), true);
    add(format!("/admin{rest}///"), true);
    add(format!("//admin{rest}"), false);
    add(format!("///%61dmin//{rest}"), false);
    // With a query, with a fragment.
    add(format!("/admin{rest}?x=1"), true);
    add(format!("/admin{rest}#x"), true);
    add(format!("/admin{rest}?/../../static/x.css"), true);
    add(format!("/admin{rest}#/../../static/x.css"), true);
    // Absolute form: any host, any scheme, even without a host.
    for prefix in [
        "http://x",
        "https://farm.example",
        "HTTP://X",
        "http://u:p@x:99",
        "ftp://x",
        "foo:",
        "http://[::1]:80",
    ] {
        add(format!("{prefix}/admin{rest}"), true);
        add(format!("{prefix}/%61dmin{rest}"), true);
    }
    add(format!("http://x//admin{rest}"), true);
    add(format!("http://x///admin//{rest}"), true);
    add(format!("foo:admin{rest}"), true);
    add(format!("foo:%61dmin{rest}"), true);
    // White space in front of a target is skipped, and what counts as white space is Unicode's notion.
    for space in [" ", "\t", "\u{a0}", "\u{b}", "\u{c}"] {
        add(format!("{space}/admin{rest}"), true);
    }
    all
}

/// What is not `/admin` to Guile, or not in every reading, but comes close. Whatever happens: no action may run.
pub fn lookalikes() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [
        "/ADMIN/build/9/restart",
        "/Admin/build/9/restart",
        "/%41DMIN/build/9/restart",
        "/admin%2fbuild%2f9%2frestart",
        "/%2fadmin/build/9/restart",
        "/admin%2f/build/9/restart",
        "/%2561dmin/build/9/restart",
        "/admin;x=1/build/9/restart",
        "/admin%00/build/9/restart",
        "/adm%00in/build/9/restart",
        "/admin%20/build/9/restart",
        "/admin%0d%0a/build/9/restart",
        "/%c1%a1dmin/build/9/restart",
        "/%e0%81%a1dmin/build/9/restart",
        "/%ef%bd%81dmin/build/9/restart",
        "/\u{e1}dmin/build/9/restart",
        "/%u0061dmin/build/9/restart",
        "/%6/admin/build/9/restart",
        "/%zzadmin/build/9/restart",
        "/admin%/build/9/restart",
        "/admin\\build\\9\\restart",
        "\\admin/build/9/restart",
        "admin/build/9/restart",
        "*/admin/build/9/restart",
        "?/admin/build/9/restart",
        "#/admin/build/9/restart",
        "/.admin/build/9/restart",
        "/static\t/admin/build/9/restart",
        "/static /admin/build/9/restart",
        "/\u{ad}admin/build/9/restart",
    ]
    .iter()
    .map(|text| text.chars().map(|char| char as u8).collect())
    .collect();
    all.extend([
        b"/\0admin/build/9/restart".to_vec(),
        b"/admin\0/build/9/restart".to_vec(),
        b"\0/admin/build/9/restart".to_vec(),
        b"/\xff\xfeadmin/build/9/restart".to_vec(),
        b"/adm\xc2\xa0in/build/9/restart".to_vec(),
        b"/\x7fadmin/build/9/restart".to_vec(),
    ]);
    all
}

/// Two readings of one path, one of which is `/admin`: the stricter counts.
pub const DOTS: [&str; 14] = [
    "/./admin/build/9/restart",
    "/x/../admin/build/9/restart",
    "/x/../../admin/build/9/restart",
    "/static/../admin/build/9/restart",
    "/static/%2e%2e/admin/build/9/restart",
    "/static/.%2E/admin/build/9/restart",
    "/%2e/admin/build/9/restart",
    "/admin/../static/x.css",
    "/admin/..",
    "/admin/%2e%2e/static/x.css",
    "/admin/./build/9/restart",
    "/admin/x/../build/9/restart",
    "/.well-known/../admin/build/9/restart",
    "/nar/../admin/build/9/restart",
];
