//! Dialogs (RFC 3261 section 12), seen from the callee: who talks to whom, and how requests within are addressed.

use bytes::Bytes;

use super::message::{self, HeaderValues, Request, bracketed_uri, split_list};

/// The dialog that an INVITE of theirs and our answer make.
#[derive(Debug)]
pub(super) struct Dialog {
    call_id: String,
    pub(super) local_tag: String,
    remote_tag: String,
    /// From and To of our own requests.
    local: String,
    remote: String,
    /// Request-URI of our own requests.
    remote_target: String,
    /// Route headers of our own requests, in order (RFC 3261 section 12.1.1).
    route_set: Vec<String>,
    /// The CSeq number of the INVITE that opened the dialog.
    first_cseq: u32,
    /// The CSeq number of their last INVITE or UPDATE.
    remote_cseq: u32,
    local_cseq: u32,
}

impl Dialog {
    /// The dialog of a first INVITE. `None` if the INVITE has no usable Contact.
    pub(super) fn new(invite: &Request, tag: String) -> Option<Self> {
        let (cseq, _) = invite.cseq()?;
        let to = invite.value("To")?;
        let routes = invite.values("Record-Route").flat_map(split_list);
        Some(Self {
            call_id: invite.call_id()?.to_owned(),
            remote_tag: invite.tag_in_from()?.to_owned(),
            local: format!("{to};tag={tag}"),
            local_tag: tag,
            remote: invite.value("From")?.to_owned(),
            remote_target: invite.contact_uri()?,
            route_set: routes.map(str::to_owned).collect(),
            first_cseq: cseq,
            remote_cseq: cseq,
            local_cseq: 0,
        })
    }

    /// Whether an in-dialog request belongs here. The To tag is ours and random: it can't be guessed.
    pub(super) fn matches(&self, request: &Request) -> bool {
        request.tag_in_to() == Some(self.local_tag.as_str())
            && request.tag_in_from() == Some(self.remote_tag.as_str())
            && request.call_id() == Some(self.call_id.as_str())
    }

    /// Whether a request without To tag is the one that opened the dialog, come here on another way
    /// (RFC 3261 section 8.2.2.2).
    pub(super) fn was_opened_by(&self, request: &Request) -> bool {
        request.call_id() == Some(self.call_id.as_str())
            && request.tag_in_from() == Some(self.remote_tag.as_str())
            && request.cseq().is_some_and(|(cseq, _)| cseq == self.first_cseq)
    }

    /// Notes the CSeq number of an INVITE or UPDATE of theirs. `false`: it is out of order.
    pub(super) fn advance(&mut self, cseq: u32) -> bool {
        let in_order = cseq > self.remote_cseq;
        self.remote_cseq = self.remote_cseq.max(cseq);
        in_order
    }

    /// A target refresh that succeeded (RFC 3261 section 12.2): the other side may have moved.
    pub(super) fn refresh_target(&mut self, message: &impl HeaderValues) {
        if let Some(target) = message.contact_uri() {
            self.remote_target = target;
        }
    }

    /// A new request of ours, with its CSeq number.
    pub(super) fn request(
        &mut self,
        method: &str,
        via: String,
        extra: Vec<(&str, String)>,
        sdp: Option<&str>,
    ) -> (u32, Bytes) {
        self.local_cseq += 1;
        (self.local_cseq, self.build(method, self.local_cseq, via, extra, sdp))
    }

    /// The ACK of our INVITE with this CSeq number.
    pub(super) fn ack(&self, cseq: u32, via: String) -> Bytes {
        self.build("ACK", cseq, via, Vec::new(), None)
    }

    fn build(
        &self,
        method: &str,
        cseq: u32,
        via: String,
        extra: Vec<(&str, String)>,
        sdp: Option<&str>,
    ) -> Bytes {
        let (uri, routes) = self.route();
        let mut headers = vec![("Via", via), ("Max-Forwards", "70".to_owned())];
        headers.extend(routes.into_iter().map(|route| ("Route", route)));
        headers.extend([
            ("From", self.local.clone()),
            ("To", self.remote.clone()),
            ("Call-ID", self.call_id.clone()),
            ("CSeq", format!("{cseq} {method}")),
            ("User-Agent", super::user_agent::USER_AGENT.to_owned()),
        ]);
        headers.extend(extra);
        message::request_with_sdp(method, uri, &headers, sdp)
    }

    /// Request-URI and Route headers (RFC 3261 section 12.2.1.1). A first route without `lr` is a strict router: it
    /// wants to be the Request-URI itself, and the target at the end of the route.
    fn route(&self) -> (&str, Vec<String>) {
        let strict = self
            .route_set
            .first()
            .and_then(|route| bracketed_uri(route))
            .filter(|uri| !is_loose(uri));
        match strict {
            Some(uri) => {
                let mut routes = self.route_set[1..].to_vec();
                routes.push(format!("<{}>", self.remote_target));
                (uri, routes)
            }
            None => (&self.remote_target, self.route_set.clone()),
        }
    }
}

fn is_loose(uri: &str) -> bool {
    uri.split(';').skip(1).any(|parameter| {
        let name = parameter.split(['=', '?']).next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case("lr")
    })
}

#[cfg(test)]
mod tests {
    use super::super::framing::parse_datagram;
    use super::super::message::Message;
    use super::*;

    fn request_of_ours(record_routes: &str) -> String {
        let text = format!(
            "INVITE sip:us@here SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n{record_routes}\
             From: <sip:them@there>;tag=theirs\r\nTo: <sip:us@here>\r\nCall-ID: c\r\n\
             CSeq: 8 INVITE\r\nContact: <sip:them@10.0.0.9>\r\n\r\n"
        );
        let Ok(Some(Message::Request(invite))) = parse_datagram(text.as_bytes()) else {
            panic!("{text}")
        };
        let mut dialog = Dialog::new(&invite, "ours".into()).unwrap();
        let (cseq, bytes) = dialog.request("BYE", "SIP/2.0/UDP us".into(), Vec::new(), None);
        assert_eq!(cseq, 1);
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn start_and_routes(request: &str) -> Vec<&str> {
        request
            .lines()
            .enumerate()
            .filter(|(index, line)| *index == 0 || line.starts_with("Route"))
            .map(|(_, line)| line)
            .collect()
    }

    #[test]
    fn requests_of_ours_follow_the_recorded_route() {
        assert_eq!(start_and_routes(&request_of_ours("")), ["BYE sip:them@10.0.0.9 SIP/2.0"]);
        let loose = request_of_ours(
            "Record-Route: <sip:r1;lr>, <sip:r2;ftag=1;lr=on>\r\nRecord-Route: <sip:r3;lr>\r\n",
        );
        assert_eq!(
            start_and_routes(&loose),
            [
                "BYE sip:them@10.0.0.9 SIP/2.0",
                "Route: <sip:r1;lr>",
                "Route: <sip:r2;ftag=1;lr=on>",
                "Route: <sip:r3;lr>"
            ]
        );
        let strict = request_of_ours("Record-Route: <sip:r1>, <sip:r2;lr>\r\n");
        assert_eq!(
            start_and_routes(&strict),
            ["BYE sip:r1 SIP/2.0", "Route: <sip:r2;lr>", "Route: <sip:them@10.0.0.9>"]
        );
    }
}
