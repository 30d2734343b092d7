//! The page in a real browser: how it looks, whom it keeps out, and whether it does what it says.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{MISSING, PRESENT, issue};
use crate::admin::{Desk, password};
use crate::chromium::{Chromium, equipped, scene_with};
use crate::support::config::Site;
use crate::support::http1::Connection;
use crate::support::pki::Identity;
use crate::support::{eventually_true, free_port};

/// axe-core, which `./dev test` puts there.
fn axe() -> Option<PathBuf> {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("peers").join("axe.min.js");
    if !file.is_file() {
        assert!(
            std::env::var_os("FARMGATE_TEST_SKIP_MISSING").is_some(),
            "there is no {}: \"./dev test\" puts it there (or set FARMGATE_TEST_SKIP_MISSING=1 to skip what needs it)",
            file.display()
        );
        return None;
    }
    Some(file)
}

/// The ways to look at the page.
fn views() -> Vec<(&'static str, Value)> {
    let mut views = Vec::new();
    for (size, width, height) in [("phone", 390, 844), ("desktop", 1280, 900)] {
        for scheme in ["light", "dark"] {
            let name = match (size, scheme) {
                ("phone", "light") => "phone-light",
                ("phone", _) => "phone-dark",
                (_, "light") => "desktop-light",
                _ => "desktop-dark",
            };
            views.push((name, json!({ "width": width, "height": height, "scheme": scheme })));
        }
    }
    views
}

/// Where the pictures go, for somebody to look at.
fn pictures() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gate-page");
    fs::create_dir_all(&folder).expect("a folder for pictures");
    folder
}

#[test]
fn in_a_browser_it_is_readable_at_any_size_kept_fresh_and_a_certificate_is_revoked_by_two_clicks() {
    if !equipped() {
        return;
    }
    let Some(axe) = axe() else { return };
    let axe = axe.display().to_string();
    let dead = format!("http://127.0.0.1:{}", free_port());
    let (desk, authority) = scene_with(|config| {
        config.set("timeouts.backend_restart", "\"0s\"").site(Site::new("other.example").publish(&dead))
    });
    let secret = password(&desk.ok(&["issue", "alice"]));
    let bob = issue(&desk, "bob");
    issue(&desk, "carol");
    desk.ok(&["revoke", "carol"]);
    let mut client = desk.farm.gate.http();
    for at in 0..60 {
        client.get(if at % 3 == 0 { MISSING } else { PRESENT });
    }
    assert_eq!(
        Connection::plain(desk.farm.gate.http_addr(), "other.example").get("/nix-cache-info").status,
        502
    );

    let browser = Chromium::new(&desk, &authority);
    browser.import(&desk.here("alice.p12"), &secret);
    let mut browser = browser.start();
    let confirm = format!("/admin/gate/revoke/{}", bob.serial());
    for (name, view) in views() {
        browser.value("VIEW", &view.to_string());
        for (page, path) in [("overview", "/admin/gate/"), ("confirm", confirm.as_str())] {
            assert_eq!(browser.open(path).status, 200);
            if page == "overview" {
                browser.value("EVAL", "document.querySelectorAll('details').forEach(one => one.open = true)");
                assert_eq!(browser.value("AXE", &axe), json!([]), "{name}: {page}, all of it unfolded");
                browser
                    .value("EVAL", "document.querySelectorAll('details').forEach(one => one.open = false)");
            }
            assert_eq!(browser.value("AXE", &axe), json!([]), "{name}: {page}");
            let overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
            assert_eq!(browser.value("EVAL", overflow), json!(0), "{name}: {page} is too wide");
            let picture = pictures().join(format!("{page}-{name}.png"));
            browser.value("SHOOT", &picture.display().to_string());
        }
    }

    // By keyboard: the first stop leads past the header, and every stop is to be seen.
    browser.open("/admin/gate/");
    browser.value("KEY", "Tab");
    assert_eq!(browser.value("EVAL", "document.activeElement.getAttribute('href')"), json!("#main"));
    let outline = "getComputedStyle(document.activeElement).outlineStyle + document.activeElement.tagName";
    for _ in 0..12 {
        browser.value("KEY", "Tab");
        let style = browser.value("EVAL", outline);
        assert!(style.as_str().is_some_and(|style| style.starts_with("solid")), "{style}");
    }

    // By itself: a request that was made meanwhile shows, and what was unfolded stays so.
    let before = browser.value("EVAL", "document.querySelector('#top time').dateTime");
    browser.value("EVAL", "document.getElementById('requests-table').open = true");
    eventually_true("an update", || {
        browser.value("EVAL", "Number(document.getElementById('main').dataset.updates || 0)").as_i64()
            > Some(0)
    });
    assert_ne!(browser.value("EVAL", "document.querySelector('#top time').dateTime"), before);
    assert_eq!(browser.value("EVAL", "document.getElementById('requests-table').open"), json!(true));
    // Not for somebody who wants nothing to move.
    browser.value("VIEW", &json!({ "width": 1280, "height": 900, "motion": "reduce" }).to_string());
    browser.open("/admin/gate/");
    let button = browser.value("EVAL", "document.querySelector('#live-controls button').textContent");
    assert_eq!(button, json!("Update by itself"));

    assert_eq!(admin_page(&desk, &bob), 200);
    let asked = browser.click(&format!("a[href='{confirm}']"));
    assert!(asked.status == 200 && asked.text.contains("revoke this certificate?"), "{asked:?}");
    assert_eq!(admin_page(&desk, &bob), 200, "a question changes nothing");
    let done = browser.click("form button");
    assert!(done.status == 200 && done.text.contains("opens nothing any more"), "{done:?}");
    assert_eq!(admin_page(&desk, &bob), 403);
    let overview = browser.click("main a.button");
    assert!(overview.status == 200 && overview.text.contains("2 revoked or expired"), "{overview:?}");
    assert_eq!(browser.value("COMPLAINTS", "-"), json!([]), "what the browser said against the pages");

    // One's own certificate: told before, locked out after, and the page that is open says so.
    browser.value("VIEW", &json!({ "width": 1280, "height": 900, "motion": "no-preference" }).to_string());
    browser.open("/admin/gate/");
    desk.ok(&["revoke", "alice"]);
    eventually_true("the page to notice", || {
        let said =
            browser.value("EVAL", "document.querySelector('#live-controls [role=status]').textContent");
        said.as_str().is_some_and(|said| said.contains("no longer accepted"))
    });
}

fn admin_page(desk: &Desk, identity: &Identity) -> u16 {
    desk.farm.gate.https_as(identity).get("/admin/gate/").status
}
