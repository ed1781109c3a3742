//! A call that is put on hold, as whoever looks at it sees it. What a gateway would say is said by the test.

use caption_publisher::Publisher;
use sidetone_proto::v1::caption_event::Event;
use sidetone_proto::v1::{CallStarted, CaptionState, PartyLabel, Role, Status};
use tonic::transport::Endpoint;
use web_relay::{Config, Relay};

use crate::browser::Browser;
use crate::in_time;
use crate::page::Page;

const CALL: &str = "s-1";

fn party(id: &str, role: Role) -> PartyLabel {
    PartyLabel { call_id: CALL.into(), party_id: id.into(), role: role.into() }
}

fn status(is_on_hold: bool, parties: &[&str]) -> Event {
    Event::Status(Status {
        call_id: CALL.into(),
        state: CaptionState::Live.into(),
        is_on_hold,
        parties_on_hold: parties.iter().map(|id| (*id).to_owned()).collect(),
    })
}

#[tokio::test]
async fn the_page_says_who_is_on_hold() {
    in_time(async {
        let folder = tempfile::tempdir().unwrap();
        let any = ([127, 0, 0, 1], 0).into();
        let config = Config {
            listen: any,
            ingest_listen: any,
            database: folder.path().join("transcripts.db"),
            ..Config::default()
        };
        let relay = Relay::start(config).await.unwrap();
        let address = format!("http://{}", relay.ingest_address());
        let publisher = Publisher::start(Endpoint::from_shared(address).unwrap());
        let started = CallStarted {
            call_id: CALL.into(),
            started_unix_ms: 1_000,
            parties: vec![party("p-1", Role::Agent), party("p-2", Role::Customer)],
        };
        publisher.deliver(Event::CallStarted(started)).await.unwrap();

        let browser = Browser::start().await;
        let page = Page::open(&browser, relay.http_address()).await;
        page.until_it_shows_a_call().await;
        page.until_it_says("Listening", "Agent and Customer").await;
        publisher.announce(status(true, &["p-1", "p-2"]));
        page.until_it_says("On hold", "Agent and Customer").await;
        publisher.announce(status(false, &["p-2"]));
        page.until_it_says("Listening", "Agent and Customer · on hold: Customer").await;
        publisher.announce(status(false, &[]));
        page.until_it_says("Listening", "Agent and Customer").await;

        // Whoever comes later is told, too.
        publisher.announce(status(true, &["p-1", "p-2"]));
        page.until_it_says("On hold", "Agent and Customer").await;
        let page = Page::open(&browser, relay.http_address()).await;
        page.until_it_says("On hold", "Agent and Customer").await;
        browser.close().await;
        relay.shutdown().await;
    })
    .await;
}
