use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// A history in a folder of its own, and a clock to move.
struct Scene {
    folder: TempDir,
    history: History,
    now: Moment,
    totals: Counts,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // In the middle of a bucket of every window.
        let now = Moment { unix: 1_795_380_905, steady: Instant::now() };
        let history = History::load(folder.path(), now.steady);
        Self { folder, history, now, totals: Counts::default() }
    }

    /// Time passes by both clocks, and requests come.
    fn pass(&mut self, seconds: u64, requests: u64) {
        self.now.unix += seconds;
        self.now.steady += Duration::from_secs(seconds);
        self.totals[Figure::Success] += requests;
        self.history.record(self.now, &self.totals, requests);
    }

    /// As after `kill -9` and a start: totals begin at zero, and what was not saved is gone.
    fn restart(&mut self) {
        self.totals = Counts::default();
        self.history = History::load(self.folder.path(), self.now.steady);
    }

    fn requests(&self, window: Window) -> Vec<Option<u64>> {
        let view = self.history.view(window, self.now.unix);
        assert_eq!(view.len(), window.buckets());
        view.into_iter().map(|bucket| bucket.map(|bucket| bucket.counts.requests())).collect()
    }

    fn sum(&self, window: Window) -> u64 {
        self.requests(window).into_iter().flatten().sum()
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("history")
    }
}

#[test]
fn what_is_counted_is_in_every_window_once() {
    let mut scene = Scene::new();
    for _ in 0..60 {
        scene.pass(5, 7);
    }
    for window in Window::ALL {
        assert_eq!(scene.sum(window), 420, "{window:?}");
    }
    let hour = scene.history.view(Window::Hour, scene.now.unix);
    let full = hour[hour.len() - 2].unwrap();
    assert_eq!((full.covered, full.counts.requests(), full.connections), (Duration::from_secs(10), 14, 7));
    assert_eq!(full.rate(full.counts.requests()), Some(1.4));
}

#[test]
fn windows_forget_what_is_older_than_they_are_long() {
    let mut scene = Scene::new();
    scene.pass(5, 1000);
    for _ in 0..2 * 3600 / 10 {
        scene.pass(10, 1);
    }
    assert_eq!(scene.sum(Window::Hour), 360);
    assert_eq!(scene.sum(Window::Day), 1720);
    // Three weeks in steps of an hour.
    for _ in 0..21 * 24 {
        scene.pass(3600, 1);
    }
    assert_eq!(scene.sum(Window::Week), 168);
    assert!(scene.history.lock().series.iter().all(|series| series.written().count() <= 360));
}

