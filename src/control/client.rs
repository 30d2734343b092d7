//! The asking side of the control socket.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Reply, Request};

/// A reload with many certificates takes a moment; a gate that takes longer than this is stuck.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is asked again because another gate has just taken over, and after how long.
const TRIES: u32 = 20;
const AGAIN: Duration = Duration::from_millis(50);

/// Why a running gate could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nothing listens there: usually no gate is running, or `--config` names another one's file.
    #[error("no gate answers at {}: {source}; is it running, and is --config its file?", socket.display())]
    NotRunning {
        /// The control socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The conversation broke off.
    #[error("the gate at {} did not answer: {source}", socket.display())]
    NoAnswer {
        /// The control socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Asks the gate whose control socket is at `socket`.
pub fn call(socket: &Path, request: Request) -> Result<Reply, CallError> {
    call_patiently(socket, request, PATIENCE)
}

/// The same, for what may take a gate so long.
pub fn call_patiently(socket: &Path, request: Request, patience: Duration) -> Result<Reply, CallError> {
    let mut tries = 0;
    loop {
        let stream = UnixStream::connect(socket)
            .map_err(|source| CallError::NotRunning { socket: socket.to_owned(), source })?;
        let reply = exchange(stream, &request, patience)
            .map_err(|source| CallError::NoAnswer { socket: socket.to_owned(), source })?;
        match reply {
            // The name leads to another one by now, or will in a moment.
            Reply::TakenOver(_) if tries < TRIES => {
                tries += 1;
                std::thread::sleep(AGAIN);
            }
            reply => return Ok(reply),
        }
    }
}

fn exchange(mut stream: UnixStream, request: &Request, patience: Duration) -> io::Result<Reply> {
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}
