//! The syntax of header values (RFC 3261 section 25): lists, parameters, addresses, Via and URIs, read in place.
//!
//! What has one meaning only is taken even where the grammar forbids it; what two readers could take for different
//! things is refused. RFC 4475 shows the cases.

/// An address with its header parameters: the value of From and To, and each element of Contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address<'a> {
    /// The URI, of any scheme, without its brackets.
    pub uri: &'a str,
}

/// Why a Request-URI can't be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UriError {
    /// No URI at all, or one that can't stand in a request line.
    Malformed,
    /// A URI that is neither `sip` nor `sips`.
    Scheme,
}

impl<'a> Address<'a> {
    /// Reads `"Display name" <sip:user@host>;tag=1` or `sip:user@host;tag=1`. `None` if that can't be done without
    /// guessing: an open quotation, blanks within the URI, a bare URI with `?` or `,`, a parameter without a name.
    pub fn parse(value: &'a str) -> Option<Self> {
        let (uri, parameters) = match find_bracket(value) {
            Some(start) => {
                let address = value[start + 1..].split_once('>')?;
                is_display_name(value[..start].trim()).then_some(address)?
            }
            None => {
                let (uri, parameters) = value.split_at(value.find(';').unwrap_or(value.len()));
                (!uri.contains(['"', '>', '?', ','])).then_some((uri.trim(), parameters))?
            }
        };
        (is_uri(uri) && are_parameters(parameters)).then_some(Self { uri })
    }
}

/// The elements of a comma-separated header value; commas in quotations and angle brackets do not count.
pub fn split_list(value: &str) -> impl Iterator<Item = &str> {
    split_outside(value, ',').map(str::trim).filter(|element| !element.is_empty())
}

/// A parameter of a header value that follows the address, if any: `<sip:a;x=1>;tag=2` has `tag` and no `x`.
pub fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    split_outside(value, ';').skip(1).find_map(|parameter| {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        key.trim().eq_ignore_ascii_case(name).then_some(value).filter(|value| !value.is_empty())
    })
}

/// The URI of a name-addr or addr-spec, without brackets and header parameters.
pub fn bracketed_uri(name_addr: &str) -> Option<&str> {
    match find_bracket(name_addr) {
        Some(start) => name_addr[start + 1..].split_once('>').map(|(uri, _)| uri),
        None => name_addr.split(';').next(),
    }
    .map(str::trim)
    .filter(|uri| !uri.is_empty())
}

/// Whether one element of Via is whole: `SIP/2.0/UDP host:5060;branch=z9hG4bK1`, blanks allowed between the parts.
pub(super) fn is_via(value: &str) -> bool {
    let (sent, parameters) = value.split_at(value.find(';').unwrap_or(value.len()));
    let mut parts = sent.splitn(3, '/').map(str::trim);
    let (Some(protocol), Some(version), Some(rest)) = (parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let Some((transport, sent_by)) = rest.split_once(char::is_whitespace) else { return false };
    protocol.eq_ignore_ascii_case("SIP")
        && version == "2.0"
        && is_token(transport)
        && is_host_and_port(sent_by.trim())
        && are_parameters(parameters)
}

/// Whether a URI can be asked for: `sip` or `sips`, a host, and no headers, which would have to be obeyed.
pub(super) fn check_request_uri(uri: &str) -> Result<(), UriError> {
    if !is_uri(uri) {
        return Err(UriError::Malformed);
    }
    let (scheme, rest) = uri.split_once(':').ok_or(UriError::Malformed)?;
    if !["sip", "sips"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err(UriError::Scheme);
    }
    // Semicolons and question marks may stand in the user part; `@` may not stand behind it.
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let end = host.find([';', '?']).unwrap_or(host.len());
    let is_plain = !host[end..].contains('?') && is_host_and_port(&host[..end]);
    is_plain.then_some(()).ok_or(UriError::Malformed)
}

/// Whether a text is a token: a method, the name of a header or of a parameter.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-.!%*_+`'~".contains(c))
}

