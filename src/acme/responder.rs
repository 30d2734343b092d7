//! A server that answers challenges and nothing else, for when no gate is running.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::challenges::Challenges;

/// CAs look from a handful of places.
const CONNECTIONS: usize = 64;
/// For a request to come and its answer to go.
const PATIENCE: Duration = Duration::from_secs(5);
/// A request line and a few fields.
const LONGEST: usize = 8 * 1024;

/// Answers on `listener` until dropped.
pub async fn respond(listener: TcpListener, challenges: Arc<Challenges>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let challenges = challenges.clone();
                tokio::spawn(async move {
                    // Who breaks off has what it deserves.
                    let _ = timeout(PATIENCE, answer(stream, challenges)).await;
                    drop(permit);
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn answer(mut stream: TcpStream, challenges: Arc<Challenges>) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if request.len() > LONGEST || stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let line = request.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let token = std::str::from_utf8(line)
        .ok()
        .and_then(|line| line.strip_prefix("GET /.well-known/acme-challenge/"))
        .and_then(|rest| rest.split(' ').next());
    let found = match token {
        Some(token) => challenges.look_up(token).await,
        None => None,
    };
    let (status, body) = found.map_or(("404 Not Found", "".into()), |body| ("200 OK", body));
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    stream.shutdown().await
}
