//! One m-line without its sockets: datagrams and time in; audio, and datagrams to send, out. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pipeline::codec::CodecError;
use pipeline::rtp::{
    PartyAudio, PayloadFormat, RtcpRejected, RtcpSession, RtpHeader, RtpReceiver, RtpRejected,
    RtpStats,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::budget::PacketBudget;
use super::keepalive::KeepAlive;
use super::source::{SourceLock, SourceRejected};
use super::srtp::{SrtpError, SrtpReceiver, SrtpRejected, SrtpSender};
use crate::sdp::{MasterKey, Media};

/// Between two packets of silence.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Datagrams that wait to be sent. There are two at most, one of each kind; what does not fit is dropped.
const TRANSMIT_CAPACITY: usize = 4;

/// Where the other side is and what its packets are protected with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    rtp: SocketAddr,
    rtcp: SocketAddr,
    rtcp_mux: bool,
    key: Option<MasterKey>,
    /// They will send nothing: `a=inactive`, `a=recvonly`, or `c=0.0.0.0`.
    is_silent: bool,
}

/// The two sockets of an m-line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// The even port. With `a=rtcp-mux` it carries RTCP too.
    Rtp,
    /// The port after it.
    Rtcp,
}

/// A datagram to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// From which socket.
    pub channel: Channel,
    /// Where to.
    pub to: SocketAddr,
    /// What.
    pub datagram: Bytes,
}

/// Why a stream cannot start.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// No decoder could be made.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// No cipher could be made.
    #[error(transparent)]
    Srtp(#[from] SrtpError),
    /// A new offer wants SRTP where there was none, another suite, or none where there was SRTP.
    #[error("the new offer changes the protection of the media; refuse it")]
    ProtectionChanged,
}