/// A number as the grammar has it: digits, no sign. `None` if it does not fit.
pub(super) fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Tells what stands in quotations and angle brackets from what stands outside.
#[derive(Default)]
struct Nesting {
    quoted: bool,
    escaped: bool,
    bracketed: bool,
}

impl Nesting {
    /// Takes the next character. `true` if it stands outside; quotes and brackets themselves do not.
    fn is_outside(&mut self, c: char) -> bool {
        if self.quoted {
            self.quoted = self.escaped || c != '"';
            self.escaped = !self.escaped && c == '\\';
            return false;
        }
        if self.bracketed {
            self.bracketed = c != '>';
            return false;
        }
        self.quoted = c == '"';
        self.bracketed = c == '<';
        !(self.quoted || self.bracketed)
    }
}

fn split_outside(value: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut nesting = Nesting::default();
    value.split(move |c| nesting.is_outside(c) && c == separator)
}

/// Where the address begins: the first angle bracket that is not quoted.
fn find_bracket(value: &str) -> Option<usize> {
    let mut nesting = Nesting::default();
    value.char_indices().find_map(|(at, c)| {
        nesting.is_outside(c);
        nesting.bracketed.then_some(at)
    })
}

/// Nothing, one quotation, or words. Words may hold what the grammar has no place for, such as letters beyond ASCII, as
/// long as it does not look like the structure of a header.
fn is_display_name(name: &str) -> bool {
    if !name.starts_with('"') {
        return !name.contains(['"', ',', ';', ':', '@', '\\', '>']);
    }
    let mut nesting = Nesting::default();
    let end = name.char_indices().skip_while(|(at, c)| {
        nesting.is_outside(*c);
        *at == 0 || nesting.quoted
    });
    end.map(|(at, _)| at).next() == Some(name.len() - 1)
}

fn is_uri(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once(':') else { return false };
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let is_printable = |c: char| !c.is_whitespace() && !c.is_control() && !"<>\"".contains(c);
    is_scheme && !rest.is_empty() && rest.chars().all(is_printable)
}

