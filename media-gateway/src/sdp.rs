//! Session descriptions: reading RingCentral's offers and writing our answers (RFC 4566, RFC 3264).
//!
//! The `sdp` crate reads every offer shape that RingCentral is known to send (two m-lines, `i=` before or after `c=`,
//! lone line feeds); what it means for this gateway is decided here.

use std::io::Cursor;
use std::net::{IpAddr, SocketAddr};

use ::sdp::SessionDescription;
use ::sdp::description::common::{Address, Attribute, ConnectionInformation};
use ::sdp::description::media::{MediaDescription, MediaName, RangedPort};
use ::sdp::description::session::{Origin, TimeDescription};
use pipeline::codec::Codec;
use pipeline::rtp::PayloadFormat;

/// More m-lines than any supervised call has; an offer with more is refused.
const MAX_MEDIA: usize = 8;

/// Payload type that our own offers give to Opus and to DTMF.
const OFFERED_OPUS: u8 = 111;
const OFFERED_EVENTS: u8 = 101;

/// A description that came from the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The m-lines in order.
    pub media: Vec<Media>,
}

/// One m-line of theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// Where their RTP comes from and goes to. The address is unspecified when they hold the old way (`c=0.0.0.0`).
    pub remote: SocketAddr,
    /// What they can send and this gateway can decode, in their order. Empty exactly when `unfit` says why.
    pub formats: Vec<PayloadFormat>,
    /// The payload type of DTMF (RFC 4733), if they have it.
    pub telephone_event: Option<u8>,
    /// The RingCentral party id in the `i=` line.
    pub party_id: Option<String>,
    /// Which way media flow, seen from them.
    pub direction: Direction,
    /// Why this m-line can't be taken.
    pub unfit: Option<Unfit>,
    kind: String,
    protocol: String,
    payload_types: Vec<String>,
}

/// RFC 3264 section 5.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both ways: the default.
    SendRecv,
    /// They send.
    SendOnly,
    /// They receive.
    RecvOnly,
    /// Nobody sends.
    Inactive,
}

/// Why an m-line is refused with port 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Video, fax, text.
    #[error("{0} is not audio")]
    NotAudio(String),
    /// They refuse it themselves: port 0.
    #[error("it is disabled")]
    Disabled,
    /// Encrypted media.
    #[error("{0} is SRTP, which is not supported: register over plain TCP or UDP")]
    Secure(String),
    /// Another profile.
    #[error("the profile {0} is not RTP/AVP")]
    Profile(String),
    /// No codec in common.
    #[error("none of its codecs ({0}) is Opus, PCMU or PCMA")]
    NoCodec(String),
    /// No `c=` line, or a host name in it.
    #[error("it names no IP address to talk to")]
    NoAddress,
}

/// A body that is no session description.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Not text, or not SDP's grammar.
    #[error("not a session description: {0}")]
    Syntax(String),
    /// No m-line at all.
    #[error("the session description has no m= line")]
    NoMedia,
    /// More m-lines than [`MAX_MEDIA`].
    #[error("the session description has {0} m= lines, more than {MAX_MEDIA}")]
    TooManyMedia(usize),
}

/// What an m-line of ours says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalMedia {
    /// The RTP port; RTCP is one above.
    pub port: u16,
    /// What will be received.
    pub format: PayloadFormat,
}

/// Numbers of the `o=` line: constant id, version counted up with each change (RFC 3264 section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionVersion {
    /// Unique per leg.
    pub id: u64,
    /// Counts the descriptions sent within the leg.
    pub version: u64,
}

impl Description {
    /// Reads a body.
    pub fn parse(body: &[u8]) -> Result<Self, SdpError> {
        let text =
            std::str::from_utf8(body).map_err(|error| SdpError::Syntax(error.to_string()))?;
        let parsed = SessionDescription::unmarshal(&mut Cursor::new(text))
            .map_err(|error| SdpError::Syntax(error.to_string()))?;
        match parsed.media_descriptions.len() {
            0 => return Err(SdpError::NoMedia),
            1..=MAX_MEDIA => {}
            more => return Err(SdpError::TooManyMedia(more)),
        }
        let media = parsed.media_descriptions.iter().map(|media| Media::read(&parsed, media));
        Ok(Self { media: media.collect() })
    }

