use std::collections::HashSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::admin::ca::{self, Authority, Init, KeyType, Name, Row, State};
use crate::control::{BackendFailure, BackendStatus, CertificateStatus, LastReload, SiteStatus};
use crate::history::{Counts, Failed, Figure};

const NOW: u64 = 1_795_380_905;

struct Fixed(Mutex<String>);

impl Overview for Fixed {
    fn status(&self) -> Status {
        status(&self.0.lock().unwrap(), Moment::now().unix)
    }
}

/// How things are at `now`, with `text` wherever there is text from outside.
fn status(text: &str, now: u64) -> Status {
    let backend = |up, last_error| BackendStatus {
        role: text.into(),
        url: text.into(),
        up,
        requests: 0,
        waiting: 0,
        last_error,
    };
    let failure = BackendFailure { at: now, why: text.into() };
    let site = |not_after, up| SiteStatus {
        names: vec![text.into(), text.into()],
        publish: Some(text.into()),
        ci: Some(text.into()),
        backends: vec![backend(up, None), backend(None, Some(failure.clone()))],
        certificate: CertificateStatus {
            source: text.into(),
            not_after,
            names: vec![text.into()],
            issuer: Some(text.into()),
        },
    };
    Status {
        version: text.into(),
        pid: 1,
        uptime: 5,
        sites: vec![
            site(now as i64 + 86_400 * 40, Some(true)),
            site(now as i64 + 86_400 * 3, Some(false)),
            site(0, None),
        ],
        connections: 3,
        log_lines_dropped: 2,
        last_reload: Some(LastReload { at: NOW, error: Some(text.into()), notes: vec![text.into()] }),
        ..Status::default()
    }
}

/// A page over a CA of its own, which issued two certificates.
struct Scene {
    page: Page,
    folder: TempDir,
    serials: [String; 2],
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let wanted = Init { subject: "CA".into(), days: 10, key_type: KeyType::P256 };
        ca::init(&state, &wanted).unwrap();
        let authority = Authority::open(&state).unwrap();
        let serials = ["alice", "bob <b>"].map(|name| {
            let name: Name = name.parse().unwrap();
            let [_, request] = ca::request(&name, KeyType::P256, folder.path()).unwrap();
            authority.sign(&request, None, 5, folder.path()).unwrap().made.serial
        });
        let overview = Arc::new(Fixed(Mutex::new("farm.example".into())));
        let history = Arc::new(History::load(&state, Instant::now()));
        let page = Page::new(&state, overview, history, Arc::default()).unwrap();
        Self { page, folder, serials }
    }

    fn ask(&self, method: Method, path: &[&str], form: &str) -> Answer {
        self.ask_while(method, path, form, &|| true)
    }

    fn ask_while(&self, method: Method, path: &[&str], form: &str, is_admitted: &dyn Fn() -> bool) -> Answer {
        let ask = Ask {
            method,
            path: Some(path.iter().map(|segment| (*segment).to_owned()).collect()),
            base: "/admin/gate".into(),
            administrator: Administrator { common_name: "alice".into(), serial: self.serials[0].clone() },
            form: form.to_owned().into(),
        };
        self.page.answer(&ask, is_admitted)
    }

    fn get(&self, path: &[&str]) -> (u16, String) {
        let answer = self.ask(Method::GET, path, "");
        (answer.status, String::from_utf8(answer.body.to_vec()).unwrap())
    }

    fn token(&self, serial: &str) -> String {
        let (status, page) = self.get(&["revoke", serial]);
        assert_eq!(status, 200, "{page}");
        let (_, rest) = page.split_once("name=\"token\" value=\"").unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    }

    fn state_of(&self, serial: &str) -> State {
        let rows = ca::list(&self.folder.path().join("state")).unwrap();
        rows.into_iter().find(|row| row.serial == serial).unwrap().state
    }
}

#[test]
fn every_address_has_its_methods_and_what_is_none_is_not_found() {
    let scene = Scene::new();
    let bob = &*scene.serials[1].clone();
    for path in [&[][..], &["hour"], &["day"], &["week"], &["live", "hour"], &["style.css"], &["script.js"]] {
        for method in [Method::GET, Method::HEAD] {
            assert_eq!(scene.ask(method, path, "").status, 200, "{path:?}");
        }
        let refused = scene.ask(Method::POST, path, "");
        assert_eq!((refused.status, &refused.headers[..]), (405, &[("allow", "GET, HEAD".to_owned())][..]));
    }
    assert_eq!(scene.ask(Method::HEAD, &["revoke", bob], "").status, 200);
    for method in [Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH, Method::TRACE] {
        let refused = scene.ask(method, &["revoke", bob], "");
        assert_eq!((refused.status, &refused.headers[0].1[..]), (405, "GET, HEAD, POST"));
    }
    for path in [
        &["year"][..],
        &["live"],
        &["live", "x"],
        &["revoke"],
        &["revoke", "00"],
        &["revoked", bob],
        &["a", "b", "c"],
        &[""],
    ] {
        assert_eq!(scene.get(path).0, 404, "{path:?}");
    }
    assert_eq!(scene.state_of(bob), State::Valid);
}

