//! The lingering close.
//!
//! A socket closed with unread bytes in its buffer answers with a reset, and a reset throws away what the
//! client has not read yet. A Guix client writes a thousand requests before it reads: it would be left with
//! nothing. So we say we are done, and read on for a little while (RFC 9112 section 9.6).
//!
//! The kernel may hold megabytes for a client on a slow line, which goes on sending while it reads: window updates over
//! HTTP/2, or further requests. For as long as it has not taken what was sent, we read on as well.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::caps::Permit;
use super::gather::Transport;

/// How long to read on when the client has all that was sent.
const READ_ON: Duration = Duration::from_secs(5);
/// How much to read at the most: a batch of lookups is about 100 KB.
const MOST: usize = 4 * 1024 * 1024;
/// From one look to the next whether the client has taken everything, at first and at the most.
const LOOK: Duration = Duration::from_millis(5);
const LAST_LOOK: Duration = Duration::from_millis(500);
/// Sizes of a socket's buffer in KiB, one after the other, each of which is a step forward when there is room in it.
const STEPS: [usize; 12] = [192, 128, 96, 64, 48, 32, 24, 16, 12, 8, 4, 0];

/// Sends what is pending, closes the write side, and reads until the client closes or patience ends. What is pending may be
/// the end of a large answer, with more of it in the kernel's buffer: for each there is as much `patience` as for the rest.
pub(super) async fn close(transport: Transport, pending: BytesMut, patience: Duration, permit: Permit) {
    if let Ok(Ok(tcp)) = timeout(patience, finish(transport, pending)).await {
        let mut reading = Reading { tcp, read: 0 };
        if reading.until_taken(patience).await.is_ok() && reading.tcp.shutdown().await.is_ok() {
            let _ = timeout(READ_ON, reading.read_on()).await;
        }
    }
    drop(permit);
}

async fn finish(transport: Transport, pending: BytesMut) -> io::Result<TcpStream> {
    match transport {
        Transport::Plain(mut tcp) => {
            tcp.write_all(&pending).await?;
            Ok(tcp)
        }
        Transport::Tls(mut tls) => {
            tls.write_all(&pending).await?;
            // So that the client can tell the end from a cut (RFC 8446 section 6.1). To shut the session down would close
            // the socket's write side as well.
            tls.get_mut().1.send_close_notify();
            tls.flush().await?;
            Ok(tls.into_inner().0)
        }
    }
}

/// What the client still sends, which goes nowhere.
struct Reading {
    tcp: TcpStream,
    read: usize,
}

impl Reading {
    /// Reads until the client has next to everything, takes nothing of it for as long as `patience`, or has nothing more to
    /// say. Fails when it is gone.
    async fn until_taken(&mut self, patience: Duration) -> io::Result<()> {
        self.make_narrow(0)?;
        if has_room(&self.tcp)? {
            return Ok(());
        }
        for size in STEPS {
            self.make_narrow(size << 10)?;
            let Ok(is_there) = timeout(patience, self.until_room()).await else { break };
            if !is_there? {
                break;
            }
        }
        Ok(())
    }

    /// The kernel does not tell how much it holds, but whether there is room for more: with a small buffer there is when
    /// little is left. (That it is asked before the write side is closed is part of this: afterwards there always is.)
    fn make_narrow(&self, size: usize) -> io::Result<()> {
        SockRef::from(&self.tcp).set_send_buffer_size(size)
    }

    /// Reads until there is room. False when there is nothing more to read: then nothing can cause a reset any more.
    async fn until_room(&mut self) -> io::Result<bool> {
        let mut look = LOOK;
        while !has_room(&self.tcp)? {
            if let Ok(read) = timeout(look, self.some()).await
                && !read?
            {
                return Ok(false);
            }
            look = (look * 2).min(LAST_LOOK);
        }
        Ok(true)
    }

    async fn read_on(&mut self) -> io::Result<()> {
        while self.some().await? {}
        Ok(())
    }

    /// Reads something; false when there is nothing more, or enough.
    async fn some(&mut self) -> io::Result<bool> {
        let mut scratch = [0; 4096];
        let count = self.tcp.read(&mut scratch).await?;
        self.read += count;
        Ok(count > 0 && self.read < MOST)
    }
}

fn has_room(tcp: &TcpStream) -> io::Result<bool> {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(poll(&mut [PollFd::new(tcp, PollFlags::OUT)], Some(&at_once))? > 0)
}