    /// Writes the answer: one m-line for each of theirs in order, `None` refuses it.
    pub fn answer(
        &self,
        session: SessionVersion,
        local: IpAddr,
        media: &[Option<LocalMedia>],
    ) -> String {
        let lines = self.media.iter().enumerate().map(|(index, theirs)| {
            match media.get(index).copied().flatten() {
                Some(ours) => {
                    let direction = theirs.direction.reversed();
                    accepted(&[ours.format], ours.port, theirs.telephone_event, direction)
                }
                None => theirs.refused(),
            }
        });
        describe(session, local, lines.collect())
    }
}

/// Writes an offer of one m-line with everything that can be received, for an INVITE that came without one.
pub fn offer(session: SessionVersion, local: IpAddr, port: u16) -> String {
    let line = accepted(&offered_formats(), port, Some(OFFERED_EVENTS), Direction::SendRecv);
    describe(session, local, vec![line])
}

/// What [`offer`] offers, best first.
pub fn offered_formats() -> [PayloadFormat; 3] {
    [
        PayloadFormat { codec: Codec::Opus, payload_type: OFFERED_OPUS, clock_rate: 48_000 },
        PayloadFormat { codec: Codec::Pcmu, payload_type: 0, clock_rate: 8_000 },
        PayloadFormat { codec: Codec::Pcma, payload_type: 8, clock_rate: 8_000 },
    ]
}

impl Media {
    fn read(session: &SessionDescription, media: &MediaDescription) -> Self {
        let name = &media.media_name;
        let protocol = name.protos.join("/");
        let connection =
            media.connection_information.as_ref().or(session.connection_information.as_ref());
        let address = connection
            .and_then(|connection| connection.address.as_ref())
            .and_then(|address| address.address.parse::<IpAddr>().ok());
        let port = u16::try_from(name.port.value).unwrap_or(0);
        let rtpmaps = rtpmaps(media);
        let formats: Vec<PayloadFormat> =
            name.formats.iter().filter_map(|text| payload_format(text, &rtpmaps)).collect();
        let unfit = if name.media != "audio" {
            Some(Unfit::NotAudio(name.media.clone()))
        } else if port == 0 {
            Some(Unfit::Disabled)
        } else if protocol.contains("SAVP") {
            Some(Unfit::Secure(protocol.clone()))
        } else if protocol != "RTP/AVP" {
            Some(Unfit::Profile(protocol.clone()))
        } else if formats.is_empty() {
            Some(Unfit::NoCodec(name.formats.join(" ")))
        } else if address.is_none() {
            Some(Unfit::NoAddress)
        } else {
            None
        };
        let events = rtpmaps.iter().find(|map| map.name == "telephone-event");
        Self {
            remote: SocketAddr::new(address.unwrap_or(IpAddr::from([0, 0, 0, 0])), port),
            formats: if unfit.is_none() { formats } else { Vec::new() },
            telephone_event: events.map(|map| map.payload_type),
            party_id: media.media_title.as_deref().and_then(party_id),
            direction: direction(&media.attributes)
                .or_else(|| direction(&session.attributes))
                .unwrap_or(Direction::SendRecv),
            unfit,
            kind: name.media.clone(),
            protocol,
            payload_types: name.formats.clone(),
        }
    }

    /// RFC 3264 section 6: port 0, the rest as offered.
    fn refused(&self) -> MediaDescription {
        MediaDescription {
            media_name: MediaName {
                media: self.kind.clone(),
                port: RangedPort { value: 0, range: None },
                protos: vec![self.protocol.clone()],
                formats: self.payload_types.clone(),
            },
            ..Default::default()
        }
    }
}

