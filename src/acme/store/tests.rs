use std::os::unix::fs::PermissionsExt;

use rcgen::{CertificateParams, KeyPair};

use super::*;

fn origin() -> Origin {
    Origin {
        directory: "https://ca/dir".into(),
        profile: None,
        key_type: "p256".into(),
        issued: Time::from_unix(1),
    }
}

fn pair(name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn name_of(store: &Store) -> String {
    store.load("site").unwrap().facts.names.remove(0)
}

#[test]
fn what_is_installed_is_loaded_and_lies_where_others_look() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::new(state.path());
    assert!(matches!(store.load("site"), Err(LoadError::None)));
    let (chain, key) = pair("one");
    store.install("site", &chain, &key, &origin()).unwrap();
    let loaded = store.load("site").unwrap();
    assert_eq!((loaded.facts.names, loaded.origin), (vec!["one".to_owned()], Some(origin())));
    let (chain_path, key_path) = store.paths("site");
    assert_eq!(fs::read_to_string(chain_path).unwrap(), chain);
    assert_eq!(fs::read_to_string(&key_path).unwrap(), key);
    assert_eq!(fs::metadata(key_path).unwrap().permissions().mode() & 0o777, 0o600);
    let folder = fs::metadata(state.path().join("certificates/site")).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_power_failure_at_any_step_leaves_the_old_pair_or_the_new_one() {
    for step in 0.. {
        let state = tempfile::tempdir().unwrap();
        let store = Store::new(state.path());
        let (chain, key) = pair("old");
        store.install("site", &chain, &key, &origin()).unwrap();
        let (chain, key) = pair("new");
        CRASH_AFTER.set(step);
        let result = store.install("site", &chain, &key, &origin());
        CRASH_AFTER.set(usize::MAX);
        let expected: &[&str] = if result.is_ok() { &["new"] } else { &["old", "new"] };
        let found = name_of(&store);
        assert!(expected.contains(&found.as_str()), "step {step}: {found}");
        // What others read is whole too.
        let (chain_path, key_path) = store.paths("site");
        let read = Facts::read(load_pair(&chain_path, &key_path).unwrap().cert.first().unwrap()).unwrap();
        assert_eq!(read.names, [found], "step {step}");
        // And the next one succeeds, and leaves nothing unfinished behind.
        let (chain, key) = pair("next");
        store.install("site", &chain, &key, &origin()).unwrap();
        assert_eq!(name_of(&store), "next", "step {step}");
        let entries = fs::read_dir(state.path().join("certificates/site")).unwrap();
        let unfinished = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().ends_with(".new");
        assert_eq!(entries.flatten().filter(unfinished).count(), 0, "step {step}");
        if result.is_ok() {
            assert!(step >= 5, "only {step} steps");
            return;
        }
    }
}

#[test]
fn the_first_one_interrupted_leaves_none_or_a_good_one() {
    for step in 0..9 {
        let state = tempfile::tempdir().unwrap();
        let store = Store::new(state.path());
        let (chain, key) = pair("new");
        CRASH_AFTER.set(step);
        let result = store.install("site", &chain, &key, &origin());
        CRASH_AFTER.set(usize::MAX);
        match store.load("site") {
            Ok(loaded) => assert_eq!(loaded.facts.names, ["new"]),
            Err(error) => assert!(result.is_err() && matches!(error, LoadError::None), "{step}: {error}"),
        }
    }
}

#[test]
fn damage_to_any_file_of_the_current_version_brings_the_one_before() {
    let damages: [fn(&Path); 4] = [
        |path| fs::write(path, "").unwrap(),
        |path| {
            let text = fs::read(path).unwrap();
            fs::write(path, &text[..text.len() / 2]).unwrap();
        },
        |path| fs::write(path, [0; 4096]).unwrap(),
        |path| fs::remove_file(path).unwrap(),
    ];
    for file in [CHAIN, KEY] {
        for damage in damages {
            let state = tempfile::tempdir().unwrap();
            let store = Store::new(state.path());
            for name in ["old", "new"] {
                let (chain, key) = pair(name);
                store.install("site", &chain, &key, &origin()).unwrap();
            }
            damage(&state.path().join("certificates/site/000002").join(file));
            let loaded = store.load("site").unwrap();
            assert_eq!(loaded.facts.names, ["old"]);
            assert_eq!(loaded.damaged.len(), 1);
        }
    }
}

#[test]
fn a_key_of_another_version_is_noticed() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::new(state.path());
    for name in ["old", "new"] {
        let (chain, key) = pair(name);
        store.install("site", &chain, &key, &origin()).unwrap();
    }
    let folder = state.path().join("certificates/site");
    fs::copy(folder.join("000001").join(KEY), folder.join("000002").join(KEY)).unwrap();
    assert_eq!(name_of(&store), "old");
    fs::remove_dir_all(folder.join("000001")).unwrap();
    assert!(matches!(store.load("site"), Err(LoadError::Damaged(_))));
}

#[test]
fn a_lost_origin_or_link_loses_no_certificate() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::new(state.path());
    let (chain, key) = pair("one");
    store.install("site", &chain, &key, &origin()).unwrap();
    let folder = state.path().join("certificates/site");
    fs::write(folder.join("000001").join(ORIGIN), "{").unwrap();
    fs::remove_file(folder.join(CURRENT)).unwrap();
    let loaded = store.load("site").unwrap();
    assert_eq!((loaded.facts.names, loaded.origin), (vec!["one".to_owned()], None));
}

#[test]
fn a_site_with_another_first_name_finds_the_certificate_it_had() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::new(state.path());
    let (chain, key) = pair("one");
    store.install("one", &chain, &key, &origin()).unwrap();
    let names = ["new".to_owned(), "one".to_owned()];
    assert_eq!(store.best_for(&names, Time::now()).unwrap().facts.names, ["one"]);
    assert!(store.best_for(&names[..1], Time::now()).is_none());
    assert!(store.best_for(&names, Time::from_unix(i64::MAX)).is_none());
}

#[test]
fn five_versions_are_kept_and_going_back_is_turning_the_link() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::new(state.path());
    for number in 1..=9 {
        let (chain, key) = pair(&format!("v{number}"));
        store.install("site", &chain, &key, &origin()).unwrap();
    }
    let folder = state.path().join("certificates/site");
    assert_eq!(versions(&folder), [5, 6, 7, 8, 9]);
    fs::remove_file(folder.join(CURRENT)).unwrap();
    symlink("000006", folder.join(CURRENT)).unwrap();
    assert_eq!(name_of(&store), "v6");
}

#[test]
fn a_pair_that_does_not_match_is_never_installed() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::new(state.path());
    let (chain, key) = pair("one");
    store.install("site", &chain, &key, &origin()).unwrap();
    let (other_chain, _) = pair("two");
    assert!(store.install("site", &other_chain, &key, &origin()).is_err());
    assert_eq!(name_of(&store), "one");
}
