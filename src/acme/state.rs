//! What a site's tries came to, across restarts.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::clock::Time;
use super::failure::{Blame, Failure};
use super::schedule::{LONGEST_RETRY_AFTER, Window};
use crate::files::{self, Content};

/// What is remembered of a site.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    /// The names it is about: another set of names starts anew.
    pub names: Vec<String>,
    /// When the last order succeeded.
    pub succeeded: Option<Time>,
    /// Failures in a row.
    pub failures: u32,
    /// Those of them that the CA could be blamed for.
    pub ca_failures: u32,
    /// When the last of them was.
    pub failed: Option<Time>,
    /// What it said.
    pub last_error: Option<String>,
    /// Until when each CA wants to be left alone (RFC 8555 section 6.6), by the URL of its directory.
    pub retry_after: BTreeMap<String, Time>,
    /// What the CA says about the certificate in use.
    pub renewal: Option<Renewal>,
}

/// Renewal information (RFC 9773). It is of one certificate, and counts for no other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Renewal {
    /// Which certificate.
    pub ari_id: String,
    /// When to renew it; none where the CA does not say.
    pub window: Option<Window>,
    /// When to ask again.
    pub ask_again: Time,
    /// Where the CA explains it.
    pub explanation: Option<String>,
}

impl State {
    /// Notes a failure with the CA at `directory`.
    pub(super) fn note_failure(&mut self, failure: &Failure, directory: &str, now: Time) {
        self.failures = self.failures.saturating_add(1);
        if failure.blame == Blame::Ca {
            self.ca_failures = self.ca_failures.saturating_add(1);
        }
        self.failed = Some(now);
        self.last_error = Some(failure.message.clone());
        if let Some(wait) = failure.retry_after {
            let until = now.plus(wait.min(LONGEST_RETRY_AFTER));
            self.retry_after.insert(directory.to_owned(), until);
        }
    }

    /// Notes that there is a new certificate. A CA that wants to be left alone still does.
    pub(super) fn note_success(&mut self, now: Time) {
        *self = Self {
            names: std::mem::take(&mut self.names),
            succeeded: Some(now),
            retry_after: std::mem::take(&mut self.retry_after),
            ..Self::default()
        };
    }

    /// The window for the certificate called `ari_id`.
    pub(super) fn window_of(&self, ari_id: Option<&str>) -> Option<Window> {
        self.renewal.as_ref().filter(|renewal| Some(renewal.ari_id.as_str()) == ari_id)?.window
    }

    /// Until when the CA at `directory` wants to be left alone.
    pub(super) fn patience_with(&self, directory: &str) -> Option<Time> {
        self.retry_after.get(directory).copied()
    }

    /// Brings back to now what lies in the future because the clock was set back. Otherwise a wait that begins
    /// "when it failed" would begin anew at each look.
    fn settle(&mut self, now: Time) {
        for time in [&mut self.succeeded, &mut self.failed] {
            *time = time.map(|at| at.min(now));
        }
        for until in self.retry_after.values_mut() {
            *until = (*until).min(now.plus(LONGEST_RETRY_AFTER));
        }
    }
}

/// The files with the states.
#[derive(Clone, Debug)]
pub(super) struct States {
    folder: PathBuf,
    /// Those that could not be written. A full disk is no reason to forget what has just failed, and to try again at
    /// each look.
    unsaved: Arc<Mutex<HashMap<String, State>>>,
}

