//! Random sequences against a plain model: a map from target to what was stored last.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// The origin has something new, and somebody asks.
    Change(u8, u32),
    /// Somebody asks.
    Ask(u8),
    /// Somebody asks, and what comes is stale as soon as it is here, should it come from the origin.
    AskBriefly(u8),
    /// Somebody asks, and accepts nothing older than a validation.
    AskAnew(u8),
    /// A part of it.
    Range(u8, u16, u16),
    /// It is no longer there.
    Purge(u8),
    PurgeAll,
    /// The program is killed and started again.
    Crash,
    /// A file is damaged.
    Damage(u8, u16),
}

fn step() -> impl Strategy<Value = Step> {
    let target = 0..6u8;
    prop_oneof![
        3 => (target.clone(), 0..300_000u32).prop_map(|(target, length)| Step::Change(target, length)),
        6 => target.clone().prop_map(Step::Ask),
        2 => target.clone().prop_map(Step::AskBriefly),
        1 => target.clone().prop_map(Step::AskAnew),
        2 => (target.clone(), any::<u16>(), any::<u16>()).prop_map(|(target, from, to)| Step::Range(target, from, to)),
        1 => target.clone().prop_map(Step::Purge),
        1 => Just(Step::PurgeAll),
        1 => Just(Step::Crash),
        1 => (target, any::<u16>()).prop_map(|(target, at)| Step::Damage(target, at)),
    ]
}

/// The origin's content of a target in a version: any two differ.
fn content(target: u8, version: u32, length: u32) -> Vec<u8> {
    let mut content = format!("{target} {version} ").into_bytes();
    content.resize(content.len() + length as usize, target);
    content
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn a_client_gets_what_the_origin_gave_last_or_what_is_stored_and_nothing_else(
        steps in prop::collection::vec(step(), 1..60),
        memory in prop_oneof![Just(0u64), Just(1 << 20)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps, memory));
    }
}

async fn run(steps: Vec<Step>, memory: u64) {
    let settings = settings(1 << 30, memory);
    let mut bench = Bench::on(Arc::new(NoFaults), &settings);
    let mut origin: HashMap<u8, Vec<u8>> = HashMap::new();
    // With whether it is fresh.
    let mut stored: HashMap<u8, (Vec<u8>, bool)> = HashMap::new();
    let (mut version, mut damaged) = (0, false);
    for step in steps {
        let mut fields: Vec<(&'static str, String)> = Vec::new();
        let mut lasts = true;
        let target = match step {
            Step::Change(target, length) => {
                version += 1;
                origin.insert(target, content(target, version, length));
                // It changed, and nobody told the cache: what is stored is good for as long as it said.
                target
            }
            Step::Ask(target) => target,
            Step::AskBriefly(target) => {
                lasts = false;
                target
            }
            Step::AskAnew(target) => {
                fields.push(("cache-control", "no-cache".into()));
                stored.remove(&target);
                target
            }
            Step::Range(target, from, to) => {
                fields.push(("range", format!("bytes={from}-{to}")));
                target
            }
            Step::Purge(target) => {
                bench.cache.purge(&Purge::Url(format!("/{target}"))).unwrap();
                stored.remove(&target);
                continue;
            }
            Step::PurgeAll => {
                bench.cache.purge(&Purge::All).unwrap();
                assert_eq!(bench.files(), 0);
                stored.clear();
                continue;
            }
            Step::Crash => {
                bench.reopen(&settings);
                assert!(damaged || bench.cache.list(&Purge::All).len() == stored.len());
                continue;
            }
            Step::Damage(target, at) => {
                // What is in memory is none the worse for it.
                if memory == 0 {
                    damaged = true;
                    damage(&bench, target, at);
                    if stored.get(&target).is_some_and(|(body, _)| body.len() < 131_072) {
                        stored.remove(&target);
                    }
                }
                continue;
            }
        };
        let now = origin.entry(target).or_insert_with(|| content(target, 0, 10)).clone();
        let says = if lasts { "max-age=600" } else { "max-age=0" };
        let source = Scripted::new([Script::ok(says, now.clone()).field("etag", "\"1\"")]);
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = bench.ask(&source, &format!("/{target}"), &fields).await;
        bench.settled().await;
        let expected = match stored.get(&target) {
            Some((body, true)) => body.clone(),
            // What is stale is not used, and what is not there cannot be.
            _ => now.clone(),
        };
        let got = match answer {
            Ok(got) => got,
            // A damaged block behind the first one: seen when it is reached, and gone then.
            Err(_) if memory == 0 && expected.len() >= 131_072 => {
                stored.remove(&target);
                continue;
            }
            Err(failure) => panic!("{failure}"),
        };
        match got.status {
            206 => {
                let range = got.headers["content-range"].to_str().unwrap().to_owned();
                let (from, rest) = range.strip_prefix("bytes ").unwrap().split_once('-').unwrap();
                let from: usize = from.parse().unwrap();
                let whole = if rest.ends_with(&format!("/{}", expected.len())) { &expected } else { &now };
                assert!(got.body == whole[from..from + got.body.len()]);
            }
            416 => {}
            _ => assert!(got.body == expected || (memory == 0 && got.body == now), "{target}"),
        }
        stored.insert(target, if source.asked() > 0 { (now, lasts) } else { (expected, true) });
        // Files that were replaced are removed a moment later.
        assert!(damaged || bench.cache.list(&Purge::All).len() == stored.len());
    }
}

fn damage(bench: &Bench, target: u8, at: u16) {
    for entry in bench.cache.files.of_key(&Key::new("site", "host", format!("/{target}").as_bytes())) {
        let path = bench.cache.files.files.path(&entry.name);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at as usize % bytes.len();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
}
