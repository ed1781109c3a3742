//! Carries one client's session: its WebSocket on one side, the hub and the store on the other.

use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::session::{Output, Session, close_code};
use crate::switchboard::{Client, Mail};

/// How long a client may leave a message untaken before it counts as gone.
const STALL: Duration = Duration::from_secs(10);

/// How long to wait for the client's half of the close.
const FAREWELL: Duration = Duration::from_secs(2);

pub(super) async fn serve(mut socket: WebSocket, mut client: Client, shutdown: CancellationToken) {
    let mut session = Session::new(Instant::now());
    loop {
        while let Some(output) = session.poll_output() {
            if !perform(output, &mut session, &mut socket, &mut client).await {
                return;
            }
        }
        tokio::select! {
            received = socket.recv() => match received {
                Some(Ok(Message::Text(text))) => {
                    session.handle_message(Instant::now(), Some(&text));
                }
                Some(Ok(Message::Binary(_))) => session.handle_message(Instant::now(), None),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_))) | None => return,
                Some(Err(error)) => return debug!(%error, "a client's connection broke"),
            },
            mail = client.mail() => deliver(mail, &mut session),
            () = sleep_until(session.poll_timeout().into()) => {
                session.handle_timeout(Instant::now());
            }
            () = shutdown.cancelled() => session.handle_shutdown(),
        }
    }
}

fn deliver(mail: Mail, session: &mut Session) {
    for (call, opened) in mail.opened {
        session.handle_opened(call, opened);
    }
    for call in mail.news {
        session.handle_news(call);
    }
    if mail.list_news {
        session.handle_list_news();
    }
}

/// False when the session is over.
async fn perform(
    output: Output,
    session: &mut Session,
    socket: &mut WebSocket,
    client: &mut Client,
) -> bool {
    match output {
        Output::Send(text) => return send(socket, Message::Text((&*text).into())).await,
        Output::Close { code, reason } => {
            if code == close_code::TOO_SLOW {
                warn!(%reason, "a client reads too slowly, closing it");
            }
            let frame = CloseFrame { code, reason: reason.into() };
            if send(socket, Message::Close(Some(frame))).await {
                // Until the client has answered, what it sends must be read: closing on unread data resets the
                // connection, and the reason with it.
                let answered = async { while let Some(Ok(_)) = socket.recv().await {} };
                let _ = timeout(FAREWELL, answered).await;
            }
            return false;
        }
        Output::Open(call) => client.open(call),
        Output::Leave(call) => client.leave(&call),
        Output::Pull { call, after_seq, whole } => {
            let pulled = client.pull(&call, after_seq, whole);
            session.handle_pulled(call, pulled);
        }
        Output::Page { call, after_seq } => {
            let page = client.store().events_after(call.clone(), after_seq).await;
            let page = page.map_err(|error| warn!(%call, %error, "a call can't be replayed"));
            session.handle_page(call, page.ok());
        }
        Output::WatchList => client.watch_list(),
        Output::FetchList => {
            let list = client.list();
            session.handle_list(list);
        }
    }
    true
}

async fn send(socket: &mut WebSocket, message: Message) -> bool {
    matches!(timeout(STALL, socket.send(message)).await, Ok(Ok(())))
}
