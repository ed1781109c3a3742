//! Changes of a leg that is up: re-INVITE (RFC 3261 section 14) and UPDATE (RFC 3311).

use super::request::contact_header;
use super::{Dialog, Output, SESSION_EXPIRES, State};
use crate::sip::repeat::{Repeat, T2, TRANSACTION_TIMEOUT};
use rsip::headers::UntypedHeader;
use rsip::{Header, Method, Response, headers};
use std::time::Instant;

/// A request of ours within the dialog.
pub(super) struct InDialog {
    pub(super) cseq: u32,
    method: Method,
    branch: String,
    pub(super) repeat: Repeat,
}

impl Dialog {
    /// Sends a re-INVITE, unless the leg is not up or busy with another change.
    pub(crate) fn reoffer(&mut self, now: Instant, sdp: String, output: &mut Output) {
        self.sdp = sdp;
        self.send_change(now, Method::Invite, output);
    }

    /// Sends an UPDATE without a body, under the same conditions.
    pub(crate) fn refresh(&mut self, now: Instant, output: &mut Output) {
        self.send_change(now, Method::Update, output);
    }

    /// Takes the device's answer to a re-INVITE or UPDATE: the other side has taken note, more is not needed.
    pub(super) fn handle_change_response(
        &mut self,
        status: u16,
        response: &Response,
        output: &mut Output,
    ) {
        let Some(change) = &mut self.change else { return };
        if status < 200 {
            change.repeat.next = None;
            return;
        }
        let Some(InDialog { cseq, method, branch, .. }) = self.change.take() else { return };
        if method == Method::Invite {
            // Only the ACK of a success is a transaction of its own.
            let branch = if status < 300 { self.branch(&format!("k{cseq}")) } else { branch };
            if status < 300 {
                self.adopt_remote(response);
            }
            let ack = self.request(Method::Ack, cseq, &branch, vec![], "");
            output.messages.push(ack);
        }
    }

    fn send_change(&mut self, now: Instant, method: Method, output: &mut Output) {
        let is_up = matches!(self.state, State::Confirmed { .. });
        if !is_up || self.is_cut_off || self.change.is_some() {
            return;
        }
        self.cseq += 1;
        let (cseq, branch) = (self.cseq, self.branch(&format!("c{}", self.cseq)));
        let sdp = if method == Method::Invite { self.sdp.clone() } else { String::new() };
        let extra = vec![
            contact_header(&self.flow, &self.caller),
            Header::Supported(headers::Supported::new("timer")),
            Header::Other("Session-Expires".into(), SESSION_EXPIRES.into()),
        ];
        let message = self.request(method, cseq, &branch, extra, &sdp);
        let longest = if method == Method::Invite { TRANSACTION_TIMEOUT } else { T2 };
        let repeat = Repeat::new(now, message.clone(), &self.flow, longest);
        self.change = Some(InDialog { cseq, method, branch, repeat });
        output.messages.push(message);
    }
}
