//! Session descriptions: the offers of RingCentral's INVITEs, and the answers to them.

mod crypto;

use crate::media::PayloadCodec;
use crate::plan::Codec;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use thiserror::Error;

pub(crate) use crypto::{Crypto, MasterKey};

/// What an INVITE offers.
pub(crate) struct Offer<'a> {
    /// Where our media comes from.
    pub(crate) address: IpAddr,
    /// One `m=audio` line for each.
    pub(crate) media: &'a [OfferedMedia],
    /// The codec that leads the list.
    pub(crate) codec: Codec,
    /// What the offer says of the direction.
    pub(crate) direction: Direction,
    /// The session's number in the origin line.
    pub(crate) session_number: u64,
    /// Counts the descriptions of the session from 1.
    pub(crate) version: u64,
}

/// What an offer says of its direction, from our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Both ways.
    SendRecv,
    /// From us only.
    SendOnly,
    /// Not at all: the leg is on hold.
    Inactive,
}

/// One `m=audio` line of an offer.
pub(crate) struct OfferedMedia {
    /// Our RTP port.
    pub(crate) port: u16,
    /// The `i=` line, which names the party.
    pub(crate) information: Option<String>,
    /// With a key, the line is RTP/SAVP.
    pub(crate) crypto: Option<Crypto>,
}

/// One accepted `m=audio` line of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AcceptedMedia {
    /// Where our RTP goes.
    pub(crate) remote: SocketAddr,
    /// The payload type, the first of the answer's list that is a codec.
    pub(crate) payload_type: u8,
    /// The codec of that payload type.
    pub(crate) codec: PayloadCodec,
    /// The key of what the other side sends.
    pub(crate) crypto: Option<Crypto>,
}

/// Why an answer cannot be used.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum AnswerError {
    /// Not text.
    #[error("the answer is not UTF-8")]
    NotText,
    /// RFC 3264 section 6: an answer has the lines of its offer, in their order.
    #[error("the answer has {answered} media lines, the offer had {offered}")]
    MediaCount {
        /// Lines of the offer.
        offered: usize,
        /// Lines of the answer.
        answered: usize,
    },
    /// An `m=` line cannot be read.
    #[error("a media line is malformed")]
    Media,
    /// No `c=` line applies to an accepted media line, or it holds no IPv4 or IPv6 address.
    #[error("an accepted media line has no connection address")]
    Connection,
    /// An accepted line has none of the offered codecs.
    #[error("an accepted media line has none of the offered codecs")]
    Codec,
    /// An accepted line is RTP/SAVP without a key that we can use, or has another profile than the offer.
    #[error("an accepted media line has no usable key, or another profile than was offered")]
    Crypto,
}

/// The codecs behind the payload types of an offer that is led by `codec`.
fn offered_codecs(codec: Codec) -> &'static [(u8, PayloadCodec)] {
    match codec {
        Codec::Opus => {
            &[(111, PayloadCodec::Opus), (0, PayloadCodec::Pcmu), (8, PayloadCodec::Pcma)]
        }
        Codec::Pcmu => &[(0, PayloadCodec::Pcmu)],
    }
}

impl Offer<'_> {
    /// The offer's text (RFC 4566), in the form that RingCentral's session border writes.
    pub(crate) fn to_sdp(&self) -> String {
        let family = if self.address.is_ipv4() { "IP4" } else { "IP6" };
        let mut sdp = format!(
            "v=0\r\no=- {} {} IN {family} {address}\r\ns=SmcSip\r\nc=IN {family} {address}\r\n\
             t=0 0\r\n",
            self.session_number,
            self.version,
            address = self.address,
        );
        let codecs = offered_codecs(self.codec);
        let types: Vec<String> = codecs.iter().map(|(number, _)| number.to_string()).collect();
        for media in self.media {
            let profile = if media.crypto.is_some() { "RTP/SAVP" } else { "RTP/AVP" };
            let _ = write!(sdp, "m=audio {} {profile} {} 101\r\n", media.port, types.join(" "));
            if let Some(information) = &media.information {
                let _ = write!(sdp, "i={information}\r\n");
            }
            for (number, codec) in codecs {
                sdp.push_str(&rtpmap(*number, *codec));
            }
            sdp.push_str("a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n");
            sdp.push_str(match self.direction {
                Direction::SendRecv => "a=sendrecv\r\n",
                Direction::SendOnly => "a=sendonly\r\n",
                Direction::Inactive => "a=inactive\r\n",
            });
            if let Some(crypto) = &media.crypto {
                let _ = write!(sdp, "a=crypto:{}\r\n", crypto.value());
            }
        }
        sdp
    }
}

