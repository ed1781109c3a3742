//! The answered legs with their media, and the calls that they belong to.

use std::collections::HashMap;
use std::net::IpAddr;

use caption_publisher::Publisher;
use pipeline::rtp::PayloadFormat;
use sidetone_proto::v1::caption_event::Event;
use sidetone_proto::v1::{Consent, ConsentState};
use sidetone_proto::{CallId, Party, PartyId};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{info, info_span, warn};

use super::call;
use super::journal::Journal;
use crate::control::consent::Rules;
use crate::control::{Hold, LegNews};
use crate::media::{MediaPort, MediaPorts, MediaStream};
use crate::sdp::{self, CryptoLine, Description, Media, SdpError, SessionVersion};
use crate::sip::LegId;
use crate::supervision::{Match, Target};
use crate::uplink::{Feed, Transcribers, Uplink};

/// An INVITE or re-INVITE that can't be answered with 200, and the response that it gets instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code} {reason}: {detail}")]
pub(super) struct Unacceptable {
    pub(super) code: u16,
    pub(super) reason: &'static str,
    pub(super) detail: String,
}

/// All answered legs.
pub(super) struct Legs {
    ports: MediaPorts,
    /// Our own offers are RTP/SAVP, as RingCentral's are where signalling is encrypted.
    offers_srtp: bool,
    transcribers: Transcribers,
    publisher: Publisher,
    news: mpsc::Sender<LegNews>,
    journal: Journal,
    rules: Rules,
    legs: HashMap<LegId, Leg>,
    calls: HashMap<CallId, Call>,
    /// One per call, from its first answer until its end is stored, and one for each word about consent until it is stored.
    tasks: JoinSet<()>,
    /// What tells those of a refusal: a call that is released may still have audio under way.
    refusals: Vec<(CallId, watch::Sender<bool>)>,
}

struct Call {
    /// Whether what is heard is kept back.
    is_withheld: bool,
    /// Who is on hold.
    hold: Hold,
    /// Of the streams that were opened, so that their audio can be kept back.
    feeds: Vec<(LegId, PartyId, Feed)>,
    /// Dropped when the call is released.
    uplinks: mpsc::Sender<Uplink>,
}

struct Leg {
    call: CallId,
    session: SessionVersion,
    /// The last description that was sent.
    sdp: String,
    local: IpAddr,
    lines: Lines,
}

enum Lines {
    /// As many as the other side has; `None` is a refused one.
    Running(Vec<Option<MediaStream>>),
    /// Our offer went out in the 200, perhaps with a key: the codec comes with the ACK.
    Offered(MediaPort, Option<CryptoLine>, Party),
}

impl Legs {
    pub(super) fn new(
        listen_ip: IpAddr,
        offers_srtp: bool,
        transcribers: Transcribers,
        publisher: Publisher,
        news: mpsc::Sender<LegNews>,
        journal: Journal,
        rules: Rules,
    ) -> Self {
        Self {
            ports: MediaPorts::new(listen_ip),
            offers_srtp,
            transcribers,
            publisher,
            news,
            journal,
            rules,
            legs: HashMap::new(),
            calls: HashMap::new(),
            tasks: JoinSet::new(),
            refusals: Vec::new(),
        }
    }

    /// The legs that are there.
    pub(super) fn ids(&self) -> Vec<LegId> {
        self.legs.keys().copied().collect()
    }

    /// How many calls are up.
    pub(super) fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Whether a leg of this call is up.
    pub(super) fn has_call(&self, call: &CallId) -> bool {
        self.calls.contains_key(call)
    }

    /// The call that a leg belongs to.
    pub(super) fn call_of(&self, leg: LegId) -> Option<&CallId> {
        self.legs.get(&leg).map(|leg| &leg.call)
    }

