//! What each message is expected to do.

use Effect::{Answered, Closed, Dropped, Invites};

/// Something that the user agent does about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It sends a final response with this status code.
    Answered(u16),
    /// It sends 100 and asks its shell whether to take the call.
    Invites,
    /// It reports bytes that are no message.
    Dropped,
    /// It asks its shell to close the connection.
    Closed,
}

/// One message of an RFC.
#[derive(Debug)]
pub struct Case {
    /// The RFC's name for it, which is that of the fixture.
    pub name: &'static str,
    /// Where the RFC describes it.
    pub section: &'static str,
    /// As a datagram.
    pub over_udp: &'static [Effect],
    /// As all that comes over a connection.
    pub over_tcp: &'static [Effect],
    /// What it is about, and why this is the answer.
    pub about: &'static str,
}

const NOTHING: &[Effect] = &[];
const INVITES: &[Effect] = &[Invites];
const OK: &[Effect] = &[Answered(200)];
const BAD_REQUEST: &[Effect] = &[Answered(400)];
const NOT_ALLOWED: &[Effect] = &[Answered(405)];
const NO_DIALOG: &[Effect] = &[Answered(481)];
const NOT_IMPLEMENTED: &[Effect] = &[Answered(501)];

const fn case(
    name: &'static str,
    section: &'static str,
    effects: &'static [Effect],
    about: &'static str,
) -> Case {
    differing(name, section, effects, effects, about)
}

const fn differing(
    name: &'static str,
    section: &'static str,
    over_udp: &'static [Effect],
    over_tcp: &'static [Effect],
    about: &'static str,
) -> Case {
    Case { name, section, over_udp, over_tcp, about }
}

