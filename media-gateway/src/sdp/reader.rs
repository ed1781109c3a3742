//! From the lines of a description to m-lines that say what can be done with them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use pipeline::codec::Codec;
use pipeline::rtp::PayloadFormat;

use super::{CryptoLine, Direction, MAX_MEDIA, Media, SdpError, Unfit};

/// Reads a body. Order and presence of the lines around the m-lines are not checked: what is needed is looked up.
pub(super) fn read(body: &[u8]) -> Result<Vec<Media>, SdpError> {
    let text = std::str::from_utf8(body).map_err(|_| SdpError::NotText)?;
    let mut session = Section::default();
    let mut media: Vec<(MediaLine<'_>, Section<'_>)> = Vec::new();
    // Some senders end lines with a lone line feed, some leave an empty line at the end.
    let lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    let mut lines = (1..).zip(lines).filter(|(_, line)| !line.is_empty());
    if lines.next().is_none_or(|(_, first)| first.trim_end() != "v=0") {
        return Err(SdpError::Version);
    }
    for (number, line) in lines {
        let malformed = SdpError::Line(number);
        let (letter, value) = line.split_once('=').ok_or(malformed.clone())?;
        let &[letter] = letter.as_bytes() else { return Err(malformed) };
        if letter == b'm' {
            if media.len() == MAX_MEDIA {
                return Err(SdpError::TooManyMedia);
            }
            let line = MediaLine::read(value).ok_or(malformed)?;
            media.push((line, Section::default()));
            continue;
        }
        let section = media.last_mut().map_or(&mut session, |(_, section)| section);
        match letter {
            b'a' => section.attributes.push(value.split_once(':').unwrap_or((value, ""))),
            b'c' => section.connection = Some(value),
            b'i' => section.title = Some(value),
            _ if letter.is_ascii_lowercase() => {}
            _ => return Err(malformed),
        }
    }
    if media.is_empty() {
        return Err(SdpError::NoMedia);
    }
    Ok(media.iter().map(|(line, section)| line.with(&session, section)).collect())
}

/// `<media> <port>[/<count>] <protocol> <format> ...`
struct MediaLine<'a> {
    kind: &'a str,
    port: u16,
    protocol: &'a str,
    formats: Vec<&'a str>,
}

/// What stands before the first m-line, or below one.
#[derive(Default)]
struct Section<'a> {
    connection: Option<&'a str>,
    title: Option<&'a str>,
    /// Names and values.
    attributes: Vec<(&'a str, &'a str)>,
}

impl<'a> MediaLine<'a> {
    fn read(value: &'a str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let kind = words.next()?;
        let port = words.next()?;
        let port = port.split_once('/').map_or(port, |(port, _)| port).parse().ok()?;
        let protocol = words.next()?;
        let formats: Vec<&str> = words.collect();
        (!formats.is_empty()).then_some(Self { kind, port, protocol, formats })
    }

    fn with(&self, session: &Section<'_>, section: &Section<'_>) -> Media {
        let rtpmaps: Vec<RtpMap> = section.values("rtpmap").filter_map(RtpMap::read).collect();
        let formats: Vec<PayloadFormat> =
            self.formats.iter().filter_map(|text| payload_format(text, &rtpmaps)).collect();
        let secure = self.protocol.eq_ignore_ascii_case("RTP/SAVP");
        let crypto = section.values("crypto").find_map(CryptoLine::read).filter(|_| secure);
        let address = section.connection.or(session.connection).and_then(address);
        let unfit = if !self.kind.eq_ignore_ascii_case("audio") {
            Some(Unfit::NotAudio(self.kind.to_owned()))
        } else if self.port == 0 {
            Some(Unfit::Disabled)
        } else if !secure && !self.protocol.eq_ignore_ascii_case("RTP/AVP") {
            Some(Unfit::Profile(self.protocol.to_owned()))
        } else if secure && crypto.is_none() {
            Some(Unfit::NoCrypto)
        } else if formats.is_empty() {
            Some(Unfit::NoCodec(self.formats.join(" ")))
        } else if address.is_none() {
            Some(Unfit::NoAddress)
        } else {
            None
        };
        let fit = unfit.is_none();
        let remote = SocketAddr::new(address.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), self.port);
        let rtcp_mux = section.values("rtcp-mux").next().is_some();
        Media {
            remote,
            remote_rtcp: section.rtcp(remote, rtcp_mux),
            rtcp_mux,
            formats: if fit { formats } else { Vec::new() },
            crypto: crypto.filter(|_| fit),
            party_id: section.title.and_then(party_id),
            direction: section
                .direction()
                .or_else(|| session.direction())
                .unwrap_or(Direction::SendRecv),
            unfit,
            telephone_events: rtpmaps
                .iter()
                .filter(|map| map.name.eq_ignore_ascii_case("telephone-event"))
                .map(|map| (map.payload_type, map.clock_rate))
                .collect(),
            kind: self.kind.to_owned(),
            protocol: self.protocol.to_owned(),
            payload_types: self.formats.iter().map(|&format| format.to_owned()).collect(),
        }
    }
}