#[test]
fn a_history_outlives_its_process_and_the_time_without_one_is_a_gap() {
    let mut scene = Scene::new();
    scene.pass(5, 3);
    scene.history.save().unwrap();
    scene.pass(5, 100);
    // The clocks go on, and nobody counts.
    scene.now.unix += 60;
    scene.now.steady += Duration::from_secs(60);
    scene.restart();
    scene.pass(5, 4);
    let hour = scene.requests(Window::Hour);
    assert_eq!(hour[hour.len() - 1], Some(4));
    assert_eq!(hour[hour.len() - 7..hour.len() - 1], [None; 6]);
    assert_eq!(scene.sum(Window::Hour), 7);
    assert_eq!(fs::metadata(scene.file()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(scene.folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn a_clock_that_is_set_back_takes_the_future_along_and_nothing_else() {
    let mut scene = Scene::new();
    scene.pass(5, 1);
    let before = scene.now.unix;
    // A year ahead, for a while.
    scene.now.unix += 365 * 86_400;
    scene.pass(5, 10);
    assert_eq!(scene.sum(Window::Week), 10);
    scene.now.unix = before;
    scene.pass(5, 100);
    for window in Window::ALL {
        assert_eq!(scene.sum(window), 101, "{window:?}");
    }
    // A second back, across the edge of a bucket.
    scene.now.unix = before - before % 10;
    scene.pass(0, 0);
    scene.now.unix -= 1;
    scene.pass(0, 1000);
    assert_eq!(scene.requests(Window::Hour).last().unwrap(), &Some(1000));
}

#[test]
fn a_gate_that_was_started_under_a_wrong_clock_forgets_that_later() {
    let mut scene = Scene::new();
    scene.pass(5, 10);
    scene.history.save().unwrap();
    scene.restart();
    scene.now.unix -= 86_400;
    scene.pass(5, 1);
    assert_eq!(scene.sum(Window::Week), 1);
}

#[test]
fn a_damaged_file_is_no_history_and_the_next_save_mends_it() {
    let mut scene = Scene::new();
    scene.pass(5, 3);
    scene.history.save().unwrap();
    let whole = fs::read(scene.file()).unwrap();
    let mut damaged: Vec<Vec<u8>> = (0..whole.len()).step_by(7).map(|end| whole[..end].to_vec()).collect();
    damaged.extend((0..whole.len()).step_by(5).map(|at| {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        changed
    }));
    damaged.push(vec![0xff; 100]);
    damaged.push(vec![b'\n'; 2 << 20]);
    for bytes in damaged {
        fs::write(scene.file(), &bytes).unwrap();
        assert!(file::read(&scene.file()).is_err(), "{}", bytes.escape_ascii());
        scene.restart();
        assert_eq!(scene.sum(Window::Week), 0);
    }
    scene.pass(5, 4);
    scene.history.save().unwrap();
    scene.restart();
    assert_eq!(scene.sum(Window::Hour), 4);
}

#[test]
fn a_file_of_a_later_version_is_read_as_far_as_it_is_understood() {
    let mut scene = Scene::new();
    scene.pass(5, 3);
    let text = file::encode(&scene.history.lock().series).unwrap();
    let contents = &text[..text.trim_end().rfind('\n').unwrap() + 1];
    let sealed = |contents: &str| {
        format!("{contents}{{\"sha256\":\"{}\"}}\n", {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, contents.as_bytes());
            digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        })
    };
    // One figure has another name there, and one window other steps.
    let renamed = sealed(&contents.replace("\"3xx\"", "\"teapots\"").replace("\"step\":300", "\"step\":60"));
    let series = file::decode(renamed.as_bytes()).unwrap();
    assert_eq!(series[0].view(scene.now.unix).last().unwrap().unwrap().counts[Figure::Success], 3);
    assert_eq!(series[1].written().count(), 0);
    assert!(file::decode(sealed(&contents.replace("history\":1", "history\":2")).as_bytes()).is_err());
    assert!(file::decode(sealed(&contents.replace("\"3xx\",", "")).as_bytes()).is_err());
}

#[test]
fn the_file_stays_small_whatever_is_counted() {
    let mut scene = Scene::new();
    for step in [10, 300, 1800] {
        for _ in 0..400 {
            scene.now.unix += step;
            scene.now.steady += Duration::from_secs(step);
            for figure in Figure::ALL {
                // Differences as large as they get.
                scene.totals[figure] = if scene.totals[figure] == 0 { u64::MAX } else { 0 };
            }
            scene.history.record(scene.now, &scene.totals, u64::MAX);
        }
    }
    let text = file::encode(&scene.history.lock().series).unwrap();
    assert!(text.len() < 512 * 1024, "{}", text.len());
    assert!(file::decode(text.as_bytes()).is_ok());
}

#[test]
fn errors_that_repeat_count_as_one_and_old_ones_go() {
    let errors = Errors::default();
    let failed = |status, at| Failed {
        at,
        id: format!("{at}"),
        site: "a".into(),
        route: "other",
        status,
        reason: "x".into(),
    };
    for at in 0..1000 {
        errors.record(failed(502, at));
    }
    errors.record(failed(504, 1000));
    let recent = errors.recent();
    assert_eq!(
        recent.iter().map(|(one, times)| (one.at, *times)).collect::<Vec<_>>(),
        [(1000, 1), (999, 1000)]
    );
    for at in 0..1000 {
        errors.record(failed(500 + u16::try_from(at % 2).unwrap(), at));
    }
    assert_eq!(errors.recent().len(), 50);
    assert_eq!(errors.recent()[0].0.at, 999);
}

proptest! {
    #[test]
    fn whatever_is_recorded_survives_the_file(
        steps in prop::collection::vec((0_u64..20_000, any::<u32>(), any::<u32>()), 0..60),
        back in prop::option::of(0_u64..1_000_000),
    ) {
        let mut scene = Scene::new();
        for (seconds, requests, bytes) in steps {
            scene.totals[Figure::Bytes] = scene.totals[Figure::Bytes].saturating_add(bytes.into());
            scene.pass(seconds, requests.into());
        }
        if let Some(back) = back {
            scene.now.unix -= back;
            scene.pass(1, 1);
        }
        scene.history.save().unwrap();
        let read = file::read(&scene.file()).unwrap().unwrap();
        prop_assert_eq!(&read, &scene.history.lock().series);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(file::decode(&bytes).is_err());
    }
}