/// Why a datagram is not taken. Each is a drop to be counted; none ends the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediaRejected {
    /// Not from the other side, as far as its address tells.
    #[error(transparent)]
    Source(#[from] SourceRejected),
    /// More packets than any call sends.
    #[error("more packets come than a call sends")]
    Flood,
    /// Not from the other side, as its key tells.
    #[error(transparent)]
    Srtp(#[from] SrtpRejected),
    /// Of no use to the receiver.
    #[error(transparent)]
    Rtp(#[from] RtpRejected),
    /// Not RTCP.
    #[error(transparent)]
    Rtcp(#[from] RtcpRejected),
}

/// A running m-line.
pub struct MediaSession {
    receiver: RtpReceiver,
    format: PayloadFormat,
    remote: Remote,
    lock: SourceLock,
    srtp: Option<Srtp>,
    /// For the source that is known, and for all others together.
    budgets: [PacketBudget; 2],
    keep_alive: KeepAlive,
    keep_alive_at: Instant,
    rtcp: RtcpSession,
    transmits: VecDeque<Transmit>,
    rejected: BTreeMap<&'static str, u64>,
    random: StdRng,
}

struct Srtp {
    receiver: SrtpReceiver,
    sender: SrtpSender,
}

impl Remote {
    /// What the other side's m-line says.
    pub fn of(media: &Media) -> Self {
        Self {
            rtp: media.remote,
            rtcp: media.remote_rtcp,
            rtcp_mux: media.rtcp_mux,
            key: media.crypto.as_ref().map(|line| line.key.clone()),
            is_silent: !media.sends(),
        }
    }
}

impl MediaRejected {
    /// A short name of the reason, for counters.
    pub fn reason(&self) -> &'static str {
        match self {
            MediaRejected::Source(SourceRejected::Foreign) => "foreign_source",
            MediaRejected::Source(SourceRejected::Probation) => "source_on_probation",
            MediaRejected::Flood => "flood",
            MediaRejected::Srtp(SrtpRejected::Malformed) => "srtp_malformed",
            MediaRejected::Srtp(SrtpRejected::Forged) => "srtp_forged",
            MediaRejected::Srtp(SrtpRejected::Replayed) => "srtp_replayed",
            MediaRejected::Rtp(RtpRejected::Stun) => "stun",
            MediaRejected::Rtp(RtpRejected::Duplicate) => "duplicate",
            MediaRejected::Rtp(RtpRejected::Late) => "late",
            MediaRejected::Rtp(RtpRejected::Finished) => "finished",
            MediaRejected::Rtp(
                RtpRejected::NotRtp
                | RtpRejected::Rtcp
                | RtpRejected::Truncated
                | RtpRejected::Oversized { .. },
            ) => "rtp_malformed",
            MediaRejected::Rtcp(_) => "rtcp_malformed",
        }
    }
}

impl MediaSession {
    /// Receives `format` from `remote`. What it sends is protected with `key`, which is there exactly when the remote has
    /// one. `seed` has to be unpredictable.
    ///
    /// # Errors
    /// When a decoder or a cipher cannot be made, or only one side has a key.
    pub fn new(
        now: Instant,
        format: PayloadFormat,
        remote: Remote,
        key: Option<&MasterKey>,
        seed: u64,
    ) -> Result<Self, MediaError> {
        let mut random = StdRng::seed_from_u64(seed);
        let srtp = match (&remote.key, key) {
            (Some(theirs), Some(ours)) => Some(Srtp {
                receiver: SrtpReceiver::new(theirs.clone()),
                sender: SrtpSender::new(ours)?,
            }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(MediaError::ProtectionChanged),
        };
        let keep_alive = KeepAlive::new(format, random.random());
        let cname = format!("{:024x}", random.random::<u128>() >> 32);
        Ok(Self {
            receiver: RtpReceiver::new(format)?,
            format,
            lock: SourceLock::new(now, remote.rtp),
            remote,
            srtp,
            budgets: [PacketBudget::new(now), PacketBudget::new(now)],
            rtcp: RtcpSession::new(now, keep_alive.ssrc(), cname, random.random()),
            keep_alive,
            keep_alive_at: now,
            transmits: VecDeque::new(),
            rejected: BTreeMap::new(),
            random,
        })
    }

    /// The other side moved, holds, or confirms where it is: a re-INVITE. A source that was learnt stays unless the
    /// address in the SDP changes; a hold in the old way (`c=0.0.0.0`) changes nothing but that nothing is sent. On hold
    /// nothing is missing: silence is what was announced.
    pub fn retarget(&mut self, now: Instant, remote: Remote) {
        if let (Some(srtp), Some(key)) = (&mut self.srtp, &remote.key)
            && srtp.receiver.key() != key
        {
            srtp.receiver = SrtpReceiver::new(key.clone());
        }
        if !remote.rtp.ip().is_unspecified() && remote.rtp != self.lock.described() {
            self.lock = SourceLock::new(now, remote.rtp);
        }
        self.receiver.handle_hold(now, remote.is_silent);
        self.remote = remote;
        self.keep_alive_at = now;
    }

    /// Takes a datagram that arrived at one of the sockets.
    ///
    /// # Errors
    /// Why it was dropped; it is counted.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        channel: Channel,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), MediaRejected> {
        let header = RtpHeader::parse(datagram);
        let taken = if channel == Channel::Rtcp || header == Err(RtpRejected::Rtcp) {
            self.handle_rtcp(now, source, datagram)
        } else {
            self.handle_rtp(now, source, header, datagram)
        };
        taken.inspect_err(|reason| *self.rejected.entry(reason.reason()).or_default() += 1)
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.receiver.handle_timeout(now);
        if self.keep_alive_at <= now {
            self.keep_alive_at = now + KEEP_ALIVE;
            let packet = self.keep_alive.packet(KEEP_ALIVE.as_millis() as u32);
            self.send(Channel::Rtp, &packet);
        }
        if self.rtcp.poll_timeout() <= now {
            let reception = self.receiver.reception();
            let report = self.rtcp.report(now, reception, self.random.random());
            self.send(Channel::Rtcp, &report);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted next.
    pub fn poll_timeout(&self) -> Instant {
        let own = self.keep_alive_at.min(self.rtcp.poll_timeout());
        self.receiver.poll_timeout().map_or(own, |receiver| receiver.min(own))
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next stretch of the party's audio.
    pub fn poll_audio(&mut self) -> Option<PartyAudio> {
        self.receiver.poll_audio()
    }

    /// From now on, tells of the keys that the party presses: telephone-events of this payload type.
    pub fn listen_for_keys(&mut self, payload_type: u8) {
        self.receiver.listen_for_keys(payload_type);
    }

    /// The next key that the party has pressed.
    pub fn poll_key(&mut self) -> Option<char> {
        self.receiver.poll_key()
    }

    /// Ends the stream: releases what the receiver holds, and says goodbye to the other side.
    pub fn finish(&mut self, now: Instant) {
        self.receiver.finish();
        let goodbye = self.rtcp.goodbye(now, self.receiver.reception());
        self.send(Channel::Rtcp, &goodbye);
    }

    /// What is received.
    pub fn format(&self) -> PayloadFormat {
        self.format
    }

    /// What the receiver counts.
    pub fn stats(&self) -> &RtpStats {
        self.receiver.stats()
    }

    /// Datagrams that were dropped, by [reason](MediaRejected::reason).
    pub fn rejected(&self) -> &BTreeMap<&'static str, u64> {
        &self.rejected
    }

    fn handle_rtp(
        &mut self,
        now: Instant,
        source: SocketAddr,
        header: Result<RtpHeader, RtpRejected>,
        datagram: &[u8],
    ) -> Result<(), MediaRejected> {
        let Some(srtp) = &mut self.srtp else {
            let header = header.ok();
            let expected = header.filter(|it| it.payload_type == self.format.payload_type);
            self.lock.admit(now, source, expected.as_ref())?;
            self.budgets[0].take(now).then_some(()).ok_or(MediaRejected::Flood)?;
            return Ok(self.receiver.handle_datagram(now, datagram)?);
        };
        header?;
        let is_stranger = source != self.lock.remote();
        let budget = &mut self.budgets[usize::from(is_stranger)];
        budget.take(now).then_some(()).ok_or(MediaRejected::Flood)?;
        let packet = srtp.receiver.open_rtp(datagram)?;
        if is_stranger {
            self.lock.authenticated(source);
        }
        Ok(self.receiver.handle_datagram(now, &packet)?)
    }

    /// RTCP comes from some port of the host that RTP comes from.
    fn handle_rtcp(
        &mut self,
        now: Instant,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), MediaRejected> {
        let is_stranger = source.ip() != self.lock.remote().ip() && source != self.remote.rtcp;
        let budget = &mut self.budgets[usize::from(is_stranger)];
        budget.take(now).then_some(()).ok_or(MediaRejected::Flood)?;
        let goodbyes = match &mut self.srtp {
            Some(srtp) => {
                let packet = srtp.receiver.open_rtcp(datagram)?;
                self.rtcp.handle_datagram(now, &packet)?
            }
            None if is_stranger => return Err(SourceRejected::Foreign.into()),
            None => self.rtcp.handle_datagram(now, datagram)?,
        };
        for ssrc in goodbyes {
            self.receiver.handle_goodbye(ssrc);
        }
        Ok(())
    }

    /// Queues an RTP or RTCP packet for where the other side is, if that is known.
    fn send(&mut self, kind: Channel, packet: &[u8]) {
        let rtp = self.lock.remote();
        if self.remote.rtp.ip().is_unspecified() || rtp.ip().is_unspecified() {
            return;
        }
        let (channel, to) = match kind {
            Channel::Rtp => (Channel::Rtp, rtp),
            Channel::Rtcp if self.remote.rtcp_mux => (Channel::Rtp, rtp),
            Channel::Rtcp if rtp == self.remote.rtp => (Channel::Rtcp, self.remote.rtcp),
            // It came from elsewhere than its SDP says: RTCP is most likely one port above.
            Channel::Rtcp => {
                (Channel::Rtcp, SocketAddr::new(rtp.ip(), rtp.port().saturating_add(1)))
            }
        };
        let protected = match (&mut self.srtp, kind) {
            (None, _) => Ok(Bytes::copy_from_slice(packet)),
            (Some(srtp), Channel::Rtp) => srtp.sender.protect_rtp(packet),
            (Some(srtp), Channel::Rtcp) => srtp.sender.protect_rtcp(packet),
        };
        if let Ok(datagram) = protected
            && self.transmits.len() < TRANSMIT_CAPACITY
        {
            self.transmits.push_back(Transmit { channel, to, datagram });
        }
    }
}

#[cfg(test)]
mod tests;
