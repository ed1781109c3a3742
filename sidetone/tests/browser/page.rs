//! What the page shows, and what it ought to.

use std::net::SocketAddr;

use serde::Deserialize;
use serde_json::{Value, json};
use sidetone_proto::Role;
use web_relay::event::Event;

use crate::browser::Browser;

/// The page of live captions.
pub struct Page<'a> {
    browser: &'a Browser,
}

/// A caption that is final.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Line {
    pub who: String,
    pub party: String,
    pub segment: u32,
    pub text: String,
}

/// A caption that is still provisional.
#[derive(Debug, Deserialize)]
pub struct Partial {
    /// The element itself, as WebDriver refers to it.
    element: Value,
    party: String,
    segment: u32,
    pub text: String,
    pub marked_provisional: bool,
}

impl Line {
    /// The line that an event has to become, if it is one.
    pub fn sent(event: &Event) -> Option<Self> {
        let Event::Final(caption) = event else { return None };
        let who = match caption.role {
            Role::Agent => "Agent",
            Role::Customer => "Customer",
            Role::Mixed | Role::Unknown => panic!("the parties of this call are known: {event:?}"),
        };
        (!caption.text.is_empty()).then(|| Self {
            who: who.to_owned(),
            party: caption.party_id.as_str().to_owned(),
            segment: caption.segment,
            text: caption.text.clone(),
        })
    }

    /// The lines of a call, in the order in which they were begun.
    pub fn all_sent(events: &[Event]) -> Vec<Self> {
        let mut lines: Vec<_> = events
            .iter()
            .filter_map(|event| {
                let Event::Final(caption) = event else { return None };
                Some((caption.anchor_unix_ms + i64::try_from(caption.start_ms).unwrap(), event))
            })
            .collect();
        lines.sort_by_key(|(start, _)| *start);
        lines.into_iter().filter_map(|(_, event)| Self::sent(event)).collect()
    }

    pub fn is_about(&self, partial: &Partial) -> bool {
        (&self.party, self.segment) == (&partial.party, partial.segment)
    }
}

impl<'a> Page<'a> {
    pub async fn open(browser: &'a Browser, relay: SocketAddr) -> Self {
        browser.go(&format!("http://{relay}/")).await;
        Self { browser }
    }

