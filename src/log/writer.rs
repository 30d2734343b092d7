//! Putting batches of lines into a file, off the request's path.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use tracing::warn;

/// Batches that may wait for the disk. When it cannot keep up, further ones are dropped and counted: requests
/// never wait for the log.
const WAITING: usize = 256;

/// Opens `path` for appending, readable by the owner and the group.
pub(super) fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

/// What is sent to the writing thread.
#[derive(Debug)]
pub(super) enum Message {
    /// Lines to write.
    Lines(Vec<u8>),
    /// Say so when everything sent before is written.
    Sync(SyncSender<()>),
}

/// Starts a thread that writes what is sent to it, and ends when the sender is gone.
pub(super) fn start(mut sink: Box<dyn Write + Send>, name: String) -> io::Result<SyncSender<Message>> {
    let (sender, receiver) = sync_channel(WAITING);
    thread::Builder::new()
        .name("access-log".into())
        .spawn(move || write_all(&receiver, sink.as_mut(), &name))?;
    Ok(sender)
}

fn write_all(messages: &Receiver<Message>, sink: &mut dyn Write, name: &str) {
    let mut failing = false;
    for message in messages {
        let lines = match message {
            Message::Lines(lines) => lines,
            Message::Sync(done) => {
                // Whoever asked may have stopped waiting.
                let _ = done.send(());
                continue;
            }
        };
        match sink.write_all(&lines).and_then(|()| sink.flush()) {
            Ok(()) => failing = false,
            // Said once, not once per line.
            Err(error) if !failing => {
                failing = true;
                warn!("access log {name}: cannot be written: {error}; lines are lost until it can");
            }
            Err(_) => {}
        }
    }
}