/// A host name or address, and a port or none. Host names may hold underscores, as they do in the field.
fn is_host_and_port(text: &str) -> bool {
    let (is_host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        // RFC 3261's grammar was thought to allow `:::`, which is to be tolerated (RFC 5118 section 4.10).
        Some(Some((address, port))) => {
            let is_address = |c: char| c.is_ascii_hexdigit() || c == ':' || c == '.';
            (address.contains(':') && address.chars().all(is_address), port)
        }
        Some(None) => (false, ""),
        None => {
            let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            (!host.is_empty() && host.chars().all(is_name), port)
        }
    };
    let is_port = |port: &str| number::<u16>(port).is_some();
    is_host && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

/// Whether what follows an address or a Via is a row of `;name` and `;name=value`.
fn are_parameters(text: &str) -> bool {
    let mut parameters = split_outside(text, ';');
    parameters.next().is_none_or(|before| before.trim().is_empty())
        && parameters.all(|parameter| {
            let (name, value) = match parameter.split_once('=') {
                Some((name, value)) => (name, Some(value.trim())),
                None => (parameter, None),
            };
            is_token(name.trim()) && value.is_none_or(is_parameter_value)
        })
}

fn is_parameter_value(value: &str) -> bool {
    let is_bare = |c: char| !c.is_whitespace() && !c.is_control() && !"\"<>,".contains(c);
    match value.strip_prefix('"') {
        Some(_) => is_display_name(value),
        None => !value.is_empty() && value.chars().all(is_bare),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_parameters_stop_at_quotations_and_brackets() {
        let contacts = r#""a, \"b, <c" <sip:a,b@h;x=1>;tag="2;3" , ,sip:d@h;q=0.5"#;
        let elements: Vec<&str> = split_list(contacts).collect();
        assert_eq!(elements, [r#""a, \"b, <c" <sip:a,b@h;x=1>;tag="2;3""#, "sip:d@h;q=0.5"]);
        assert_eq!(parameter(elements[0], "tag"), Some("2;3"));
        assert_eq!(parameter(elements[0], "TAG"), Some("2;3"));
        assert_eq!(parameter(elements[0], "x"), None);
        assert_eq!(parameter(elements[1], "q"), Some("0.5"));
        assert_eq!(parameter("a;lr;x=", "lr"), None, "a parameter without a value has none");
        assert_eq!(bracketed_uri(elements[0]), Some("sip:a,b@h;x=1"));
        assert_eq!(bracketed_uri(elements[1]), Some("sip:d@h"));
    }

    #[test]
    fn addresses_are_read_where_they_can_mean_one_thing_only() {
        let uri = |value: &'static str| Address::parse(value).map(|address| address.uri);
        for (value, expected) in [
            ("sip:a@b", "sip:a@b"),
            ("sip:a@b ;  tag = 1;lr", "sip:a@b"),
            ("caller<sip:a@b;x=1?y=2>;tag=1", "sip:a@b;x=1?y=2"),
            (r#""J \\\" <R>"    <sip:a@b> ; tag="x;y""#, "sip:a@b"),
            ("José (Sales) <sip:a@[2001:db8::1]:5060>", "sip:a@[2001:db8::1]:5060"),
            ("isbn:2983792873", "isbn:2983792873"),
        ] {
            assert_eq!(uri(value), Some(expected), "{value}");
        }
        for value in [
            "",
            "*",
            "sip:",
            "<>",
            "<sip:a@b",
            "sip:a@b>",
            "< sip:a@b >",
            "sip:a@b?Route=c",
            "sip:a@b,sip:c@d",
            "\"open <sip:a@b>",
            "\"a\" b <sip:a@b>",
            "Bell, Alexander <sip:a@b>",
            "<sip:a@b>tag=1",
            "<sip:a@b>;;tag=1",
            "<sip:a@b>;tag=",
            "<sip:a@b>;tag=\"open",
            "<sip:a@b>, <sip:c@d>",
        ] {
            assert_eq!(uri(value), None, "{value}");
        }
    }

    #[test]
    fn vias_may_be_spaced_but_must_be_whole() {
        for value in [
            "SIP/2.0/UDP h;branch=z9hG4bK1",
            "SIP  /   2.0 /UDP    192.0.2.2 ; branch = 390skdjuw",
            "SIP/2.0/UNKNOWN [2001:db8::9:1]:5060;received=2001:db8::9:255;rport",
            "SIP/2.0/UDP h;received=[2001:db8::1]",
        ] {
            assert!(is_via(value), "{value}");
        }
        for value in [
            "",
            "SIP/2.0/UDP",
            "SIP/7.0/UDP h",
            "SIP/2.0/UDP h;;branch=1",
            "SIP/2.0/UDP 2001:db8::1",
            "SIP/2.0/UDP h:99999",
            "SIP/2.0/UDP h:",
        ] {
            assert!(!is_via(value), "{value}");
        }
    }

    #[test]
    fn request_uris_name_a_host_and_nothing_to_be_obeyed() {
        for uri in [
            "sip:18002097562*102@192.168.42.15:62931;transport=TCP;ob",
            "SIPS:h.example.com",
            "sip:[2001:db8::10:5070]",
            "sip:user@[2001:db8:::192.0.2.1]",
            "sip:a,/;;*:&it+has=1?b$c@example.com",
        ] {
            assert_eq!(check_request_uri(uri), Ok(()), "{uri}");
        }
        for (uri, error) in [
            ("<sip:a@b>", UriError::Malformed),
            ("sip:a@b; lr", UriError::Malformed),
            ("sip:a@b?Route=c", UriError::Malformed),
            ("sip:2001:db8::10", UriError::Malformed),
            ("sip:a@", UriError::Malformed),
            ("sip:[2001:db8::1", UriError::Malformed),
            ("nothing", UriError::Malformed),
            ("tel:+15551234", UriError::Scheme),
            ("soap.beep://192.0.2.103:3002", UriError::Scheme),
        ] {
            assert_eq!(check_request_uri(uri), Err(error), "{uri}");
        }
    }
}