    /// The captions that are final, from top to bottom.
    pub async fn lines(&self) -> Vec<Line> {
        self.browser
            .ask(
                "return [...document.querySelectorAll('.row[data-state=final]:not([data-kind=gap])')].map((row) => ({
                   who: row.querySelector('.row-who').textContent,
                   party: row.dataset.party,
                   segment: Number(row.dataset.segment),
                   text: row.querySelector('.row-text').textContent,
                 }))",
            )
            .await
    }

    /// The call that is on the screen, though nobody has chosen it.
    pub async fn until_it_shows_a_call(&self) -> String {
        self.until(
            "a call is on the screen",
            "const chosen = document.querySelector('.call-choice[aria-current=true]');
             const shown = !document.getElementById('call').hidden && document.getElementById('empty').hidden;
             return shown && location.hash === '' && chosen?.dataset.call",
        )
        .await
    }

    pub async fn until_partial(&self) -> Partial {
        self.until(
            "a partial",
            "const row = document.querySelector('.row[data-state=partial]');
             return row && {
               element: row,
               party: row.dataset.party,
               segment: Number(row.dataset.segment),
               text: row.querySelector('.row-text').textContent,
               marked_provisional: getComputedStyle(row).borderLeftStyle === 'dashed',
             }",
        )
        .await
    }

    pub async fn until_captions_are_live(&self) {
        // A machine that is too slow for them catches up.
        self.until_true(
            "the captions are said to be live",
            "return document.title.includes('Live call') &&
               ['live', 'slow'].includes(document.getElementById('pace').dataset.pace)",
        )
        .await;
    }

    /// The same element, still at its place in the page and the only one of its segment, has become final.
    pub async fn until_final_in_place(&self, partial: &Partial) {
        let args = [partial.element.clone(), json!(partial.party), json!(partial.segment)];
        let body = "const [element, party, segment] = args;
             const rows = [...document.querySelectorAll('.row')]
               .filter(({ dataset }) => dataset.party === party && dataset.segment === String(segment));
             return element.dataset.state === 'final' && rows.length === 1 && rows[0] === element &&
               getComputedStyle(element).borderLeftStyle === 'solid'";
        let _: bool = self.browser.until("the partial is final in its place", body, &args).await;
    }

    pub async fn until_it_has(&self, line: &Line) {
        let args = [json!(line.party), json!(line.segment)];
        let body = "const [party, segment] = args;
             return [...document.querySelectorAll('.row[data-state=final]')]
               .some(({ dataset }) => dataset.party === party && dataset.segment === String(segment))";
        let _: bool = self.browser.until("the missed caption", body, &args).await;
    }

    pub async fn until_it_says_that_it_reconnects(&self) {
        self.until_true(
            "the page says that it is reconnecting",
            "const banner = document.getElementById('banner');
             return document.body.dataset.connection === 'reconnecting' &&
               !banner.hidden && banner.textContent.includes('Reconnecting') &&
               document.getElementById('connection-text').textContent.includes('Reconnecting') &&
               document.getElementById('pace').dataset.pace === 'waiting'",
        )
        .await;
    }

    /// How the call is doing, and who is on it.
    pub async fn until_it_says(&self, pace: &str, parties: &str) {
        let args = [json!(pace), json!(parties)];
        let body = "const [pace, parties] = args;
             return document.getElementById('pace-text').textContent === pace &&
               document.getElementById('call-parties').textContent === parties";
        let _: bool = self.browser.until("how the call is doing", body, &args).await;
    }

    pub async fn until_connected(&self) {
        self.until_true(
            "the page says that it is connected",
            "return document.body.dataset.connection === 'live' && document.getElementById('banner').hidden &&
               document.getElementById('connection-text').textContent === 'Connected'",
        )
        .await;
    }

    pub async fn until_it_says_that_the_call_ended(&self) {
        self.until_true(
            "the page says that the call has ended",
            "const ended = document.getElementById('ended');
             return !ended.hidden && ended.textContent.startsWith('Call ended after 0:') &&
               document.getElementById('pace').dataset.pace === 'ended' &&
               document.querySelector('.call-choice[aria-current=true]').dataset.callState === 'ended' &&
               !document.querySelector('.row[data-state=partial]')",
        )
        .await;
    }

    /// What the page says about the consent to the call on the screen.
    pub async fn until_consent_is(&self, state: &str, text: &str) {
        let body = "const [state, text] = args;
             const notice = document.getElementById('consent');
             return !notice.hidden && notice.dataset.consent === state && notice.textContent.includes(text)";
        let _: bool = self.browser.until("what it says", body, &[json!(state), json!(text)]).await;
    }

    pub async fn until_lines(&self, count: usize) {
        let body = "return document.querySelectorAll('.row[data-state=final]').length === args[0]";
        let _: bool = self.browser.until("so many lines", body, &[json!(count)]).await;
    }

    /// What the captions are said to be doing.
    pub async fn pace(&self) -> String {
        self.browser.ask("return document.getElementById('pace-text').textContent").await
    }

    /// Everything that can be read.
    pub async fn text(&self) -> String {
        self.browser.ask("return document.body.innerText").await
    }

    /// In mid-call, with a page full of captions and the customer saying something.
    pub async fn until_worth_a_picture(&self) {
        self.until_true(
            "a page full of captions",
            "const partial = document.querySelector('.row[data-state=partial][data-role=customer]');
             return document.querySelectorAll('.row[data-state=final]').length >= 9 &&
               partial?.querySelector('.row-text').textContent.length > 30",
        )
        .await;
    }

    async fn until_true(&self, what: &str, body: &str) {
        let _: bool = self.until(what, body).await;
    }

    async fn until<T: serde::de::DeserializeOwned>(&self, what: &str, body: &str) -> T {
        self.browser.until(what, body, &[]).await
    }
}