impl Direction {
    /// The same, seen from the other side.
    pub fn reversed(self) -> Self {
        match self {
            Direction::SendRecv => Direction::SendRecv,
            Direction::SendOnly => Direction::RecvOnly,
            Direction::RecvOnly => Direction::SendOnly,
            Direction::Inactive => Direction::Inactive,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }
}

struct RtpMap {
    payload_type: u8,
    /// In lower case.
    name: String,
    clock_rate: u32,
}

/// The `a=rtpmap` lines: `111 OPUS/48000/2`.
fn rtpmaps(media: &MediaDescription) -> Vec<RtpMap> {
    let values = media.attributes.iter().filter(|one| one.key == "rtpmap");
    values
        .filter_map(|attribute| {
            let (payload_type, encoding) = attribute.value.as_deref()?.trim().split_once(' ')?;
            let mut parts = encoding.trim().split('/');
            Some(RtpMap {
                payload_type: payload_type
                    .parse()
                    .ok()
                    .filter(|payload_type| *payload_type < 128)?,
                name: parts.next()?.to_ascii_lowercase(),
                clock_rate: parts.next()?.trim().parse().ok()?,
            })
        })
        .collect()
}

/// What a payload type of the m-line stands for, if it can be decoded. 0 and 8 need no rtpmap (RFC 3551).
fn payload_format(text: &str, rtpmaps: &[RtpMap]) -> Option<PayloadFormat> {
    let payload_type = text.parse::<u8>().ok().filter(|payload_type| *payload_type < 128)?;
    let map = rtpmaps.iter().find(|map| map.payload_type == payload_type);
    let (name, clock_rate) = match (map, payload_type) {
        (Some(map), _) => (map.name.as_str(), map.clock_rate),
        (None, 0) => ("pcmu", 8_000),
        (None, 8) => ("pcma", 8_000),
        (None, _) => return None,
    };
    let codec = match (name, clock_rate) {
        ("opus", 48_000 | 16_000) => Codec::Opus,
        ("pcmu", 8_000) => Codec::Pcmu,
        ("pcma", 8_000) => Codec::Pcma,
        _ => return None,
    };
    Some(PayloadFormat { codec, payload_type, clock_rate })
}

/// `i=<session id in base64> party-id=<party id>`.
fn party_id(title: &str) -> Option<String> {
    let (_, rest) = title.split_once("party-id=")?;
    let id = rest.split([' ', ';', ',', '\t']).next()?.trim();
    (!id.is_empty()).then(|| id.to_owned())
}

fn direction(attributes: &[Attribute]) -> Option<Direction> {
    attributes.iter().find_map(|attribute| match attribute.key.as_str() {
        "sendrecv" => Some(Direction::SendRecv),
        "sendonly" => Some(Direction::SendOnly),
        "recvonly" => Some(Direction::RecvOnly),
        "inactive" => Some(Direction::Inactive),
        _ => None,
    })
}

fn accepted(
    formats: &[PayloadFormat],
    port: u16,
    telephone_event: Option<u8>,
    direction: Direction,
) -> MediaDescription {
    let mut payload_types: Vec<String> =
        formats.iter().map(|format| format.payload_type.to_string()).collect();
    let mut attributes = Vec::new();
    let mut add = |key: &str, value: Option<String>| {
        attributes.push(Attribute::new(key.to_owned(), value));
    };
    for PayloadFormat { codec, payload_type, clock_rate } in formats {
        let encoding = match (codec, clock_rate) {
            (Codec::Opus, 48_000) => "opus/48000/2".to_owned(),
            (Codec::Opus, rate) => format!("OPUS/{rate}"),
            (Codec::Pcmu, rate) => format!("PCMU/{rate}"),
            (Codec::Pcma, rate) => format!("PCMA/{rate}"),
        };
        add("rtpmap", Some(format!("{payload_type} {encoding}")));
        if *codec == Codec::Opus {
            add("fmtp", Some(format!("{payload_type} useinbandfec=1")));
        }
    }
    if let Some(events) = telephone_event {
        payload_types.push(events.to_string());
        add("rtpmap", Some(format!("{events} telephone-event/8000")));
        add("fmtp", Some(format!("{events} 0-15")));
    }
    add("ptime", Some("20".to_owned()));
    add(direction.as_str(), None);
    MediaDescription {
        media_name: MediaName {
            media: "audio".to_owned(),
            port: RangedPort { value: isize::try_from(port).unwrap_or(0), range: None },
            protos: vec!["RTP".to_owned(), "AVP".to_owned()],
            formats: payload_types,
        },
        attributes,
        ..Default::default()
    }
}

fn describe(session: SessionVersion, local: IpAddr, media: Vec<MediaDescription>) -> String {
    let address_type = if local.is_ipv4() { "IP4" } else { "IP6" };
    SessionDescription {
        version: 0,
        origin: Origin {
            username: "-".to_owned(),
            session_id: session.id,
            session_version: session.version,
            network_type: "IN".to_owned(),
            address_type: address_type.to_owned(),
            unicast_address: local.to_string(),
        },
        session_name: "sidetone".to_owned(),
        connection_information: Some(ConnectionInformation {
            network_type: "IN".to_owned(),
            address_type: address_type.to_owned(),
            address: Some(Address { address: local.to_string(), ttl: None, range: None }),
        }),
        time_descriptions: vec![TimeDescription::default()],
        media_descriptions: media,
        ..Default::default()
    }
    .marshal()
}

#[cfg(test)]
#[path = "sdp_tests.rs"]
mod tests;
