//! The lingering close.
//!
//! A socket closed with unread bytes in its buffer answers with a reset, and a reset throws away what the
//! client has not read yet. A Guix client writes a thousand requests before it reads: it would be left with
//! nothing. So we say we are done, and read on for a little while (RFC 9112 section 9.6).

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::caps::Permit;
use super::gather::Transport;

/// How long to read on, in all.
const READ_ON: Duration = Duration::from_secs(5);
/// How much to read at the most: a batch of lookups is about 100 KB.
const MOST: usize = 4 * 1024 * 1024;

/// Sends what is pending, closes the write side, and reads until the client closes or patience ends. What is pending may be
/// the end of a large answer, with more of it in the kernel's buffer: for that there is as much `patience` as for the rest.
pub(super) async fn close(transport: Transport, pending: BytesMut, patience: Duration, permit: Permit) {
    if let Ok(Ok(tcp)) = timeout(patience, finish(transport, pending)).await {
        let _ = timeout(READ_ON, drain(tcp)).await;
    }
    drop(permit);
}

async fn finish(transport: Transport, pending: BytesMut) -> std::io::Result<TcpStream> {
    let mut tcp = match transport {
        Transport::Plain(mut tcp) => {
            tcp.write_all(&pending).await?;
            tcp
        }
        Transport::Tls(mut tls) => {
            tls.write_all(&pending).await?;
            // Sends close_notify, so that the client can tell the end from a cut (RFC 8446 section 6.1).
            tls.shutdown().await?;
            tls.into_inner().0
        }
    };
    tcp.shutdown().await?;
    Ok(tcp)
}

async fn drain(mut tcp: TcpStream) -> std::io::Result<()> {
    let mut scratch = [0; 4096];
    let mut read = 0;
    while read < MOST {
        match tcp.read(&mut scratch).await? {
            0 => break,
            n => read += n,
        }
    }
    Ok(())
}
