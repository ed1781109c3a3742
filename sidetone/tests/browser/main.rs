//! The page in a real browser, on a real call. The demo plays the call; what is on the screen is held against the
//! events that the demo prints.
//!
//! `CHROME` and `CHROMEDRIVER` name the two programs; without them they are looked for under their usual names.

mod browser;
mod consent;
mod demo;
mod hold;
mod page;
mod proxy;

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;
use web_relay::event::Event;

use browser::Browser;
use demo::{Demo, shortened_call};
use page::{Line, Page};
use proxy::Proxy;

/// A limit for failures. Nothing waits for so long when it works.
const LIMIT: Duration = Duration::from_secs(300);

/// As much of the call as the test needs: eight turns.
const CALL_S: u32 = 44;

/// Connections that the page has to have tried in vain before its line is mended.
const RETRIES: u32 = 2;

#[tokio::test]
async fn captions_reach_the_page_and_none_is_missing_after_a_lost_connection() {
    in_time(async {
        let browser = Browser::start().await;
        let call = shortened_call(CALL_S);
        let demo = Demo::start(&call.arguments()).await;
        let proxy = Proxy::start(demo.address()).await;
        let page = Page::open(&browser, proxy.address()).await;

        let started = demo.until("the call starts", |event| match event {
            Event::CallStarted(call) => Some(call.call_id.as_str().to_owned()),
            _ => None,
        });
        assert_eq!(page.until_it_shows_a_call().await, started.await);

        let partial = page.until_partial().await;
        assert!(partial.marked_provisional, "{partial:?}");
        assert!(!partial.text.is_empty(), "{partial:?}");
        page.until_captions_are_live().await;
        page.until_final_in_place(&partial).await;
        let sent = demo.until("the first caption is final", |event| match Line::sent(event)? {
            line if line.is_about(&partial) => Some(line),
            _ => None,
        });
        let sent = sent.await;
        assert_eq!(page.lines().await, [sent]);

        proxy.cut();
        page.until_it_says_that_it_reconnects().await;
        let seen = demo.events().len();
        let missed = demo.until_after(seen, "a caption is missed", Line::sent).await;
        proxy.refused(RETRIES).await;
        page.until_it_says_that_it_reconnects().await;
        assert!(!page.lines().await.contains(&missed), "{missed:?} went around the cut");

        proxy.mend();
        page.until_connected().await;
        page.until_it_has(&missed).await;
        page.until_partial().await;

        demo.until("the call ends", |event| matches!(event, Event::CallEnded(_)).then_some(()))
            .await;
        page.until_it_says_that_the_call_ended().await;
        let sent = Line::all_sent(&demo.events());
        let roles: Vec<_> = sent.iter().map(|line| line.who.as_str()).collect();
        assert!(roles.contains(&"Agent") && roles.contains(&"Customer"), "{roles:?}");
        assert_eq!(page.lines().await, sent);

        let (cut, others): (Vec<_>, Vec<_>) =
            browser.errors().await.into_iter().partition(|error| error.contains("/v1/captions"));
        assert_eq!(others, [""; 0]);
        assert!(!cut.is_empty(), "the browser did not log that the connection was cut");

        browser.close().await;
        demo.end().await;
    })
    .await;
}

/// Makes the picture of the page that the documentation shows: `make screenshot`.
#[tokio::test]
#[ignore = "writes docs/captions.png"]
async fn screenshot() {
    in_time(async {
        let browser = Browser::start().await;
        let demo = Demo::start(&[]).await;
        let page = Page::open(&browser, demo.address()).await;
        page.until_worth_a_picture().await;
        let picture = browser.screenshot().await;
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        std::fs::create_dir_all(&docs).unwrap();
        std::fs::write(docs.join("captions.png"), picture).unwrap();
        browser.close().await;
        demo.end().await;
    })
    .await;
}

pub(crate) async fn in_time(test: impl Future<Output = ()>) {
    timeout(LIMIT, test).await.expect("the test did not come to its end in time");
}
