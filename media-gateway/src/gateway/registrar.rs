//! What the event loop does to keep the supervisor's device registered: connects, registers, and fails over.

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::connect::{ConnectError, Connected, Connector};
use super::event_loop::{EventLoop, Input};
use crate::sip::failover::{Failover, Setback};
use crate::sip::{Flow, RegistrationFailure, StreamId};

/// The way to the registrar.
pub(super) struct Registrar {
    connector: Connector,
    failover: Failover,
    random: StdRng,
    /// The connection that the device is, or is being, registered on.
    stream: Option<StreamId>,
    /// The attempt under way. A new one ends it: two connections would fight for the registration.
    attempt: Option<AbortHandle>,
}

impl Registrar {
    /// The first attempt is due at once.
    pub(super) fn new(connector: Connector, proxies: Vec<String>) -> Self {
        Self {
            connector,
            failover: Failover::new(proxies, Instant::now().into_std()),
            random: StdRng::from_rng(&mut rand::rng()),
            stream: None,
            attempt: None,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<std::time::Instant> {
        self.failover.poll_timeout()
    }

    /// Begins no further attempt.
    pub(super) fn stop(&mut self) {
        self.failover.stop();
        if let Some(attempt) = self.attempt.take() {
            attempt.abort();
        }
    }
}

impl EventLoop {
    /// Begins the attempt that is due.
    pub(super) fn register_if_due(&mut self) {
        let registrar = &mut self.registrar;
        let now = Instant::now().into_std();
        let Some(proxy) = registrar.failover.handle_timeout(now).map(str::to_owned) else { return };
        debug!(proxy, transport = ?self.config.transport, "connecting to the sip proxy");
        let (connector, inputs) = (registrar.connector.clone(), self.input_sender.clone());
        let listening = self.flows.listening().ip();
        let attempt = tokio::spawn(async move {
            let _ = inputs.send(Input::Connected(connector.connect(&proxy, listening).await)).await;
        });
        if let Some(earlier) = registrar.attempt.replace(attempt.abort_handle()) {
            earlier.abort();
        }
    }

    pub(super) fn connected(&mut self, connected: Result<Connected, ConnectError>) {
        let opened = match connected {
            // Left over from an attempt that a later one has overtaken.
            _ if self.registrar.stream.is_some() => return,
            Ok(Connected::Udp(address)) => {
                let local = self.flows.local_towards(address.ip());
                let now = Instant::now().into_std();
                self.user_agent.register(now, Flow::Udp(address), local);
                return;
            }
            Ok(Connected::Tcp(stream)) => self.flows.open(stream),
            Ok(Connected::Tls(stream)) => self.flows.open_tls(*stream),
            Err(error) => {
                let proxy = self.registrar.failover.proxy().to_owned();
                let retry_in = self.retry_later(Setback::Proxy { retry_after: None });
                warn!(%error, proxy, ?retry_in, "could not reach the sip proxy");
                return;
            }
        };
        let Some((stream, local)) = opened else {
            // The peer has closed the connection already.
            self.retry_later(Setback::Proxy { retry_after: None });
            return;
        };
        self.registrar.stream = Some(stream);
        self.user_agent.handle_stream_opened(stream, local);
        self.user_agent.register(Instant::now().into_std(), Flow::Stream(stream), local);
    }

    pub(super) fn device_registered(&mut self, expires: std::time::Duration) {
        self.registrar.failover.succeeded(Instant::now().into_std());
        if self.registered.send_replace(true) {
            debug!(?expires, "registration refreshed");
        } else {
            let proxy = self.registrar.failover.proxy();
            info!(?expires, proxy, "device registered, looking for calls");
        }
    }

    pub(super) fn registration_failed(&mut self, failure: &RegistrationFailure) {
        let proxy = self.registrar.failover.proxy().to_owned();
        let retry_in = self.retry_later(failure.setback());
        error!(%failure, proxy, ?retry_in, "device not registered");
    }

    /// Goes back to the preferred proxy, if it is time and nothing would be missed.
    pub(super) fn fail_back_if_due(&mut self) {
        let now = Instant::now().into_std();
        let is_idle = self.user_agent.is_idle() && self.supervision.is_idle();
        if self.registrar.failover.fails_back(now, is_idle) {
            info!(proxy = self.registrar.failover.proxy(), "going back to the preferred sip proxy");
            self.reregister();
        }
    }

    /// Registers anew, over a new connection.
    pub(super) fn reregister(&mut self) {
        match self.registrar.stream {
            // The user agent reports that as the loss of its flow, and what follows is the same.
            Some(stream) => self.stream_closed(stream),
            None => {
                self.registered.send_replace(false);
                self.registrar.failover.retry_now(Instant::now().into_std());
            }
        }
    }

    fn retry_later(&mut self, setback: Setback) -> std::time::Duration {
        self.registered.send_replace(false);
        if let Some(stream) = self.registrar.stream.take() {
            self.stream_closed(stream);
        }
        let registrar = &mut self.registrar;
        registrar.failover.failed(Instant::now().into_std(), setback, &mut registrar.random)
    }
}