#[test]
fn a_certificate_is_revoked_by_the_form_that_was_made_for_it_and_by_nothing_else() {
    let scene = Scene::new();
    let [alice, bob] = [0, 1].map(|at| scene.serials[at].clone());
    let (_, overview) = scene.get(&[]);
    assert!(overview.contains(&format!("href=\"/admin/gate/revoke/{bob}\"")), "{overview}");
    assert!(overview.contains("bob &lt;b&gt;") && !overview.contains("<b>\""), "{overview}");

    let token = scene.token(&bob);
    let form = format!("token={token}&reason=superseded");
    for odd in [
        "",
        "reason=superseded",
        "token=x&reason=superseded",
        &format!("token={}&reason=superseded", scene.token(&alice)),
        &format!("token={token}"),
        &format!("{form}&reason=superseded"),
    ] {
        assert_eq!(scene.ask(Method::POST, &["revoke", &bob], odd).status, 403, "{odd}");
    }
    assert_eq!(scene.ask(Method::POST, &["revoke", &alice], &form).status, 403);
    assert_eq!((scene.state_of(&alice), scene.state_of(&bob)), (State::Valid, State::Valid));

    let done = scene.ask(Method::POST, &["revoke", &bob], &form);
    assert_eq!(
        (done.status, &done.headers[..]),
        (303, &[("location", format!("/admin/gate/revoked/{bob}"))][..])
    );
    assert_eq!((scene.state_of(&alice), scene.state_of(&bob)), (State::Valid, State::Revoked));
    let (status, told) = scene.get(&["revoked", &bob]);
    assert!(status == 200 && told.contains("(superseded)"), "{told}");
    let (_, again) = scene.get(&["revoke", &bob]);
    assert!(again.contains("opens nothing any more") && !again.contains("<form"), "{again}");
    let (_, overview) = scene.get(&[]);
    assert!(!overview.contains(&format!("revoke/{bob}")) && overview.contains(&bob), "{overview}");
}

#[test]
fn whoever_revokes_the_certificate_in_use_is_told_so_first() {
    let scene = Scene::new();
    let [alice, bob] = [0, 1].map(|at| scene.serials[at].clone());
    assert!(scene.get(&["revoke", &alice]).1.contains("the certificate you are using now"));
    assert!(!scene.get(&["revoke", &bob]).1.contains("the certificate you are using now"));
    assert_eq!(scene.get(&[]).1.matches("<span class=\"tag\">yours</span>").count(), 1);
}

#[test]
fn without_a_register_the_page_says_so_and_shows_the_rest() {
    let scene = Scene::new();
    std::fs::remove_dir_all(scene.folder.path().join("state/admin")).unwrap();
    let (status, page) = scene.get(&[]);
    assert_eq!(status, 200);
    assert!(page.contains("There is no register of them here") && page.contains("id=\"requests\""), "{page}");
    assert_eq!(scene.get(&["revoke", &scene.serials[1]]).0, 503);
}

#[test]
fn what_needs_attention_comes_first_and_leads_to_its_part() {
    let (_, page) = Scene::new().get(&[]);
    let (state, _) = page.split_once("id=\"now\"").unwrap();
    for text in ["has expired", "ends in", "does not answer", "reload was refused", "access log: 2 lines"] {
        assert!(state.contains(text), "{text} in {state}");
    }
    for part in ["certificates", "backends", "reload", "process"] {
        assert!(state.contains(&format!("href=\"#{part}\"")), "{part}");
        assert!(page.contains(&format!("id=\"{part}\"")), "{part}");
    }
    let mut well = status("farm.example", NOW);
    well.sites.truncate(1);
    (well.log_lines_dropped, well.last_reload) = (0, None);
    assert_eq!(attention::points(&well, &Default::default(), NOW), []);
}

