//! Messages between two gates, with file descriptors: JSON, one packet each (`SOCK_SEQPACKET`).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::cmsg_space;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// File descriptors in one packet. Linux takes 253.
pub(super) const MOST_DESCRIPTORS: usize = 128;
/// Bytes in one packet: that many addresses are some 20 KiB.
const LARGEST: usize = 64 * 1024;
/// What the other side may take to make room for a packet.
const SENDING: Duration = Duration::from_secs(5);

/// One end.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Both ends. Neither is inherited by a process that is started, unless it is given it.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self::from(ours), theirs))
    }

    /// Another handle on the same end.
    pub(super) fn again(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Sends `message`, and copies of at most [`MOST_DESCRIPTORS`] descriptors.
    pub(super) fn send(&self, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let packet = serde_json::to_vec(message)?;
        if packet.len() > LARGEST {
            let reason = format!("{} bytes are too many for one packet", packet.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one packet"));
        }
        set_socket_timeout(&self.0, Timeout::Send, Some(SENDING))?;
        sendmsg(&self.0, &[IoSlice::new(&packet)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Waits for a message; none: the other side is gone. Without `patience` it waits for as long as it takes.
    pub(super) fn receive<T: DeserializeOwned>(
        &self,
        patience: Option<Duration>,
    ) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        // Zero would be for ever.
        let patience = patience.map(|patience| patience.max(Duration::from_millis(1)));
        set_socket_timeout(&self.0, Timeout::Recv, patience)?;
        let mut packet = vec![0; LARGEST];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let slices = &mut [IoSliceMut::new(&mut packet)];
            match recvmsg(&self.0, slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CONNRESET) => return Ok(None),
                other => break other?,
            }
        };
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                descriptors.extend(received);
            }
        }
        if received.flags.intersects(ReturnFlags::CTRUNC | ReturnFlags::TRUNC) {
            let reason = "a packet did not arrive whole; are there file descriptors left?";
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        if received.bytes == 0 {
            return Ok(None);
        }
        Ok(Some((serde_json::from_slice(&packet[..received.bytes])?, descriptors)))
    }
}

impl From<OwnedFd> for Channel {
    fn from(end: OwnedFd) -> Self {
        Self(end)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether nothing came in time.
pub(super) fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_socket_arrives_as_the_same_socket() {
        let (ours, theirs) = Channel::pair().unwrap();
        let theirs = Channel::from(theirs);
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        ours.send(&"here", &[socket.as_fd()]).unwrap();
        drop(socket);
        let (text, mut received): (String, _) = theirs.receive(None).unwrap().unwrap();
        assert_eq!((text.as_str(), received.len()), ("here", 1));
        let socket = TcpListener::from(received.remove(0));
        let _client = TcpStream::connect(address).unwrap();
        socket.accept().unwrap();
    }

    #[test]
    fn as_many_as_may_be_arrive_in_one_packet() {
        let (ours, theirs) = Channel::pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let many = vec![file.as_fd(); MOST_DESCRIPTORS];
        ours.send(&1, &many).unwrap();
        let (_, received): (u32, _) = Channel::from(theirs).receive(None).unwrap().unwrap();
        assert_eq!(received.len(), MOST_DESCRIPTORS);
        assert!(ours.send(&1, &[&many[..], &many[..]].concat()).is_err());
    }

    #[test]
    fn an_end_that_is_gone_is_told_from_one_that_says_nothing() {
        let (ours, theirs) = Channel::pair().unwrap();
        let late = ours.receive::<u32>(Some(Duration::from_millis(1))).unwrap_err();
        assert!(is_late(&late), "{late}");
        drop(theirs);
        assert!(ours.receive::<u32>(None).unwrap().is_none());
    }
}
