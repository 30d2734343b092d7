//! A stored response that was opened.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};

use super::Cache;
use super::entry::Entry;
use super::hit::{Body, Reading};
use super::memory::Hot;
use super::meta::Meta;
use super::reuse;
use super::space::Space;
use super::storage::{BLOCK, Stored, read_in_memory};

/// A stored response that was opened, and is good as far as was looked.
#[derive(Clone)]
pub struct Object {
    /// As the index knows it.
    pub entry: Arc<Entry>,
    /// How often it had been validated when it was opened.
    pub validations: u64,
    /// What it says of itself.
    pub meta: Arc<Meta>,
    /// Bytes of its body.
    pub length: u64,
    source: Source,
}

#[derive(Clone)]
enum Source {
    Memory(Bytes),
    /// With its first block.
    Disk(Stored, Bytes),
}

impl Object {
    /// The same with other meta.
    pub fn with_meta(&self, meta: Arc<Meta>) -> Self {
        Self { meta, ..self.clone() }
    }

    /// How old it is at `now`.
    pub fn age(&self, now: SystemTime) -> Duration {
        reuse::age(&self.meta.terms, self.meta.arrived, now)
    }

    /// Its body.
    pub fn body(&self, space: &Arc<Space>) -> Body {
        match &self.source {
            Source::Memory(bytes) if bytes.is_empty() => Body::Empty,
            Source::Memory(bytes) => Body::Memory(bytes.clone()),
            Source::Disk(stored, first) => {
                Body::Stored(Box::new(Reading::new(stored.clone(), space.clone(), Some(first.clone()))))
            }
        }
    }
}

impl Cache {
    /// Opens what the index has, which is used `now`. None: it turned out to be no good, and is no longer there.
    pub(super) async fn open_entry(
        &self,
        space: &Arc<Space>,
        entry: &Arc<Entry>,
        now: SystemTime,
    ) -> Option<Object> {
        let (name, validations) = (entry.name, entry.validations());
        let object =
            |meta, length, source| Object { entry: entry.clone(), validations, meta, length, source };
        if entry.is_touch_due(now) {
            let files = space.files.clone();
            // It is for the next start only.
            drop(tokio::task::spawn_blocking(move || files.touch(&name)));
        }
        if let Some(Hot { meta, body }) = self.memory.get(name.id) {
            return Some(object(meta, body.len() as u64, Source::Memory(body)));
        }
        let read = read_in_memory(&space.files, &name, &entry.key, entry.length, entry.file_length());
        if let Some((meta, body)) = read {
            let hot = Hot { meta: Arc::new(meta), body };
            if self.memory.wants(&hot, entry.is_read()) {
                self.memory.put(name.id, hot.clone());
            }
            return Some(object(hot.meta, entry.length, Source::Memory(hot.body)));
        }
        let keep = self.memory.takes(entry.length);
        let (files, length) = (space.files.clone(), entry.length);
        // All of it, or the first block. Made here: see `Stored::room`.
        let room = BytesMut::zeroed(if keep { length } else { length.min(BLOCK as u64) } as usize);
        let opened = tokio::task::spawn_blocking(move || {
            let stored = Stored::open(&files, name, length)?;
            let first = stored.beginning(room)?;
            Ok::<_, io::Error>((stored, first))
        });
        match opened.await.unwrap_or_else(|stopping| Err(io::Error::other(stopping))) {
            Ok((stored, first)) if keep => {
                let meta = stored.meta.clone();
                self.memory.put(name.id, Hot { meta: meta.clone(), body: first.clone() });
                Some(object(meta, stored.length, Source::Memory(first)))
            }
            Ok((stored, first)) => {
                let (meta, length) = (stored.meta.clone(), stored.length);
                Some(object(meta, length, Source::Disk(stored, first)))
            }
            Err(error) => {
                space.discard(&entry.key, &name);
                // A file that is no good, or was removed by somebody, is no fault of the disk.
                if !matches!(
                    error.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound
                ) {
                    space.health.failed("read", &error);
                }
                None
            }
        }
    }

    /// Writes down that `object` is still good, on these terms. Failing that, it is only good for now.
    pub(super) async fn freshen(self: &Arc<Self>, space: &Arc<Space>, object: &Object) {
        let (files, name, meta) = (space.files.clone(), object.entry.name, object.meta.clone());
        if let Some(Hot { body, .. }) = self.memory.get(name.id) {
            self.memory.put(name.id, Hot { meta: meta.clone(), body });
        }
        let length = object.length;
        let (cache, entry) = (self.clone(), object.entry.clone());
        let replaced = tokio::task::spawn_blocking(move || {
            let Some(_in_charge) = cache.charge.hold() else { return Ok(()) };
            entry.set_file_length(Stored::open(&files, name, length)?.replace_meta(&files, &meta)?);
            Ok::<_, io::Error>(())
        });
        match replaced.await {
            Ok(Ok(())) => {
                object.entry.is_validated();
                space.health.works();
            }
            Ok(Err(error)) => {
                self.memory.remove(name.id);
                if error.kind() != io::ErrorKind::NotFound {
                    space.health.failed("write", &error);
                }
            }
            Err(_) => {}
        }
    }
}