impl States {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, unsaved: Arc::default() }
    }

    /// What is remembered of the site `key`, which has `names` now. Writes nothing: whoever only looks is not to make
    /// others forget.
    pub(super) fn read(&self, key: &str, names: &[String], now: Time) -> State {
        self.look(key, names, now).0
    }

    /// Whether [`read`](Self::read) would say something else at each look, as the clock was set back or the file is
    /// damaged.
    pub(super) fn is_unsettled(&self, key: &str, names: &[String], now: Time) -> bool {
        self.look(key, names, now).1
    }

    /// Writes down what it says now. The lock is held by the caller.
    pub(super) fn settle(&self, key: &str, names: &[String], now: Time) {
        let (state, unsettled) = self.look(key, names, now);
        if unsettled && let Err(error) = self.write(key, &state) {
            warn!("{}: {error}", self.path(key).display());
        }
    }

    fn look(&self, key: &str, names: &[String], now: Time) -> (State, bool) {
        let unsaved = self.unsaved().get(key).cloned();
        let mut state: State = match unsaved.map_or_else(|| files::read_json(&self.path(key)), Content::Good)
        {
            Content::Good(state) => state,
            Content::Missing => State::default(),
            // Nothing that protects the CA from us is in here: that is the ledger. A minute's patience is for what
            // may have been a failure just now.
            Content::Damaged(why) | Content::Unreadable(why) => {
                warn!("{}: {why}; starting anew", self.path(key).display());
                let anew =
                    State { failures: 1, failed: Some(now), names: names.to_vec(), ..State::default() };
                return (anew, true);
            }
        };
        if state.names != names {
            state = State { names: names.to_vec(), renewal: state.renewal, ..State::default() };
        }
        let before = state.clone();
        state.settle(now);
        let unsettled = state != before;
        (state, unsettled)
    }

    /// Remembers.
    pub(super) fn write(&self, key: &str, state: &State) -> io::Result<()> {
        let written = files::write_json(&self.path(key), state);
        match written {
            Ok(()) => self.unsaved().remove(key),
            Err(_) => self.unsaved().insert(key.to_owned(), state.clone()),
        };
        written
    }

    fn unsaved(&self) -> MutexGuard<'_, HashMap<String, State>> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.json"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Time = Time::from_unix(1_800_000_000);

    const CA: &str = "https://ca/dir";

    fn failure() -> Failure {
        Failure::ca("no").retry_after(Duration::from_secs(90))
    }

    #[test]
    fn what_failed_is_remembered_across_restarts_and_forgotten_with_success() {
        let folder = tempfile::tempdir().unwrap();
        let names = vec!["a".to_owned()];
        let states = States::new(folder.path().join("sites"));
        let mut state = states.read("a", &names, NOW);
        state.note_failure(&failure(), CA, NOW);
        states.write("a", &state).unwrap();
        let read = States::new(folder.path().join("sites")).read("a", &names, NOW);
        assert_eq!((read.failures, read.ca_failures, read.last_error.as_deref()), (1, 1, Some("no")));
        assert_eq!(read.patience_with("https://another/dir"), None);
        assert_eq!(read.patience_with(CA), Some(NOW.plus(Duration::from_secs(90))));
        state.note_success(NOW);
        assert_eq!((state.failures, state.last_error, state.succeeded), (0, None, Some(NOW)));
    }

    #[test]
    fn other_names_begin_with_a_clean_slate() {
        let folder = tempfile::tempdir().unwrap();
        let states = States::new(folder.path().to_owned());
        let mut state = states.read("a", &["a".into()], NOW);
        state.note_failure(&failure(), CA, NOW);
        states.write("a", &state).unwrap();
        assert_eq!(states.read("a", &["a".into(), "b".into()], NOW).failures, 0);
    }

    #[test]
    fn a_damaged_file_costs_a_minute() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.json"), "\0\0").unwrap();
        let (states, names) = (States::new(folder.path().to_owned()), ["a".to_owned()]);
        let state = states.read("a", &names, NOW);
        assert_eq!((state.failures, state.failed), (1, Some(NOW)));
        states.settle("a", &names, NOW);
        assert_eq!(states.read("a", &names, NOW.plus(Duration::from_secs(50))), state);
    }

    #[test]
    fn a_clock_that_is_set_back_starts_the_wait_once_not_at_each_look() {
        let folder = tempfile::tempdir().unwrap();
        let names = vec!["a".to_owned()];
        let states = States::new(folder.path().to_owned());
        let mut state = states.read("a", &names, NOW);
        state.note_failure(&failure(), CA, NOW.plus(Duration::from_secs(400 * 86_400)));
        states.write("a", &state).unwrap();
        assert!(states.is_unsettled("a", &names, NOW));
        assert_eq!(states.read("a", &names, NOW).failed, Some(NOW));
        states.settle("a", &names, NOW);
        let later = NOW.plus(Duration::from_secs(50));
        assert!(!states.is_unsettled("a", &names, later));
        assert_eq!(states.read("a", &names, later).failed, Some(NOW));
    }

    #[test]
    fn what_cannot_be_written_is_remembered_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let file_in_the_way = folder.path().join("sites");
        std::fs::write(&file_in_the_way, "").unwrap();
        let states = States::new(file_in_the_way.clone());
        let names = vec!["a".to_owned()];
        let mut state = State { names: names.clone(), ..State::default() };
        state.note_failure(&failure(), CA, NOW);
        assert!(states.write("a", &state).is_err());
        assert_eq!(states.clone().read("a", &names, NOW).failures, 1);
        std::fs::remove_file(file_in_the_way).unwrap();
        states.write("a", &state).unwrap();
        assert_eq!(States::new(states.folder).read("a", &names, NOW).failures, 1);
    }

    #[test]
    fn a_window_counts_for_its_own_certificate_only() {
        let window = Window { start: NOW, end: NOW.plus(Duration::from_secs(1)) };
        let renewal =
            Renewal { ari_id: "x.1".into(), window: Some(window), ask_again: NOW, explanation: None };
        let state = State { renewal: Some(renewal), ..State::default() };
        assert_eq!(state.window_of(Some("x.1")), Some(window));
        assert_eq!(state.window_of(Some("x.2")), None);
        assert_eq!(state.window_of(None), None);
    }
}