/// Our answer to an offer of the device's, of which we have accepted the one line; `crypto` is our own, if the line is
/// RTP/SAVP.
pub(crate) fn answer(
    address: IpAddr,
    port: u16,
    accepted: &AcceptedMedia,
    crypto: Option<&Crypto>,
) -> String {
    let family = if address.is_ipv4() { "IP4" } else { "IP6" };
    let (profile, line) = match crypto {
        Some(crypto) => ("RTP/SAVP", format!("a=crypto:{}\r\n", crypto.value())),
        None => ("RTP/AVP", String::new()),
    };
    let number = accepted.payload_type;
    format!(
        "v=0\r\no=- 1 1 IN {family} {address}\r\ns=SmcSip\r\nc=IN {family} {address}\r\nt=0 0\r\n\
         m=audio {port} {profile} {number}\r\n{}a=sendrecv\r\n{line}",
        rtpmap(number, accepted.codec),
    )
}

fn rtpmap(number: u8, codec: PayloadCodec) -> String {
    match codec {
        PayloadCodec::Opus => format!(
            "a=rtpmap:{number} OPUS/48000/2\r\n\
             a=fmtp:{number} useinbandfec=1;usedtx=0\r\n\
             a=rtcp-fb:{number} ccm tmmbr\r\n"
        ),
        PayloadCodec::Pcmu => format!("a=rtpmap:{number} pcmu/8000\r\n"),
        PayloadCodec::Pcma => format!("a=rtpmap:{number} pcma/8000\r\n"),
    }
}

/// Reads the answer to an offer of `offered` media lines, or with `offered` 1 the offer of a device; a refused line (port 0) and a line that
/// does not want to receive are `None`.
///
/// # Errors
/// [`AnswerError`] says why the leg cannot be used.
pub(crate) fn read_answer(
    sdp: &[u8],
    offered: usize,
    codec: Codec,
) -> Result<Vec<Option<AcceptedMedia>>, AnswerError> {
    let sdp = std::str::from_utf8(sdp).map_err(|_| AnswerError::NotText)?;
    let mut sections = sections(sdp).into_iter();
    let session = sections.next().unwrap_or_default();
    let media: Vec<_> = sections.collect();
    if media.len() != offered {
        return Err(AnswerError::MediaCount { offered, answered: media.len() });
    }
    media.iter().map(|section| accepted(&session, section, codec)).collect()
}

fn accepted(
    session: &[&str],
    section: &[&str],
    codec: Codec,
) -> Result<Option<AcceptedMedia>, AnswerError> {
    let media_line = section.first().and_then(|line| line.strip_prefix("m="));
    let mut fields = media_line.ok_or(AnswerError::Media)?.split_whitespace();
    let (_kind, port, profile) = (fields.next(), fields.next(), fields.next());
    let port: u16 = port.and_then(|port| port.parse().ok()).ok_or(AnswerError::Media)?;
    let direction = direction(section).or_else(|| direction(session));
    if port == 0 || matches!(direction, Some("sendonly" | "inactive")) {
        return Ok(None);
    }
    let offered = offered_codecs(codec);
    let (payload_type, codec) = fields
        .filter_map(|number| number.parse::<u8>().ok())
        .find_map(|number| offered.iter().find(|(offered, _)| *offered == number))
        .ok_or(AnswerError::Codec)?;
    let address = connection(section).or_else(|| connection(session));
    let remote = SocketAddr::new(address.ok_or(AnswerError::Connection)?, port);
    let crypto = attributes(section).find_map(|it| Crypto::read(it.strip_prefix("crypto:")?));
    let is_secure = profile.is_some_and(|profile| profile.eq_ignore_ascii_case("RTP/SAVP"));
    if is_secure && crypto.is_none() {
        return Err(AnswerError::Crypto);
    }
    let crypto = crypto.filter(|_| is_secure);
    Ok(Some(AcceptedMedia { remote, payload_type: *payload_type, codec: *codec, crypto }))
}

/// The session's lines, then the lines of each media section.
fn sections(sdp: &str) -> Vec<Vec<&str>> {
    let mut sections = vec![Vec::new()];
    for line in sdp.lines().map(str::trim_end) {
        if line.starts_with("m=") {
            sections.push(Vec::new());
        }
        if let Some(section) = sections.last_mut() {
            section.push(line);
        }
    }
    sections
}

fn connection(section: &[&str]) -> Option<IpAddr> {
    let line = section.iter().find_map(|line| line.strip_prefix("c="))?;
    let address = line.split_whitespace().nth(2)?;
    address.split('/').next()?.parse().ok()
}

fn direction<'a>(section: &[&'a str]) -> Option<&'a str> {
    attributes(section)
        .find(|value| matches!(*value, "sendrecv" | "sendonly" | "recvonly" | "inactive"))
}