/// The overview with `text` wherever there is text from outside.
fn drawn(text: &str) -> String {
    let admin = |serial: &str, state| Row {
        name: text.into(),
        serial: serial.into(),
        not_before: Some(1),
        not_after: Some(NOW as i64),
        state,
        revoked_at: None,
        reason: None,
        last_seen: Some(text.into()),
    };
    let states = [State::Valid, State::Expired, State::Revoked, State::Unlisted];
    let admins = Ok(states
        .into_iter()
        .zip(["0A", "0B", "0C", "0D"])
        .map(|(state, serial)| admin(serial, state))
        .collect());
    let failed = |at| Failed {
        at,
        id: text.into(),
        site: text.into(),
        route: "other",
        status: 502,
        reason: text.into(),
    };
    let errors: Vec<_> = (0..20).map(|at| (failed(at), at + 1)).collect();
    let folder = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let history = History::load(folder.path(), started);
    let mut totals = Counts::default();
    totals[Figure::ServerError] = 7;
    history.record(Moment { unix: NOW, steady: started + Duration::from_secs(5) }, &totals, 1);
    let status = status(text, NOW);
    let mut scene = dashboard::Scene {
        base: "/admin/gate",
        viewer: &Administrator { common_name: text.into(), serial: "0A".into() },
        now: NOW,
        window: Window::Day,
        status: &status,
        buckets: &history.view(Window::Day, NOW),
        hour: &history.view(Window::Hour, NOW),
        admins: &admins,
        errors: &errors,
    };
    let with_admins = scene.live();
    let without = Err(text.to_owned());
    scene.admins = &without;
    let frame = Frame { base: "/admin/gate", title: text, window: Some(Window::Day) };
    format!("{}{}", frame.around(&with_admins).into_string(), scene.live().into_string())
}

/// The names of a page's tags, in order.
fn tags(page: &str) -> Vec<&str> {
    page.split('<').skip(1).filter_map(|rest| rest.split(['>', ' ']).next()).collect()
}

#[test]
fn ids_are_unique_references_lead_somewhere_and_nothing_is_inline() {
    let (_, page) = Scene::new().get(&[]);
    let attributes = |name: &str| {
        let start = format!(" {name}=\"");
        page.split(&start).skip(1).map(|rest| rest.split_once('"').unwrap().0).collect::<Vec<_>>()
    };
    let ids = attributes("id");
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "{ids:?}");
    for reference in attributes("aria-labelledby").iter().flat_map(|value| value.split(' ')) {
        assert!(ids.contains(&reference), "{reference}");
    }
    for anchor in attributes("href").iter().filter_map(|href| href.strip_prefix('#')) {
        assert!(ids.contains(&anchor), "{anchor}");
    }
    assert!(!page.contains(" style=") && !page.contains("<style") && !page.contains(" on"), "{page}");
    assert_eq!(
        page.matches("<script").count(),
        page.matches("<script src=\"/admin/gate/script.js\"").count()
    );
    assert!(page.matches("<svg class=\"drawing\"").count() == 4 && page.matches("<desc").count() == 4);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_text_from_outside_becomes_markup(
        text in prop_oneof![
            any::<String>(),
            "[<>\"'&/= a-z!-]{1,40}",
            Just("\"><script src=//evil.example></script>".to_owned()),
            Just("</title></svg><img src=x onerror='alert(1)'>".to_owned()),
        ],
    ) {
        // Too long to be shown.
        prop_assert!(tags(&drawn(&text)) == tags(&drawn("plain")), "{text:?}");
    }
}

#[test]
fn who_is_no_administrator_any_more_when_it_comes_to_the_act_changes_nothing() {
    use rustix::fs::{FlockOperation, flock};
    let scene = Scene::new();
    let bob = &*scene.serials[1].clone();
    let form = format!("token={}&reason=superseded", scene.token(bob));
    let path = scene.folder.path().join("state/admin/register.lock");
    let asked = std::cell::Cell::new(0);
    // Asked when nobody else can revoke anything any more.
    let is_admitted = || {
        asked.set(asked.get() + 1);
        let lock = std::fs::File::options().write(true).open(&path).unwrap();
        assert!(flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err(), "the register is open");
        false
    };
    let answer = scene.ask_while(Method::POST, &["revoke", bob], &form, &is_admitted);
    assert_eq!((answer.status, asked.get()), (403, 1));
    assert_eq!(scene.state_of(bob), State::Valid);
    assert_eq!(scene.ask(Method::POST, &["revoke", bob], &form).status, 303);
    assert_eq!(scene.state_of(bob), State::Revoked);
}