impl<'a> Section<'a> {
    /// The values of an attribute. Its name has one case by the standard, and any in the field.
    fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.attributes
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    fn direction(&self) -> Option<Direction> {
        self.attributes.iter().find_map(|(key, _)| {
            [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive]
                .into_iter()
                .find(|direction| direction.as_str().eq_ignore_ascii_case(key.trim()))
        })
    }

    /// `a=rtcp:<port> [<network> <family> <address>]`.
    fn rtcp(&self, rtp: SocketAddr, mux: bool) -> SocketAddr {
        if mux {
            return rtp;
        }
        let named = self.values("rtcp").next().and_then(|value| {
            let (port, connection) = value.split_once(' ').unwrap_or((value, ""));
            let ip = address(connection).unwrap_or(rtp.ip());
            Some(SocketAddr::new(ip, port.parse().ok()?))
        });
        named.unwrap_or(SocketAddr::new(rtp.ip(), rtp.port().saturating_add(1)))
    }
}

/// `<payload type> <name>/<clock rate>[/<channels>]`.
struct RtpMap<'a> {
    payload_type: u8,
    name: &'a str,
    clock_rate: u32,
}

impl<'a> RtpMap<'a> {
    fn read(value: &'a str) -> Option<Self> {
        let (payload_type, encoding) = value.split_once(' ')?;
        let mut parts = encoding.trim().split('/');
        Some(Self {
            payload_type: payload_type_of(payload_type)?,
            name: parts.next()?,
            clock_rate: parts.next()?.trim().parse().ok()?,
        })
    }
}

/// What a payload type of the m-line stands for, if it can be decoded. The static ones need no rtpmap (RFC 3551).
fn payload_format(text: &str, rtpmaps: &[RtpMap<'_>]) -> Option<PayloadFormat> {
    let payload_type = payload_type_of(text)?;
    let map = rtpmaps.iter().find(|map| map.payload_type == payload_type);
    let (name, clock_rate) = match (map, payload_type) {
        (Some(map), _) => (map.name, map.clock_rate),
        (None, 0) => ("PCMU", 8_000),
        (None, 8) => ("PCMA", 8_000),
        (None, 9) => ("G722", 8_000),
        (None, _) => return None,
    };
    let (_, codec) = [
        ("opus", Codec::Opus),
        ("PCMU", Codec::Pcmu),
        ("PCMA", Codec::Pcma),
        ("G722", Codec::G722),
    ]
    .into_iter()
    .find(|(known, _)| known.eq_ignore_ascii_case(name))?;
    codec.fits_clock(clock_rate).then_some(PayloadFormat { codec, payload_type, clock_rate })
}

fn payload_type_of(text: &str) -> Option<u8> {
    text.parse().ok().filter(|payload_type| *payload_type < 128)
}

/// `<network> <family> <address>[/<ttl>]`.
fn address(connection: &str) -> Option<IpAddr> {
    let address = connection.split_ascii_whitespace().nth(2)?;
    address.split_once('/').map_or(address, |(address, _)| address).parse().ok()
}

/// `<session id in base64> party-id=<party id>`.
fn party_id(title: &str) -> Option<String> {
    let (_, rest) = title.split_once("party-id=")?;
    let id = rest.split([' ', ';', ',', '\t']).next()?.trim();
    (!id.is_empty()).then(|| id.to_owned())
}