/// The 49 messages of RFC 4475.
#[rustfmt::skip]
pub const RFC4475: &[Case] = &[
    case("wsinv", "3.1.1.1", NO_DIALOG, "folded, spaced and compact headers; its To tag names no dialog of ours"),
    case("intmeth", "3.1.1.2", NOT_IMPLEMENTED, "a method of unusual characters"),
    case("esc01", "3.1.1.3", INVITES, "escapes in user parts and parameters"),
    case("escnull", "3.1.1.4", NOT_ALLOWED, "escaped NULs; no registrar here"),
    case("esc02", "3.1.1.5", NOT_IMPLEMENTED, "a percent sign in a method escapes nothing"),
    case("lwsdisp", "3.1.1.6", OK, "no blank before the angle bracket"),
    case("longreq", "3.1.1.7", INVITES, "long values"),
    differing("dblreq", "3.1.1.8", NOT_ALLOWED, &[Answered(405), Answered(400), Closed],
        "an INVITE behind the body: noise in a datagram; on a connection the next message, which lacks a Contact and \
         whose body, longer than it says, leaves a rest that is no message"),
    case("semiuri", "3.1.1.9", OK, "a semicolon in a user part is no parameter"),
    case("transports", "3.1.1.10", OK, "unknown transports in Via"),
    case("mpart01", "3.1.1.11", OK, "a body of binary parts; MESSAGE is taken and not read"),
    case("unreason", "3.1.1.12", NOTHING, "a reason phrase in Cyrillic; a response to nothing we asked"),
    case("noreason", "3.1.1.13", NOTHING, "no reason phrase; a response to nothing we asked"),
    case("badinv01", "3.1.2.1", BAD_REQUEST, "separators without parameters"),
    differing("clerr", "3.1.2.2", BAD_REQUEST, NOTHING,
        "a body shorter than its Content-Length: cut off in a datagram, still to come on a connection"),
    differing("ncl", "3.1.2.3", BAD_REQUEST, &[Closed], "a negative Content-Length: its end can't be found"),
    case("scalar02", "3.1.2.4", BAD_REQUEST, "numbers that fit nowhere"),
    case("scalarlg", "3.1.2.5", NOTHING, "a CSeq that fits nowhere; the response is nobody's"),
    case("quotbal", "3.1.2.6", BAD_REQUEST, "a quotation that does not end"),
    case("ltgtruri", "3.1.2.7", BAD_REQUEST, "angle brackets around the Request-URI"),
    case("lwsruri", "3.1.2.8", BAD_REQUEST, "a blank within the Request-URI"),
    case("lwsstart", "3.1.2.9", BAD_REQUEST, "two spaces in the request line"),
    case("trws", "3.1.2.10", BAD_REQUEST, "spaces at the end of the request line"),
    case("escruri", "3.1.2.11", BAD_REQUEST, "headers in the Request-URI"),
    case("baddate", "3.1.2.12", INVITES, "a Date that is not in GMT; dates are not read"),
    case("regbadct", "3.1.2.13", BAD_REQUEST, "a question mark in a URI without brackets"),
    case("badaspec", "3.1.2.14", BAD_REQUEST, "blanks within angle brackets"),
    case("baddn", "3.1.2.15", BAD_REQUEST, "a comma in a display name without quotes"),
    case("badvers", "3.1.2.16", &[Answered(505)], "SIP/7.0"),
    case("mismatch01", "3.1.2.17", BAD_REQUEST, "CSeq names another method"),
    case("mismatch02", "3.1.2.18", BAD_REQUEST, "CSeq names another method than the unknown one"),
    case("bigcode", "3.1.2.19", &[Dropped], "a status code that fits nowhere"),
    case("badbranch", "3.2.1", OK, "a branch of nothing but the magic cookie is none"),
    case("insuf", "3.3.1", BAD_REQUEST, "no Call-ID, From or To; Via is enough to say so"),
    case("unkscm", "3.3.2", &[Answered(416)], "a Request-URI of an unknown scheme"),
    case("novelsc", "3.3.3", &[Answered(416)], "a Request-URI of another scheme"),
    case("unksm2", "3.3.4", NOT_ALLOWED, "unknown schemes elsewhere are not our business"),
    case("bext01", "3.3.5", &[Answered(420)], "extensions that nobody supports"),
    case("invut", "3.3.6", &[Answered(415)], "an offer that is no SDP"),
    case("regaut01", "3.3.7", NOT_ALLOWED, "an unknown scheme of authorization"),
    case("multi01", "3.3.8", BAD_REQUEST, "headers twice that must be there once"),
    differing("mcl01", "3.3.9", BAD_REQUEST, &[Closed], "two values of Content-Length: its end can't be found"),
    case("bcast", "3.3.10", NOTHING, "a response with a Via that is not ours"),
    case("zeromf", "3.3.11", OK, "no hops left, and none needed"),
    case("cparam01", "3.3.12", NOT_ALLOWED, "an unknown parameter of Contact"),
    case("cparam02", "3.3.13", NOT_ALLOWED, "an unknown parameter of the URI in Contact"),
    case("regescrt", "3.3.14", NOT_ALLOWED, "headers in the URI in Contact"),
    case("sdp01", "3.3.15", &[Answered(406)], "an offer whose answer must not be SDP"),
    differing("inv2543", "3.4.1", BAD_REQUEST, &[Answered(400), Closed],
        "an INVITE of RFC 2543, without a From tag; on a connection its body, of unsaid length, is no message"),
];

/// The messages of RFC 5118.
#[rustfmt::skip]
pub const RFC5118: &[Case] = &[
    case("ipv6-good", "4.1", NOT_ALLOWED, "addresses in brackets; no registrar here"),
    case("ipv6-bad", "4.2", BAD_REQUEST, "an address without brackets in the Request-URI"),
    case("port-ambiguous", "4.3", NOT_ALLOWED, "what may have been meant for a port is part of the address"),
    case("port-unambiguous", "4.4", NOT_ALLOWED, "a port behind the bracket"),
    case("via-received-param-with-delim", "4.5", NO_DIALOG, "received in brackets"),
    case("via-received-param-no-delim", "4.5", OK, "received without brackets"),
    case("ipv6-in-sdp", "4.6", INVITES, "addresses in an offer"),
    case("mult-ip-in-header", "4.7", NO_DIALOG, "both families among the Vias"),
    case("mult-ip-in-sdp", "4.8", INVITES, "both families in an offer"),
    case("ipv4-mapped-ipv6", "4.9", INVITES, "mapped addresses"),
    case("ipv6-bug-abnf-3-colons", "4.10", OK, "a mistake in a grammar, to be tolerated"),
    case("ipv6-correct-abnf-2-colons", "4.10", OK, "the same without it"),
];
