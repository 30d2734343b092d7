//! Answers to HTTP-01 challenges (RFC 8555 section 8.3).
//!
//! They are kept in memory for our own port 80 and in files for that of another gate that shares the state folder.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;

use crate::files::{self, SECRET};

/// A token and a thumbprint: some 90 characters with the CAs there are.
const LONGEST: u64 = 4096;
/// A gate that was killed could not remove its answers; after this long no CA asks for them.
const LEFT_BEHIND: Duration = Duration::from_secs(24 * 3600);

/// The answers that are waited for.
#[derive(Debug)]
pub struct Challenges {
    folder: PathBuf,
    memory: RwLock<HashMap<String, Bytes>>,
}

impl Challenges {
    /// The answers of all gates with this state folder.
    pub fn new(state: &Path) -> Self {
        Self { folder: state.join("acme/challenges"), memory: RwLock::default() }
    }

    /// What to answer when `token` is asked for. Opens a file when it is not one of our own.
    pub fn answer(&self, token: &str) -> Option<Bytes> {
        self.of_our_own(token).or_else(|| self.of_another(token).ok())
    }

    /// The same where nothing may block.
    pub async fn look_up(self: &Arc<Self>, token: &str) -> Option<Bytes> {
        if let Some(answer) = self.of_our_own(token) {
            return Some(answer);
        }
        let (this, token) = (self.clone(), token.to_owned());
        tokio::task::spawn_blocking(move || this.of_another(&token).ok()).await.ok().flatten()
    }

    fn of_our_own(&self, token: &str) -> Option<Bytes> {
        self.memory.read().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }

    fn of_another(&self, token: &str) -> io::Result<Bytes> {
        if !is_token(token) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut answer = Vec::new();
        File::open(self.folder.join(token))?.take(LONGEST).read_to_end(&mut answer)?;
        Ok(answer.into())
    }

    /// Answers `token` with `answer` until it is withdrawn. Dropped without that, it is still answered, from its
    /// file, and by whoever comes after us: a CA may look while we are being restarted.
    pub(super) fn present(self: &Arc<Self>, token: &str, answer: &str) -> io::Result<Presented> {
        if !is_token(token) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the CA's token is not base64url"));
        }
        files::make_folder(&self.folder)?;
        files::replace(&self.folder.join(token), answer.as_bytes(), SECRET)?;
        self.memory
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(token.to_owned(), Bytes::copy_from_slice(answer.as_bytes()));
        Ok(Presented { challenges: self.clone(), token: token.to_owned() })
    }

    /// Removes the files of gates that were killed.
    pub(super) fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            let age = entry.metadata().and_then(|file| file.modified()).ok().and_then(|at| at.elapsed().ok());
            if age.is_some_and(|age| age > LEFT_BEHIND) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// An answer that is being given.
#[derive(Debug)]
pub(super) struct Presented {
    challenges: Arc<Challenges>,
    token: String,
}

impl Presented {
    /// The CA has seen it, or will not look any more.
    pub(super) fn withdraw(self) {
        // One that stays is swept up later, and answers nothing that anybody asks.
        let _ = fs::remove_file(self.challenges.folder.join(&self.token));
    }
}

impl Drop for Presented {
    fn drop(&mut self) {
        self.challenges.memory.write().unwrap_or_else(PoisonError::into_inner).remove(&self.token);
    }
}

/// Tokens are base64url (RFC 8555 section 8.3): none is a path, and none has a dot in it as our unfinished files do.
fn is_token(token: &str) -> bool {
    (1..=200).contains(&token.len())
        && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_given_until_it_is_withdrawn() {
        let state = tempfile::tempdir().unwrap();
        let challenges = Arc::new(Challenges::new(state.path()));
        let presented = challenges.present("Zx-9_", "Zx-9_.thumb").unwrap();
        assert_eq!(challenges.answer("Zx-9_").unwrap(), "Zx-9_.thumb");
        presented.withdraw();
        assert_eq!(challenges.answer("Zx-9_"), None);
    }

    #[test]
    fn another_gate_with_the_same_state_folder_gives_the_answer_too() {
        let state = tempfile::tempdir().unwrap();
        let ours = Arc::new(Challenges::new(state.path()));
        let theirs = Challenges::new(state.path());
        let presented = ours.present("token", "token.thumb").unwrap();
        assert_eq!(theirs.answer("token").unwrap(), "token.thumb");
        drop(presented);
        drop(ours);
        assert_eq!(theirs.answer("token").unwrap(), "token.thumb");
    }

    #[test]
    fn no_token_leads_out_of_the_folder() {
        let state = tempfile::tempdir().unwrap();
        let challenges = Arc::new(Challenges::new(state.path()));
        fs::create_dir_all(state.path().join("acme/challenges")).unwrap();
        fs::write(state.path().join("acme/secret"), "no").unwrap();
        fs::write(state.path().join("acme/challenges/token.new"), "half").unwrap();
        for token in ["../secret", "..", ".", "", "token.new", "a/b", "a\0b", &"x".repeat(300)] {
            assert_eq!(challenges.answer(token), None, "{token:?}");
            assert!(challenges.present(token, "x").is_err(), "{token:?}");
        }
    }
}