fn attributes<'a, 'b>(section: &'b [&'a str]) -> impl Iterator<Item = &'a str> + use<'a, 'b> {
    section.iter().filter_map(|line| line.strip_prefix("a="))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str =
        "v=0\r\no=- 1 0 IN IP4 10.0.0.4\r\ns=gw\r\nc=IN IP4 10.0.0.4\r\nt=0 0\r\n";

    fn accepted_on(address: &str, payload_type: u8, codec: PayloadCodec) -> Option<AcceptedMedia> {
        let remote = address.parse().unwrap();
        Some(AcceptedMedia { remote, payload_type, codec, crypto: None })
    }

    #[test]
    fn an_offer_of_two_lines_names_the_parties() {
        let line = |port, information: &str| OfferedMedia {
            port,
            information: Some(information.into()),
            crypto: None,
        };
        let offer = Offer {
            address: "10.62.192.70".parse().unwrap(),
            media: &[line(50400, "c2lk party-id=a-1"), line(50402, "c2lk party-id=a-2")],
            codec: Codec::Opus,
            direction: Direction::SendRecv,
            session_number: 7,
            version: 1,
        };
        let sdp = offer.to_sdp();
        assert!(sdp.contains(
            "m=audio 50400 RTP/AVP 111 0 8 101\r\ni=c2lk party-id=a-1\r\n\
             a=rtpmap:111 OPUS/48000/2\r\n"
        ));
        assert!(sdp.contains("m=audio 50402 RTP/AVP 111 0 8 101\r\ni=c2lk party-id=a-2\r\n"));
        let pcmu = Offer { codec: Codec::Pcmu, media: &offer.media[..1], ..offer }.to_sdp();
        assert!(pcmu.contains("m=audio 50400 RTP/AVP 0 101\r\n"), "{pcmu}");
        assert!(!pcmu.contains("OPUS"));
    }

    #[test]
    fn a_line_with_a_key_is_secure_and_needs_a_key_in_the_answer() {
        let key = |n| Crypto { tag: 1, key: MasterKey::new([n; 30]) };
        let media = [OfferedMedia { port: 50400, information: None, crypto: Some(key(1)) }];
        let offer = Offer {
            address: "10.62.192.70".parse().unwrap(),
            media: &media,
            codec: Codec::Pcmu,
            direction: Direction::Inactive,
            session_number: 7,
            version: 2,
        };
        let sdp = offer.to_sdp();
        assert!(sdp.contains("o=- 7 2 IN IP4") && sdp.contains("a=inactive\r\na=crypto:1 AES"));
        assert!(sdp.contains("m=audio 50400 RTP/SAVP 0 101\r\n"), "{sdp}");

        let accepted = AcceptedMedia {
            remote: "10.0.0.4:4000".parse().unwrap(),
            payload_type: 0,
            codec: PayloadCodec::Pcmu,
            crypto: Some(key(2)),
        };
        let sdp = answer("10.0.0.4".parse().unwrap(), 4000, &accepted, Some(&key(2)));
        assert_eq!(read_answer(sdp.as_bytes(), 1, Codec::Opus), Ok(vec![Some(accepted)]));
        let bare = sdp.split("a=crypto").next().unwrap();
        assert_eq!(read_answer(bare.as_bytes(), 1, Codec::Opus), Err(AnswerError::Crypto));
    }

    #[test]
    fn answers_are_read_line_by_line() {
        let cases = [
            (
                "m=audio 4000 RTP/AVP 111 101\r\n",
                vec![accepted_on("10.0.0.4:4000", 111, PayloadCodec::Opus)],
            ),
            (
                "m=audio 0 RTP/AVP 0\r\nm=audio 4002 RTP/AVP 101 0\r\nc=IN IP4 10.0.0.5\r\n",
                vec![None, accepted_on("10.0.0.5:4002", 0, PayloadCodec::Pcmu)],
            ),
            (
                "m=audio 4000 RTP/AVP 8\na=recvonly\nm=audio 4002 RTP/AVP 8\na=inactive\n",
                vec![accepted_on("10.0.0.4:4000", 8, PayloadCodec::Pcma), None],
            ),
        ];
        for (media, expected) in cases {
            let sdp = format!("{ADDRESS}{media}");
            let answer = read_answer(sdp.as_bytes(), expected.len(), Codec::Opus);
            assert_eq!(answer, Ok(expected), "{media}");
        }
    }

    #[test]
    fn unusable_answers_are_told_apart() {
        for (sdp, expected) in [
            (String::new(), AnswerError::MediaCount { offered: 1, answered: 0 }),
            (format!("{ADDRESS}m=audio x RTP/AVP 0\r\n"), AnswerError::Media),
            (format!("{ADDRESS}m=audio 4000 RTP/AVP 9 101\r\n"), AnswerError::Codec),
            ("v=0\r\nm=audio 4000 RTP/AVP 0\r\n".into(), AnswerError::Connection),
            ("c=IN IP4 host\r\nm=audio 4000 RTP/AVP 0\r\n".into(), AnswerError::Connection),
        ] {
            assert_eq!(read_answer(sdp.as_bytes(), 1, Codec::Opus), Err(expected), "{sdp}");
        }
        assert_eq!(read_answer(&[0xff], 1, Codec::Opus), Err(AnswerError::NotText));
        // PCMA is offered beside Opus only.
        let sdp = format!("{ADDRESS}m=audio 4000 RTP/AVP 8\r\n");
        assert_eq!(read_answer(sdp.as_bytes(), 1, Codec::Pcmu), Err(AnswerError::Codec));
    }
}
