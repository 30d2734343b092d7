//! A connection to a backend, as the engine's client session takes it.
//!
//! The engine's own stream type buffers, and keeps the time of every read and write and the addresses of both ends
//! for those who ask. The exchange writes a head in one piece and reads into large buffers, and nobody asks.

use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

/// A TCP connection, and what was read of it and put back.
#[derive(Debug)]
pub struct BackendStream {
    tcp: TcpStream,
    unread: Bytes,
}

impl BackendStream {
    /// A connection from which nothing was read yet.
    pub fn new(tcp: TcpStream) -> Self {
        Self { tcp, unread: Bytes::new() }
    }

    /// Writes all of `bytes`, if that can be done at once. Otherwise some of them may be written, and the connection is good
    /// for nothing.
    pub fn write_at_once(&self, bytes: &[u8]) -> bool {
        matches!(self.tcp.try_write(bytes), Ok(written) if written == bytes.len())
    }

    /// Puts back what was read last, to be read again.
    pub fn unread(&mut self, bytes: Bytes) {
        // A part of what was put back before may not have been read again.
        self.unread = match self.unread.is_empty() {
            true => bytes,
            false => [&bytes[..], &self.unread].concat().into(),
        };
    }
}

impl AsyncRead for BackendStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return Pin::new(&mut self.tcp).poll_read(cx, buf);
        }
        let n = self.unread.len().min(buf.remaining());
        buf.put_slice(&self.unread.split_to(n));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for BackendStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for BackendStream {
    async fn shutdown(&mut self) {
        // A backend that is already gone is no news.
        let _ = AsyncWriteExt::shutdown(&mut self.tcp).await;
    }
}

impl UniqueID for BackendStream {
    fn id(&self) -> UniqueIDType {
        self.tcp.as_raw_fd()
    }
}

impl Ssl for BackendStream {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        None
    }
}

impl GetTimingDigest for BackendStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for BackendStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for BackendStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl Peek for BackendStream {}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_is_put_back_twice_is_read_again_in_its_order() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut backend = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        backend.write_all(b"ghi").await.unwrap();
        backend.shutdown().await.unwrap();
        let mut stream = BackendStream::new(listener.accept().await.unwrap().0);
        stream.unread(Bytes::from_static(b"abcdef"));
        let mut first = [0; 4];
        stream.read_exact(&mut first).await.unwrap();
        stream.unread(Bytes::copy_from_slice(&first));
        let mut all = String::new();
        stream.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "abcdefghi");
    }
}
