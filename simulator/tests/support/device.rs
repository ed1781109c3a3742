//! A SIP device that registers over UDP or TCP and answers INVITEs.

use bytes::Bytes;
use rsip::services::DigestGenerator;
use rtp::packet::Packet;
use simulator::{Account, Simulator};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket as RtpSocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use webrtc_util::marshal::Unmarshal;

#[derive(Clone, Copy, Debug)]
pub enum Transport {
    Udp,
    Tcp,
}

/// What the device says to an INVITE.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Manner {
    /// 200 with the first offered codec on every line.
    Answer,
    /// 200 with the first line refused.
    RefuseFirstLine,
    /// 486.
    Busy,
    /// 180, and 487 when the INVITE is cancelled.
    Ring,
}

/// An INVITE, and where the device receives its media.
pub struct Leg {
    pub invite: String,
    media: Vec<RtpSocket>,
}

impl Leg {
    pub fn header(&self, name: &str) -> &str {
        header(&self.invite, name).unwrap_or_default()
    }

    /// The party that a `party-id=` names.
    pub fn party_in(text: &str) -> &str {
        text.split("party-id=").nth(1).unwrap().split([';', '\r', '\n']).next().unwrap()
    }

    /// Everything that has arrived for a media line.
    pub fn packets(&self, line: usize) -> Vec<Packet> {
        let mut packets = Vec::new();
        let mut buffer = [0; 2048];
        while let Ok(length) = self.media[line].recv(&mut buffer) {
            let mut bytes = Bytes::copy_from_slice(&buffer[..length]);
            packets.push(Packet::unmarshal(&mut bytes).unwrap());
        }
        packets
    }
}

/// The SIP device: registered, and answering in its manner.
pub struct Device {
    legs: mpsc::UnboundedReceiver<Leg>,
    seen: mpsc::UnboundedReceiver<String>,
    hang_ups: mpsc::UnboundedSender<String>,
}

impl Device {
    pub async fn register(simulator: &Simulator, transport: Transport, manner: Manner) -> Self {
        let mut wire = Wire::connect(simulator.sip_address(), transport).await;
        wire.register().await;
        let (leg_sender, legs) = mpsc::unbounded_channel();
        let (seen_sender, seen) = mpsc::unbounded_channel();
        let (hang_ups, hang_up_receiver) = mpsc::unbounded_channel();
        tokio::spawn(wire.answer(manner, leg_sender, seen_sender, hang_up_receiver));
        Self { legs, seen, hang_ups }
    }

    /// The next INVITE.
    pub async fn next_leg(&mut self) -> Leg {
        self.legs.recv().await.unwrap()
    }

    /// Waits for a request or response that starts so.
    pub async fn sees(&mut self, start: &str) -> String {
        loop {
            let message = self.seen.recv().await.unwrap();
            if message.starts_with(start) {
                return message;
            }
        }
    }

    pub fn hang_up(&self, leg: &Leg) {
        self.hang_ups.send(leg.invite.clone()).unwrap();
    }
}

enum Wire {
    Udp { socket: UdpSocket, server: SocketAddr },
    Tcp { stream: TcpStream, buffer: Vec<u8> },
}

impl Wire {
    async fn connect(server: SocketAddr, transport: Transport) -> Self {
        match transport {
            Transport::Udp => {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                Wire::Udp { socket, server }
            }
            Transport::Tcp => {
                Wire::Tcp { stream: TcpStream::connect(server).await.unwrap(), buffer: vec![] }
            }
        }
    }

    fn contact(&self) -> String {
        let user = Account::demo().sip_user_name;
        match self {
            Wire::Udp { socket, .. } => format!("<sip:{user}@{};ob>", socket.local_addr().unwrap()),
            Wire::Tcp { stream, .. } => {
                format!("<sip:{user}@{};transport=TCP;ob>", stream.local_addr().unwrap())
            }
        }
    }

    async fn send(&mut self, message: &str) {
        match self {
            Wire::Udp { socket, server } => {
                socket.send_to(message.as_bytes(), *server).await.unwrap();
            }
            Wire::Tcp { stream, .. } => stream.write_all(message.as_bytes()).await.unwrap(),
        }
    }

    async fn receive(&mut self) -> Option<String> {
        let mut bytes = vec![0; 65_535];
        match self {
            Wire::Udp { socket, .. } => {
                let length = socket.recv(&mut bytes).await.ok()?;
                String::from_utf8(bytes[..length].to_vec()).ok()
            }
            Wire::Tcp { stream, buffer } => loop {
                let text = String::from_utf8_lossy(buffer).into_owned();
                if let Some(head) = text.find("\r\n\r\n") {
                    let body: usize = header(&text, "Content-Length").unwrap().parse().unwrap();
                    let end = head + 4 + body;
                    if text.len() >= end {
                        buffer.drain(..end);
                        return Some(text[..end].to_owned());
                    }
                }
                match stream.read(&mut bytes).await {
                    Ok(0) | Err(_) => return None,
                    Ok(length) => buffer.extend_from_slice(&bytes[..length]),
                }
            },
        }
    }

