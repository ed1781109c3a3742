//! Our own descriptions.

use std::fmt::Write;
use std::net::IpAddr;

use pipeline::codec::Codec;
use pipeline::rtp::PayloadFormat;

use super::{CryptoLine, Description, Direction, LocalMedia, Media, SessionVersion};

/// Payload type that our own offers give to Opus and to DTMF.
const OFFERED_OPUS: u8 = 111;
const OFFERED_EVENTS: (u8, u32) = (101, 8_000);

/// Writes an offer of one m-line with everything that can be received, for an INVITE that came without one. With `crypto`
/// it is RTP/SAVP.
pub fn offer(
    session: SessionVersion,
    local: IpAddr,
    port: u16,
    crypto: Option<&CryptoLine>,
) -> String {
    let mut sdp = head(session, local);
    let line = Line {
        port,
        formats: &offered_formats(),
        telephone_event: Some(OFFERED_EVENTS),
        crypto,
        rtcp_mux: false,
        direction: Direction::SendRecv,
    };
    line.write(&mut sdp);
    sdp
}

/// Writes an offer of what is going on already, for a re-INVITE that came without one (RFC 3261 section 14.2): each line
/// of the session in order, `None` for one that was refused.
pub fn reoffer(session: SessionVersion, local: IpAddr, media: &[Option<LocalMedia>]) -> String {
    let mut sdp = head(session, local);
    for line in media {
        match line {
            Some(ours) => Line {
                port: ours.port,
                formats: &[ours.format],
                telephone_event: None,
                crypto: ours.crypto.as_ref(),
                rtcp_mux: false,
                direction: Direction::SendRecv,
            }
            .write(&mut sdp),
            None => sdp.push_str("m=audio 0 RTP/AVP 0\r\n"),
        }
    }
    sdp
}

/// What [`offer`] offers, best first.
pub fn offered_formats() -> [PayloadFormat; 4] {
    [
        PayloadFormat { codec: Codec::Opus, payload_type: OFFERED_OPUS, clock_rate: 48_000 },
        PayloadFormat { codec: Codec::G722, payload_type: 9, clock_rate: 8_000 },
        PayloadFormat { codec: Codec::Pcmu, payload_type: 0, clock_rate: 8_000 },
        PayloadFormat { codec: Codec::Pcma, payload_type: 8, clock_rate: 8_000 },
    ]
}

pub(super) fn answer(
    theirs: &Description,
    session: SessionVersion,
    local: IpAddr,
    ours: &[Option<LocalMedia>],
) -> String {
    let mut sdp = head(session, local);
    for (index, theirs) in theirs.media.iter().enumerate() {
        match ours.get(index) {
            Some(Some(ours)) => Line {
                port: ours.port,
                formats: &[ours.format],
                telephone_event: theirs.telephone_event_beside(ours.format),
                crypto: ours.crypto.as_ref(),
                rtcp_mux: theirs.rtcp_mux,
                direction: theirs.direction.reversed(),
            }
            .write(&mut sdp),
            Some(None) | None => theirs.write_refused(&mut sdp),
        }
    }
    sdp
}

impl Media {
    /// The event format with the clock of the audio if there is one (RFC 4733 section 2.1), else their first.
    pub(super) fn telephone_event_beside(&self, format: PayloadFormat) -> Option<(u8, u32)> {
        let events = &self.telephone_events;
        let same = events.iter().find(|(_, clock_rate)| *clock_rate == format.clock_rate);
        same.or(events.first()).copied()
    }

    /// RFC 3264 section 6: port 0, the rest as offered.
    fn write_refused(&self, sdp: &mut String) {
        line(
            sdp,
            format_args!("m={} 0 {} {}", self.kind, self.protocol, self.payload_types.join(" ")),
        );
    }
}

/// An m-line that is taken.
struct Line<'a> {
    port: u16,
    formats: &'a [PayloadFormat],
    /// Payload type and clock rate.
    telephone_event: Option<(u8, u32)>,
    crypto: Option<&'a CryptoLine>,
    rtcp_mux: bool,
    direction: Direction,
}

impl Line<'_> {
    fn write(&self, sdp: &mut String) {
        let profile = if self.crypto.is_some() { "RTP/SAVP" } else { "RTP/AVP" };
        let payload_types: Vec<String> = self
            .formats
            .iter()
            .map(|format| format.payload_type)
            .chain(self.telephone_event.map(|(payload_type, _)| payload_type))
            .map(|payload_type| payload_type.to_string())
            .collect();
        line(sdp, format_args!("m=audio {} {profile} {}", self.port, payload_types.join(" ")));
        for PayloadFormat { codec, payload_type, clock_rate } in self.formats {
            let encoding = match (codec, clock_rate) {
                (Codec::Opus, 48_000) => "opus/48000/2".to_owned(),
                (Codec::Opus, rate) => format!("OPUS/{rate}"),
                (Codec::Pcmu, rate) => format!("PCMU/{rate}"),
                (Codec::Pcma, rate) => format!("PCMA/{rate}"),
                (Codec::G722, rate) => format!("G722/{rate}"),
            };
            line(sdp, format_args!("a=rtpmap:{payload_type} {encoding}"));
            if *codec == Codec::Opus {
                line(sdp, format_args!("a=fmtp:{payload_type} useinbandfec=1"));
            }
        }
        if let Some((payload_type, clock_rate)) = self.telephone_event {
            line(sdp, format_args!("a=rtpmap:{payload_type} telephone-event/{clock_rate}"));
            line(sdp, format_args!("a=fmtp:{payload_type} 0-15"));
        }
        line(sdp, format_args!("a=ptime:20"));
        line(sdp, format_args!("a={}", self.direction.as_str()));
        if self.rtcp_mux {
            line(sdp, format_args!("a=rtcp-mux"));
        }
        if let Some(crypto) = self.crypto {
            line(sdp, format_args!("a=crypto:{}", crypto.value()));
        }
    }
}

fn head(session: SessionVersion, local: IpAddr) -> String {
    let family = if local.is_ipv4() { "IP4" } else { "IP6" };
    let SessionVersion { id, version } = session;
    let mut sdp = String::new();
    line(&mut sdp, format_args!("v=0"));
    line(&mut sdp, format_args!("o=- {id} {version} IN {family} {local}"));
    line(&mut sdp, format_args!("s=sidetone"));
    line(&mut sdp, format_args!("c=IN {family} {local}"));
    line(&mut sdp, format_args!("t=0 0"));
    sdp
}

fn line(sdp: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = write!(sdp, "{text}\r\n");
}
