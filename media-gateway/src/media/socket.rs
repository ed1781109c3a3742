//! A UDP socket that wakes nobody: it is read when it suits the reader, and tells when each datagram arrived.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::cmsg_space;
use nix::sys::socket::sockopt::{RcvBuf, ReceiveTimestampns};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, RecvMsg, SockaddrStorage, recvmsg, setsockopt,
};
use nix::sys::time::TimeSpec;

/// Longest datagram that is read; RTP packets are far shorter.
const MAX_DATAGRAM_LEN: usize = 2048;

/// Bytes that the system keeps until they are read, its own bookkeeping included: what a network that stalled for ten
/// seconds delivers in one burst. Linux doubles it, and grants as much by default.
const BACKLOG: usize = 208 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct MediaSocket {
    socket: UdpSocket,
    /// What is read next arrived after this.
    read_until: Instant,
}

/// Where a datagram is read into.
#[derive(Debug)]
pub(super) struct Inbox {
    datagram: [u8; MAX_DATAGRAM_LEN],
    control: Vec<u8>,
}

/// What was read.
#[derive(Debug)]
pub(super) struct Received<'a> {
    pub(super) datagram: &'a [u8],
    pub(super) source: SocketAddr,
    pub(super) arrival: Moment,
}

/// One moment on two clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) at: Instant,
    pub(super) wall: SystemTime,
}

impl MediaSocket {
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, ReceiveTimestampns, &true)?;
        setsockopt(&socket, RcvBuf, &BACKLOG)?;
        Ok(Self { socket, read_until: Instant::now() })
    }

    #[cfg(test)]
    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The next datagram that has arrived by now.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is none.
    pub(super) fn receive<'a>(
        &mut self,
        now: Moment,
        inbox: &'a mut Inbox,
    ) -> io::Result<Received<'a>> {
        let Inbox { datagram, control } = inbox;
        let mut parts = [IoSliceMut::new(datagram)];
        let read = recvmsg(self.socket.as_raw_fd(), &mut parts, Some(control), MsgFlags::empty());
        let message: RecvMsg<'_, '_, SockaddrStorage> =
            read.inspect_err(|_| self.read_until = self.read_until.max(now.at))?;
        let (len, source, stamp) = (message.bytes, source(&message), stamp(&message));
        let arrival = now.arrival(stamp, self.read_until);
        self.read_until = arrival.at;
        let source = source.ok_or(io::ErrorKind::InvalidData)?;
        Ok(Received { datagram: &datagram[..len], source, arrival })
    }

    /// Sends a datagram if the system takes it at once.
    ///
    /// # Errors
    /// Those of the system.
    pub(super) fn send(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        self.socket.send_to(datagram, to).map(drop)
    }
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self { datagram: [0; MAX_DATAGRAM_LEN], control: cmsg_space!(TimeSpec) }
    }
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { at: Instant::now(), wall: SystemTime::now() }
    }

    /// When a datagram with this stamp, read now, arrived: after `earliest`, whatever the wall clock does.
    fn arrival(self, stamp: Option<SystemTime>, earliest: Instant) -> Self {
        let age = stamp.and_then(|stamp| self.wall.duration_since(stamp).ok()).unwrap_or_default();
        let age = age.min(self.at.saturating_duration_since(earliest));
        Self { at: self.at - age, wall: self.wall - age }
    }

    /// Its wall clock in milliseconds since the Unix epoch.
    pub(super) fn unix_ms(self) -> i64 {
        let since = self.wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

/// Wall clock in milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> i64 {
    Moment::now().unix_ms()
}

fn source(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<SocketAddr> {
    let address = message.address.as_ref()?;
    match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => Some((*v4).into()),
        (None, v6) => v6.map(|v6| (*v6).into()),
    }
}

fn stamp(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<SystemTime> {
    message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(since) => UNIX_EPOCH.checked_add(Duration::from(since)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    #[test]
    fn datagrams_come_with_their_source_and_the_time_of_their_arrival() {
        let (mut socket, mut inbox) = (MediaSocket::bind(address()).unwrap(), Inbox::new());
        let sender = MediaSocket::bind(address()).unwrap();
        let before = Moment::now();
        let nothing = socket.receive(before, &mut inbox).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);

        for text in [&b"first"[..], b"", b"third"] {
            sender.send(text, socket.local_addr().unwrap()).unwrap();
        }
        let sent = Moment::now();
        // Long after, as the clocks that the reader goes by tell it.
        let pause = Duration::from_secs(1000);
        let now = Moment { at: sent.at + pause, wall: sent.wall + pause };
        for text in [&b"first"[..], b"", b"third"] {
            let Received { datagram, source, arrival } = socket.receive(now, &mut inbox).unwrap();
            assert_eq!((datagram, source), (text, sender.local_addr().unwrap()));
            // Until the system has begun to stamp what arrives, it stamps what is read.
            assert!((before.wall..=SystemTime::now()).contains(&arrival.wall), "{arrival:?}");
            assert_eq!(now.at - arrival.at, now.wall.duration_since(arrival.wall).unwrap());
        }
    }

    #[test]
    fn an_arrival_is_never_before_the_last_nor_after_now() {
        let ms = Duration::from_millis;
        let earliest = Instant::now();
        let now = Moment { at: earliest + ms(20), wall: UNIX_EPOCH + ms(1_000_000) };
        let arrival = |age: i64| {
            let stamp = now.wall.checked_add(ms(1000)).unwrap() - ms((1000 + age) as u64);
            let arrival = now.arrival(Some(stamp), earliest);
            (arrival.at - earliest, arrival.unix_ms())
        };
        assert_eq!(arrival(0), (ms(20), 1_000_000));
        assert_eq!(arrival(15), (ms(5), 999_985));
        // The wall clock was set forward or back since.
        assert_eq!(arrival(3_000), (ms(0), 999_980));
        assert_eq!(arrival(-500), (ms(20), 1_000_000));
        let unstamped = now.arrival(None, earliest);
        assert_eq!((unstamped.at, unstamped.unix_ms()), (now.at, 1_000_000));
    }
}
