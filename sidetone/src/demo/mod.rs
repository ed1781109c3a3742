//! `sidetone demo`: the whole system on loopback, with a stand-in for RingCentral that plays a call.

mod alignment;
mod arguments;
mod printer;
mod score;
mod viewer;

use std::future::Future;
use std::net::SocketAddr;

use anyhow::Context;
use media_gateway::config::{
    ConsentSection, ControlSection, NotificationScope, OperationsSection, RingCentralSection,
    Secret, SipSection, Supervise,
};
use simulator::{Account, CallPlan, Shape, Simulator, SimulatorConfig};
use web_relay::StartError;
use web_relay::event::Event;

use crate::cli::asked_to_stop;
use crate::config::Config;
use crate::system::System;

pub use alignment::{Step, align, words};
pub use arguments::{DemoArguments, DemoPlan};
pub use printer::Printer;
pub use score::{Delays, Score, Tally};
pub use viewer::Viewer;

/// How often agents are looked at: the call is on the stand-in's line already, and it takes thousands of requests.
const POLL_INTERVAL_MS: u64 = 200;

/// A demo that is running.
pub struct Demo {
    simulator: Simulator,
    system: System,
    // Holds the transcripts; removed with the demo.
    _folder: tempfile::TempDir,
}

/// Runs the demo as the command line asked for it.
pub async fn run(plan: DemoPlan, mut printer: Printer) -> anyhow::Result<()> {
    let once = plan.once;
    let bundled = plan.bundled;
    let demo = Demo::start(&plan).await?;
    printer.address(demo.http_address());
    let mut events = Vec::new();
    let call = plan.call;
    let outcome = tokio::select! {
        watched = demo.play(call, |event| {
            printer.event(event);
            events.push(event.clone());
        }) => watched.map(|()| true),
        failed = demo.system.failed() => Err(failed),
        asked = asked_to_stop() => asked.context("cannot wait for a signal").map(|()| false),
    };
    let played = matches!(outcome, Ok(true));
    if played {
        let score = bundled.then(|| Score::of(&events));
        printer.summary(&events, score.as_ref());
        if !once {
            printer.stays_open(demo.http_address());
            asked_to_stop().await.context("cannot wait for a signal")?;
        }
    }
    demo.shutdown().await;
    outcome.map(drop)
}

impl Demo {
    /// Starts the stand-in and the services on free loopback ports.
    pub async fn start(plan: &DemoPlan) -> anyhow::Result<Self> {
        let simulator = Simulator::start(SimulatorConfig {
            rest_listen: loopback(0),
            sip_listen: loopback(0),
            account: Account::demo(),
            seed: plan.seed,
        })
        .await
        .context("stand-in for RingCentral")?;
        let folder = tempfile::tempdir().context("cannot make a folder for the transcripts")?;
        let config = Config {
            ringcentral: ringcentral(&simulator, plan.call.shape),
            sip: SipSection { listen: loopback(0).to_string(), ..SipSection::default() },
            transcriber: plan.transcriber.clone(),
            relay: web_relay::Config {
                listen: loopback(plan.port),
                ingest_listen: loopback(0),
                database: folder.path().join("transcripts.db"),
                ..web_relay::Config::default()
            },
            operations: OperationsSection::default(),
            consent: ConsentSection::default(),
            control: ControlSection::default(),
        };
        let system = System::start(config).await.map_err(|error| match error.downcast_ref() {
            Some(StartError::Listen { .. }) if plan.port != 0 => {
                error.context("choose another --port")
            }
            _ => error,
        })?;
        Ok(Self { simulator, system, _folder: folder })
    }

    /// Where the page is.
    pub fn http_address(&self) -> SocketAddr {
        self.system.http_address()
    }

    /// The transcriber's process id, while it runs.
    pub fn transcriber_pid(&self) -> Option<u32> {
        self.system.transcriber_pid()
    }

    /// Plays a call and watches it as a browser does, until its last event is out.
    pub async fn play(&self, call: CallPlan, on_event: impl FnMut(&Event)) -> anyhow::Result<()> {
        let viewer = Viewer::connect(self.http_address()).await?;
        self.simulator.registered().await;
        let call = self.simulator.place_call(call).await.context("cannot place the call")?;
        viewer.watch(call.telephony_session_id(), on_event).await
    }

    /// Completes when a service has failed for good.
    pub fn failed(&self) -> impl Future<Output = anyhow::Error> {
        self.system.failed()
    }

    /// Stops everything and removes the transcripts.
    pub async fn shutdown(self) {
        self.system.shutdown().await;
        self.simulator.shutdown().await;
    }
}

fn ringcentral(simulator: &Simulator, shape: Shape) -> RingCentralSection {
    let account = Account::demo();
    RingCentralSection {
        server: simulator.rest_url(),
        client_id: account.client_id,
        client_secret: Secret::from(account.client_secret.as_str()),
        jwt: Secret::from(account.jwt.as_str()),
        supervisor_device_id: account.supervisor_device_id,
        agents: account.agents.into_iter().take(1).map(|agent| agent.extension_id).collect(),
        supervise: match shape {
            Shape::TwoLegs => Supervise::Party,
            Shape::TwoMedia | Shape::Mixed => Supervise::Session,
        },
        notifications: NotificationScope::default(),
        poll_interval_ms: POLL_INTERVAL_MS,
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
