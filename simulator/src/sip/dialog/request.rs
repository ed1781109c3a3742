//! The requests of a leg, as text.

use super::Dialog;
use crate::sip::Flow;
use bytes::Bytes;
use rsip::headers::UntypedHeader;
use rsip::message::HeadersExt;
use rsip::{Header, Headers, Method, Request, Response, Version, headers};

impl Dialog {
    /// The ACK of a refusal belongs to the INVITE's own transaction (RFC 3261 section 17.1.1.3).
    pub(super) fn ack_of_failure(&self, response: &Response) -> Bytes {
        let branch = self.branch("i");
        let to = response.to_header().map_or(self.to.as_str(), |to| to.value());
        self.request_to(to, Method::Ack, self.ids.cseq, &branch, vec![], "")
    }

    pub(super) fn branch(&self, purpose: &str) -> String {
        format!("z9hG4bK{}{purpose}", self.ids.branch)
    }

    pub(super) fn request(
        &self,
        method: Method,
        cseq: u32,
        branch: &str,
        extra: Vec<Header>,
        sdp: &str,
    ) -> Bytes {
        self.request_to(&self.to, method, cseq, branch, extra, sdp)
    }

    fn request_to(
        &self,
        to: &str,
        method: Method,
        cseq: u32,
        branch: &str,
        extra: Vec<Header>,
        sdp: &str,
    ) -> Bytes {
        let mut all: Headers = vec![
            Header::Via(headers::Via::new(format!(
                "SIP/2.0/{} {};branch={branch}",
                self.flow.via_transport(),
                self.flow.local
            ))),
            Header::MaxForwards(headers::MaxForwards::new("69")),
            Header::From(headers::From::new(self.from.clone())),
            Header::To(headers::To::new(to)),
            Header::CallId(headers::CallId::new(self.ids.call_id.clone())),
            Header::CSeq(headers::CSeq::new(format!("{cseq} {method}"))),
        ]
        .into();
        all.extend(extra);
        if !sdp.is_empty() {
            all.push(sdp_type());
        }
        all.push(Header::ContentLength(headers::ContentLength::new(sdp.len().to_string())));
        let request = Request {
            method,
            uri: self.remote_target.clone(),
            version: Version::V2,
            headers: all,
            body: sdp.as_bytes().to_vec(),
        };
        request.into()
    }
}

pub(super) fn contact_header(flow: &Flow, user: &str) -> Header {
    let transport = flow.via_transport().to_ascii_lowercase();
    let contact = format!("<sip:{user}@{};transport={transport}>", flow.local);
    Header::Contact(headers::Contact::new(contact))
}

pub(super) fn sdp_type() -> Header {
    Header::ContentType(headers::ContentType::new("application/sdp"))
}
