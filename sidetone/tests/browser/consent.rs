//! What the page says about consent, and that it forgets a call whose transcription was refused.

use std::path::PathBuf;

use caption_publisher::Publisher;
use sidetone_proto::v1::caption_event::Event;
use sidetone_proto::v1::{
    CallStarted, Caption, Consent, ConsentSource, ConsentState, PartyLabel, Role,
};
use tempfile::TempDir;
use tonic::transport::Endpoint;
use web_relay::{Config, Relay};

use crate::browser::Browser;
use crate::in_time;
use crate::page::Page;

const CALL: &str = "s-consent";
const ANCHOR: i64 = 1_800_000_000_000;

/// A relay of its own, which a test publishes to.
struct Stage {
    relay: Relay,
    publisher: Publisher,
    _folder: TempDir,
}

impl Stage {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            ingest_listen: ([127, 0, 0, 1], 0).into(),
            database: folder.path().join("transcripts.db"),
            ..Config::default()
        };
        let relay = Relay::start(config).await.unwrap();
        let address = format!("http://{}", relay.ingest_address());
        let publisher = Publisher::start(Endpoint::from_shared(address).unwrap());
        let stage = Self { relay, publisher, _folder: folder };
        let parties = vec![label(Role::Agent), label(Role::Customer)];
        let call_id = CALL.to_owned();
        stage
            .deliver(Event::CallStarted(CallStarted { call_id, started_unix_ms: ANCHOR, parties }))
            .await;
        stage
    }

    async fn deliver(&self, event: Event) {
        self.publisher.deliver(event).await.unwrap();
    }

    async fn consent(&self, state: ConsentState, source: ConsentSource, at_ms: i64) {
        let consent = Consent {
            call_id: CALL.to_owned(),
            state: state.into(),
            source: source.into(),
            at_unix_ms: ANCHOR + at_ms,
        };
        self.deliver(Event::Consent(consent)).await;
    }

    async fn say(&self, role: Role, segment: u32, text: &str) {
        let start_ms = u64::from(segment) * 3_000;
        let caption = Caption {
            party: Some(label(role)),
            segment,
            revision: 1,
            is_final: true,
            text: text.to_owned(),
            start_ms,
            end_ms: start_ms + 2_000,
            anchor_unix_ms: ANCHOR,
            ..Caption::default()
        };
        self.deliver(Event::Caption(caption)).await;
    }
}

fn label(role: Role) -> PartyLabel {
    let party_id = if role == Role::Agent { "p-1" } else { "p-2" };
    PartyLabel { call_id: CALL.to_owned(), party_id: party_id.to_owned(), role: role.into() }
}

/// Keeps a picture for people, where `SCREENSHOTS` says.
async fn picture(browser: &Browser, name: &str) {
    if let Ok(folder) = std::env::var("SCREENSHOTS") {
        let path = PathBuf::from(folder).join(format!("{name}.png"));
        std::fs::write(path, browser.screenshot().await).unwrap();
    }
}

#[tokio::test]
async fn the_page_tells_of_consent_and_forgets_what_was_refused() {
    in_time(async {
        let browser = Browser::start().await;
        let stage = Stage::new().await;
        let page = Page::open(&browser, stage.relay.http_address()).await;

        stage.consent(ConsentState::Awaited, ConsentSource::Policy, 1).await;
        page.until_consent_is("awaited", "Waiting for consent").await;
        assert_eq!(page.pace().await, "Waiting for consent");
        picture(&browser, "awaited").await;

        stage.consent(ConsentState::Announced, ConsentSource::Operator, 2).await;
        page.until_consent_is("announced", "This call is being transcribed").await;
        stage.consent(ConsentState::Granted, ConsentSource::Key, 3).await;
        page.until_consent_is("granted", "with consent").await;
        stage.say(Role::Agent, 0, "Thank you. May I have your account number?").await;
        stage.say(Role::Customer, 1, "It is four one one seven.").await;
        page.until_lines(2).await;
        picture(&browser, "granted").await;

        stage.consent(ConsentState::Refused, ConsentSource::Phrase, 9).await;
        page.until_consent_is("refused", "Nothing of this call is kept").await;
        page.until_lines(0).await;
        assert_eq!(page.pace().await, "Not transcribed");
        assert!(!page.text().await.contains("account number"));
        picture(&browser, "refused").await;

        // What comes late is not shown, and whoever opens the page now learns nothing either.
        stage.say(Role::Customer, 2, "One more thing about the account number.").await;
        let page = Page::open(&browser, stage.relay.http_address()).await;
        page.until_consent_is("refused", "Nothing of this call is kept").await;
        assert_eq!(page.lines().await, []);
        assert!(!page.text().await.contains("account number"));
        assert_eq!(browser.errors().await, [""; 0]);

        browser.close().await;
        stage.relay.shutdown().await;
    })
    .await;
}
