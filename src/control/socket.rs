//! The answering side of the control socket.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use tracing::warn;

use super::{Reply, Request};

/// Requests are a few words.
const LONGEST: u64 = 4096;
/// For a request to arrive.
const PATIENCE: Duration = Duration::from_secs(5);

/// Carries out what is asked.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. May take its time: it is called where blocking is allowed.
    fn handle(&self, request: Request) -> Reply;
}

/// What becomes of a socket that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// One that another gate answers at is left to it, and is an error.
    IfFree,
    /// It is taken from the gate that this one takes over from.
    FromPredecessor,
}

/// A control socket that is listened at.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    /// Device and inode.
    id: Option<(u64, u64)>,
    /// Held by each who is being answered.
    conversations: Arc<()>,
}

impl ControlSocket {
    /// Whether its name still leads to it.
    pub fn is_in_place(&self) -> bool {
        self.id.is_some() && id_of(&self.path) == self.id
    }

    /// Takes its name away, unless that leads to another gate by now. Who is connected is answered.
    pub fn remove(&self) {
        if self.is_in_place() {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// Waits until everybody who asked has an answer.
    pub async fn idle(&self) {
        // One is our own, one is that of the loop.
        while Arc::strong_count(&self.conversations) > 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Listens at `path`, for the owner only, and answers until the runtime ends.
pub fn serve(path: &Path, handler: Arc<dyn Handler>, claim: Claim) -> io::Result<ControlSocket> {
    let listener = bind(path, claim)?;
    let conversations = Arc::new(());
    let socket =
        ControlSocket { path: path.to_owned(), id: id_of(path), conversations: conversations.clone() };
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (handler, conversation) = (handler.clone(), conversations.clone());
                    tokio::spawn(async move {
                        if let Err(error) = answer(stream, handler).await {
                            warn!("control socket: {error}");
                        }
                        drop(conversation);
                    });
                }
                Err(error) => {
                    warn!("control socket: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok(socket)
}

fn id_of(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

fn bind(path: &Path, claim: Claim) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    if claim == Claim::IfFree {
        // What a gate left behind that was killed. One that is alive keeps its name: ours would be bound in vain.
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another gate answers there"));
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    // Bound in a folder that only we can enter, and moved out when its mode is right: at no moment can others
    // open it.
    // The name is short: with the folder it has to fit where the socket's own name does.
    let private = path.with_file_name(format!(".{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&private);
    std::fs::DirBuilder::new().mode(0o700).create(&private)?;
    let bound = bind_in(&private, path);
    let _ = std::fs::remove_dir_all(&private);
    bound
}

fn bind_in(private: &Path, path: &Path) -> io::Result<UnixListener> {
    let fresh = private.join("s");
    let listener = UnixListener::bind(&fresh)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&fresh, path)?;
    Ok(listener)
}

async fn answer(stream: UnixStream, handler: Arc<dyn Handler>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    timeout(PATIENCE, BufReader::new(read.take(LONGEST)).read_line(&mut line)).await??;
    let reply = match serde_json::from_str::<Request>(&line) {
        Ok(request) => tokio::task::spawn_blocking(move || handler.handle(request))
            .await
            .unwrap_or_else(|error| Reply::Failed(error.to_string())),
        Err(error) => Reply::Failed(format!("not a request: {error}")),
    };
    let mut answer = serde_json::to_vec(&reply)?;
    answer.push(b'\n');
    write.write_all(&answer).await
}