    /// Opens the media of a leg. Gives the SDP of the 200: an answer, or an offer if the INVITE had none.
    pub(super) fn answer(
        &mut self,
        matched: Match,
        offer: Option<&Description>,
        local: IpAddr,
    ) -> Result<String, Unacceptable> {
        let Match { leg, request, media: parties, by, .. } = matched;
        let call = request.call;
        let session = SessionVersion { id: rand::random::<u32>().into(), version: 1 };
        let labels = match &request.target {
            Target::Party(_) => request.parties,
            Target::Session => parties.clone(),
        };
        let is_withheld = self.calls.get(&call).map_or(request.is_withheld, |it| it.is_withheld);
        let (sdp, lines, uplinks) = match offer {
            Some(offer) => self.answer_offer(session, offer, &parties, (local, is_withheld))?,
            None => {
                let party = parties.into_iter().next().ok_or_else(|| not_acceptable("no party"))?;
                let port = self.bind()?;
                let crypto = self.offers_srtp.then(|| CryptoLine::offered(rand::random()));
                let sdp = sdp::offer(session, local, port.port(), crypto.as_ref());
                (sdp, Lines::Offered(port, crypto, party), Vec::new())
            }
        };
        info!(%call, %leg, ?by, streams = uplinks.len(), "leg answered");
        self.enter_call(&call, is_withheld, labels);
        let entered = Leg { call: call.clone(), session, sdp: sdp.clone(), local, lines };
        self.legs.insert(leg, entered);
        for uplink in uplinks {
            self.hand_over(&call, leg, uplink);
        }
        Ok(sdp)
    }

