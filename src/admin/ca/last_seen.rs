//! The day on which each certificate was last let in.
//!
//! No address, no hour, nothing about what was done. It is for an operator who wonders which certificates are
//! still in use, and losing a day or all of it does no harm: it lives in memory, and is written now and then.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::dates;
use super::store::{Folder, LAST_SEEN, REGISTER};
use crate::admin::Administrator;
use crate::files::{self, SECRET};

const DAY: i64 = 24 * 60 * 60;

/// What a running gate saw. Cheap to tell, from any thread.
#[derive(Debug)]
pub struct LastSeen {
    folder: Folder,
    state: Mutex<Memory>,
}

#[derive(Debug)]
struct Memory {
    seen: Seen,
    changed: bool,
}

/// By serial number.
pub(super) type Seen = BTreeMap<String, Sight>;

/// When, and under which name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sight {
    /// Days since 1970.
    pub(super) day: i64,
    pub(super) name: String,
}

impl LastSeen {
    /// What earlier gates saw, of the CA in the state folder `state`. What cannot be read is forgotten.
    pub fn load(state: &Path) -> Self {
        let folder = Folder::below(state);
        let seen = read(&folder);
        Self { folder, state: Mutex::new(Memory { seen, changed: false }) }
    }

    /// Notes that `administrator` was let in at `now`. Changes something once a day for each certificate.
    pub fn record(&self, administrator: &Administrator, now: SystemTime) {
        let day = dates::seconds(now) / DAY;
        let mut memory = self.lock();
        if memory.seen.get(&administrator.serial).is_some_and(|sight| sight.day >= day) {
            return;
        }
        let sight = Sight { day, name: administrator.common_name.clone() };
        memory.seen.insert(administrator.serial.clone(), sight);
        memory.changed = true;
    }

    /// Writes it down, if there is anything new and a CA to keep it with.
    ///
    /// # Errors
    ///
    /// Where the file cannot be written; then it is tried again next time.
    pub fn flush(&self) -> io::Result<()> {
        let mut mine = {
            let mut memory = self.lock();
            if !memory.changed || !self.folder.file(REGISTER).exists() {
                return Ok(());
            }
            memory.changed = false;
            memory.seen.clone()
        };
        // During an upgrade two gates write: neither takes from the other.
        for (serial, sight) in read(&self.folder) {
            match mine.get(&serial) {
                Some(known) if known.day >= sight.day => {}
                _ => {
                    mine.insert(serial, sight);
                }
            }
        }
        let written = serde_json::to_vec(&mine)
            .map_err(io::Error::from)
            .and_then(|json| files::replace(&self.folder.file(LAST_SEEN), &json, SECRET));
        if written.is_err() {
            self.lock().changed = true;
        }
        written
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        // A whole entry or none: nothing can be half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file as it is; nothing, if it cannot be read.
pub(super) fn read(folder: &Folder) -> Seen {
    let bytes = fs::read(folder.file(LAST_SEEN)).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}