    async fn register(&mut self) {
        let account = Account::demo();
        let (user, realm) = (&account.sip_user_name, &account.sip_domain);
        let mut authorization = String::new();
        for cseq in 1.. {
            let contact = self.contact();
            self.send(&format!(
                "REGISTER sip:{realm} SIP/2.0\r\n\
                 Via: SIP/2.0/TCP 127.0.0.1;rport;branch=z9hG4bK{cseq};alias\r\n\
                 From: <sip:{user}@{realm}>;tag=1\r\nTo: <sip:{user}@{realm}>\r\n\
                 Call-ID: r\r\nCSeq: {cseq} REGISTER\r\nContact: {contact};reg-id=1\r\n\
                 Expires: 3600\r\n{authorization}Content-Length: 0\r\n\r\n"
            ))
            .await;
            let response = self.receive().await.unwrap();
            if response.starts_with("SIP/2.0 200") {
                assert!(header(&response, "Contact").unwrap().contains("expires=182"));
                return;
            }
            assert!(response.starts_with("SIP/2.0 401") && cseq == 1, "{response}");
            let challenge = header(&response, "WWW-Authenticate").unwrap();
            let nonce = challenge.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap();
            let uri = rsip::Uri::try_from(format!("sip:{realm}")).unwrap();
            let digest = DigestGenerator {
                username: &account.supervisor_device_id,
                password: &account.sip_password,
                nonce,
                uri: &uri,
                realm,
                method: &rsip::Method::Register,
                qop: None,
                algorithm: rsip::headers::auth::Algorithm::Md5,
            };
            authorization = format!(
                "Authorization: Digest algorithm=MD5, username=\"{}\", realm=\"{realm}\", \
                 nonce=\"{nonce}\", uri=\"{uri}\", response=\"{}\"\r\n",
                account.supervisor_device_id,
                digest.compute()
            );
        }
    }

    async fn answer(
        mut self,
        manner: Manner,
        legs: mpsc::UnboundedSender<Leg>,
        seen: mpsc::UnboundedSender<String>,
        mut hang_ups: mpsc::UnboundedReceiver<String>,
    ) {
        let mut ringing: HashMap<String, String> = HashMap::new();
        loop {
            let message = tokio::select! {
                message = self.receive() => message,
                Some(invite) = hang_ups.recv() => {
                    self.send(&bye(&invite)).await;
                    continue;
                }
            };
            let Some(message) = message else { return };
            let method = message.split(' ').next().unwrap().to_owned();
            let call_id = header(&message, "Call-ID").unwrap_or_default().to_owned();
            match (method.as_str(), manner) {
                ("INVITE", Manner::Busy) => {
                    self.send(&respond(&message, "486 Busy Here", "", "")).await;
                }
                ("INVITE", Manner::Ring) => {
                    self.send(&respond(&message, "180 Ringing", "", "")).await;
                    ringing.insert(call_id, message.clone());
                }
                ("INVITE", _) => {
                    self.send(&respond(&message, "100 Trying", "", "")).await;
                    let (leg, sdp) = Leg::accept(&message, manner);
                    let contact = format!("Contact: {}\r\n", self.contact());
                    // Registered before the answer, so that no packet comes before its leg.
                    legs.send(leg).unwrap();
                    self.send(&respond(&message, "200 OK", &contact, &sdp)).await;
                }
                ("BYE", _) => self.send(&respond(&message, "200 OK", "", "")).await,
                ("CANCEL", _) => {
                    self.send(&respond(&message, "200 OK", "", "")).await;
                    let invite = &ringing[&call_id];
                    self.send(&respond(invite, "487 Request Terminated", "", "")).await;
                }
                _ => {}
            }
            let _ = seen.send(message);
        }
    }
}

impl Leg {
    fn accept(invite: &str, manner: Manner) -> (Leg, String) {
        let mut sdp =
            "v=0\r\no=- 1 0 IN IP4 127.0.0.1\r\ns=gw\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n".to_owned();
        let mut media = Vec::new();
        for line in invite.lines().filter(|line| line.starts_with("m=audio")) {
            let socket = RtpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.set_nonblocking(true).unwrap();
            let is_refused = manner == Manner::RefuseFirstLine && media.is_empty();
            let port = if is_refused { 0 } else { socket.local_addr().unwrap().port() };
            let payload_type = line.split(' ').nth(3).unwrap();
            sdp.push_str(&format!("m=audio {port} RTP/AVP {payload_type} 101\r\na=recvonly\r\n"));
            media.push(socket);
        }
        (Leg { invite: invite.to_owned(), media }, sdp)
    }
}

fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(": "))
        .find(|(given, _)| given.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

fn respond(request: &str, status: &str, extra: &str, body: &str) -> String {
    let mut to = header(request, "To").unwrap().to_owned();
    if !to.contains("tag=") {
        to.push_str(";tag=device");
    }
    format!(
        "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\n\
         {extra}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        header(request, "Via").unwrap(),
        header(request, "From").unwrap(),
        header(request, "Call-ID").unwrap(),
        header(request, "CSeq").unwrap(),
        body.len()
    )
}

fn bye(invite: &str) -> String {
    format!(
        "BYE sip:cloud SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKbye\r\n\
         From: {};tag=device\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n",
        header(invite, "To").unwrap(),
        header(invite, "From").unwrap(),
        header(invite, "Call-ID").unwrap(),
    )
}