    /// The ACK of a leg arrived. If our offer went out, `answer` says what the other side made of it.
    pub(super) fn confirm(&mut self, id: LegId, answer: Option<&[u8]>) -> Result<(), Unacceptable> {
        let Some(mut leg) = self.legs.remove(&id) else { return Ok(()) };
        let (port, crypto, party) = match leg.lines {
            Lines::Offered(port, crypto, party) => (port, crypto, party),
            Lines::Running(mut lines) => {
                // The answer to our offer in a re-INVITE says where the other side is now.
                let theirs = answer.and_then(|body| Description::parse(body).ok());
                let theirs = theirs.iter().flat_map(|description| &description.media);
                for (media, stream) in theirs.zip(&mut lines) {
                    let stream = stream.as_mut().filter(|_| media.unfit.is_none());
                    if let Some(Err(error)) = stream.map(|it| it.retarget(media)) {
                        warn!(leg = %id, %error, "the answer to our offer changes nothing");
                    }
                }
                leg.lines = Lines::Running(lines);
                self.legs.insert(id, leg);
                return Ok(());
            }
        };
        let call = leg.call.clone();
        leg.lines = Lines::Running(Vec::new());
        self.legs.insert(id, leg);
        let body = answer.ok_or_else(|| not_acceptable("the ACK has no answer to our offer"))?;
        let description = Description::parse(body)?;
        let theirs = description.media.first().ok_or_else(|| not_acceptable("no media"))?;
        let format = offered_format(theirs)?;
        let is_withheld = self.calls.get(&call).is_some_and(|it| it.is_withheld);
        let (stream, uplink) = self.open(port, format, theirs, crypto, (party, is_withheld))?;
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.lines = Lines::Running(vec![Some(stream)]);
        }
        self.hand_over(&call, id, uplink);
        Ok(())
    }

    /// A re-INVITE or UPDATE: the other side holds, resumes or moves. Codecs stay as they are.
    pub(super) fn reoffer(
        &mut self,
        id: LegId,
        offer: Option<&[u8]>,
    ) -> Result<String, Unacceptable> {
        let leg = self.legs.get_mut(&id).ok_or_else(|| not_acceptable("the leg has no media"))?;
        let Lines::Running(lines) = &mut leg.lines else {
            return Err(not_acceptable("the first offer is not answered yet"));
        };
        let offer = offer.map(Description::parse).transpose()?;
        let mut ours = Vec::new();
        match &offer {
            None => ours.extend(lines.iter().map(|line| line.as_ref().map(MediaStream::local))),
            Some(offer) => {
                // All lines or none: a refusal leaves the leg as it was (RFC 3261 section 14.1).
                for (theirs, line) in offer.media.iter().zip(lines.iter()) {
                    line.as_ref().map_or(Ok(()), |stream| can_follow(stream, theirs))?;
                }
                for (theirs, line) in offer.media.iter().zip(lines) {
                    let stream = line.as_mut().filter(|_| !is_disabled(theirs));
                    let local = stream.map(|stream| stream.retarget(theirs)).transpose();
                    ours.push(local.map_err(|error| not_acceptable(&error.to_string()))?);
                }
            }
        }
        let write = |session| match &offer {
            Some(offer) => offer.answer(session, leg.local, &ours),
            None => sdp::reoffer(session, leg.local, &ours),
        };
        // RFC 3264 section 8: a new version says that something has changed, a mere refresh keeps the old one.
        let mut sdp = write(leg.session);
        if sdp != leg.sdp {
            leg.session.version += 1;
            sdp = write(leg.session);
            leg.sdp.clone_from(&sdp);
        }
        Ok(sdp)
    }

    /// A leg is over, and its media end. The call goes on: another leg may come.
    pub(super) fn end(&mut self, id: LegId) {
        let Some(leg) = self.legs.remove(&id) else { return };
        if let Some(call) = self.calls.get_mut(&leg.call) {
            call.feeds.retain(|(of, ..)| *of != id);
        }
    }

    /// No further leg of a call will come. With its legs gone, the call ends.
    pub(super) fn release(&mut self, call: &CallId) {
        self.calls.remove(call);
        self.journal.forget(call);
        self.refusals.retain(|(_, refusal)| !refusal.is_closed());
        while self.tasks.try_join_next().is_some() {}
    }

    /// No further leg will come at all.
    pub(super) fn release_all(&mut self) {
        self.calls.clear();
    }

    /// What is heard on a call goes to the transcriber from now on, or is kept back.
    pub(super) fn withhold(&mut self, call: &CallId, is_withheld: bool) {
        let Some(call) = self.calls.get_mut(call) else { return };
        call.is_withheld = is_withheld;
        call.feeds.iter().for_each(|(.., feed)| feed.withhold(is_withheld));
    }

    /// Who is on hold on a call from now on, or since that time (milliseconds since the Unix epoch).
    pub(super) fn hold(&mut self, call: &CallId, hold: Hold, since_unix_ms: Option<i64>) {
        let Some(call) = self.calls.get_mut(call) else { return };
        for (_, party, feed) in &call.feeds {
            feed.hold(hold.covers(party), since_unix_ms);
        }
        call.hold = hold;
    }

    /// Tells the relay of the consent to a call's transcription. After a refusal, what was heard is forgotten.
    pub(super) fn consent(&mut self, consent: Consent) {
        if consent.state() == ConsentState::Refused {
            let of_call = |(call, _): &&(CallId, _)| call.as_str() == consent.call_id;
            for (_, refusal) in self.refusals.iter().filter(of_call) {
                refusal.send_replace(true);
            }
        }
        let delivered = self.publisher.deliver(Event::Consent(consent));
        self.tasks.spawn(async move {
            let _ = delivered.await;
        });
    }

    /// Waits until the end of every call is stored. Call it when no leg is left; it may be cancelled.
    pub(super) async fn drained(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    fn answer_offer(
        &self,
        session: SessionVersion,
        offer: &Description,
        parties: &[Party],
        (local, is_withheld): (IpAddr, bool),
    ) -> Result<(String, Lines, Vec<Uplink>), Unacceptable> {
        let mut parties = parties.iter().cloned();
        let (mut ours, mut streams, mut uplinks) = (Vec::new(), Vec::new(), Vec::new());
        for theirs in &offer.media {
            let taken = theirs.formats.first().copied().zip(parties_for(theirs, &mut parties));
            let Some((format, party)) = taken else {
                ours.push(None);
                streams.push(None);
                continue;
            };
            let port = self.bind()?;
            let crypto = theirs.crypto.as_ref().map(|line| line.answered_with(rand::random()));
            let party = (party, is_withheld);
            let (stream, uplink) = self.open(port, format, theirs, crypto, party)?;
            ours.push(Some(stream.local()));
            streams.push(Some(stream));
            uplinks.push(uplink);
        }
        Ok((offer.answer(session, local, &ours), Lines::Running(streams), uplinks))
    }

    fn open(
        &self,
        port: MediaPort,
        format: PayloadFormat,
        theirs: &Media,
        crypto: Option<CryptoLine>,
        (party, is_withheld): (Party, bool),
    ) -> Result<(MediaStream, Uplink), Unacceptable> {
        let rate = format.codec.sample_rate();
        let feed = Feed::new(rate);
        if let Some(phrases) = self.rules.phrases(party.role) {
            feed.listen_for(phrases);
        }
        feed.withhold(is_withheld);
        let keys = self.rules.keys(party.role);
        let span = info_span!("media", call = %party.call, party = %party.id, role = %party.role);
        info!(parent: &span, ?format, srtp = crypto.is_some(), "media stream started");
        let stream = MediaStream::start(port, format, theirs, crypto, (feed.clone(), keys), span)
            .map_err(|error| server_error(error.to_string()))?;
        Ok((stream, Uplink::start(self.transcribers.clone(), party, rate, feed)))
    }

    fn bind(&self) -> Result<MediaPort, Unacceptable> {
        let bound = self.ports.bind();
        bound.map_err(|error| server_error(format!("no free pair of ports for RTP ({error})")))
    }

    fn enter_call(&mut self, id: &CallId, is_withheld: bool, parties: Vec<Party>) {
        self.calls.entry(id.clone()).or_insert_with(|| {
            let (uplinks, received) = mpsc::channel(call::STREAMS_CAPACITY);
            let (refusal, refused) = watch::channel(false);
            self.refusals.push((id.clone(), refusal));
            let (publisher, news) = (self.publisher.clone(), self.news.clone());
            let uplinks_of_call = (received, refused);
            let journal = self.journal.clone();
            let run = call::run(id.clone(), &parties, uplinks_of_call, publisher, news, journal);
            self.tasks.spawn(run);
            Call { is_withheld, hold: Hold::default(), feeds: Vec::new(), uplinks }
        });
    }

    fn hand_over(&mut self, call: &CallId, leg: LegId, uplink: Uplink) {
        let sent = self.calls.get_mut(call).map(|call| {
            let (party, feed) = (uplink.party().id.clone(), uplink.feed().clone());
            feed.hold(call.hold.covers(&party), None);
            call.feeds.push((leg, party, feed));
            call.uplinks.try_send(uplink)
        });
        if !matches!(sent, Some(Ok(()))) {
            warn!(%call, "the call has too many streams, one is not transcribed");
        }
    }
}

impl From<SdpError> for Unacceptable {
    fn from(error: SdpError) -> Self {
        not_acceptable(&error.to_string())
    }
}

/// The lines of an offer that can be taken; `Err` if there is none, with the reasons.
pub(super) fn acceptable_lines(offer: &Description) -> Result<Vec<&Media>, Unacceptable> {
    let (taken, refused): (Vec<_>, Vec<_>) =
        offer.media.iter().partition(|media| media.unfit.is_none());
    if taken.is_empty() {
        let reasons: Vec<String> = refused
            .iter()
            .filter_map(|media| media.unfit.as_ref())
            .map(ToString::to_string)
            .collect();
        return Err(not_acceptable(&reasons.join("; ")));
    }
    Ok(taken)
}

/// Whether a stream can do what their line says from now on.
fn can_follow(stream: &MediaStream, theirs: &Media) -> Result<(), Unacceptable> {
    if is_disabled(theirs) {
        return Ok(());
    }
    if !theirs.formats.contains(&stream.local().format) {
        return Err(not_acceptable("the new offer lacks the codec in use"));
    }
    stream.can_retarget(theirs).map_err(|error| not_acceptable(&error.to_string()))
}

fn is_disabled(theirs: &Media) -> bool {
    theirs.unfit == Some(sdp::Unfit::Disabled)
}

/// The next party, for a line that is taken.
fn parties_for(theirs: &Media, parties: &mut impl Iterator<Item = Party>) -> Option<Party> {
    theirs.unfit.is_none().then(|| parties.next()).flatten()
}

/// The first format of an answer that we had offered.
fn offered_format(theirs: &Media) -> Result<PayloadFormat, Unacceptable> {
    let offered = sdp::offered_formats();
    let format = theirs.formats.iter().find(|format| offered.contains(format));
    format.copied().ok_or_else(|| not_acceptable("the answer takes none of our codecs"))
}

fn not_acceptable(detail: &str) -> Unacceptable {
    Unacceptable { code: 488, reason: "Not Acceptable Here", detail: detail.to_owned() }
}

fn server_error(detail: String) -> Unacceptable {
    Unacceptable { code: 500, reason: "Server Internal Error", detail }
}

#[cfg(test)]
mod tests;
