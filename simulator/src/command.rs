//! The command that plays one call, or the traffic of a contact centre, until it is over.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use crate::account::Account;
use crate::audio::Audio;
use crate::kind::CallKind;
use crate::plan::{CallPlan, Codec, Shape};
use crate::rest::{Fault, RateLimits};
use crate::simulator::{Simulator, SimulatorConfig};
use crate::traffic::Traffic;
use crate::variant::Variant;

/// Where to listen and what to play.
#[derive(Args, Clone, Debug)]
pub struct SimulateArguments {
    /// Where REST listens.
    #[arg(long, default_value = "127.0.0.1:8910")]
    rest: SocketAddr,
    /// Where SIP listens, over UDP and TCP; TLS has the port six above.
    #[arg(long, default_value = "127.0.0.1:5090")]
    sip: SocketAddr,
    /// Where to write the certificate, in PEM, of the authority to trust for TLS.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// What happens in the call: inbound, queue, outbound, internal, hold, blind-transfer, attended-transfer, park,
    /// conference, early-hang-up or voicemail.
    #[arg(long, default_value_t = CallKind::Inbound, conflicts_with = "calls")]
    kind: CallKind,
    /// How the INVITEs come, and what befalls their legs: such as invite-before-reply, late-offer or stuck-party.
    #[arg(long, default_value_t = Variant::default(), conflicts_with = "calls")]
    variant: Variant,
    /// How the voices reach the supervisor: two-legs, two-media or mixed.
    #[arg(long, default_value_t = Shape::TwoLegs, conflicts_with = "calls")]
    shape: Shape,
    /// The codec: opus or pcmu.
    #[arg(long, default_value_t = Codec::Opus)]
    codec: Codec,
    /// The share of RTP packets that get lost, in percent.
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT", conflicts_with = "calls")]
    loss: f32,
    /// What the customer says: a 16-bit mono WAV file. The bundled call without it.
    #[arg(long, requires = "agent", value_name = "FILE")]
    customer: Option<PathBuf>,
    /// What the agent says: a 16-bit mono WAV file. The bundled call without it.
    #[arg(long, requires = "customer", value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Generate so many calls of all kinds once the supervisor's device has registered, and then print a report as JSON.
    #[arg(long, value_name = "N")]
    calls: Option<usize>,
    /// Agents that take the generated calls.
    #[arg(long, default_value_t = 20, value_name = "N", requires = "calls")]
    agents: usize,
    /// By when the generated calls are over, in seconds.
    #[arg(long, default_value_t = 600, value_name = "SECONDS", requires = "calls")]
    seconds: u64,
    /// Refuses the next request that the fault is about; may be given more than once. One of TAS-102, TAS-120, CMN-102,
    /// MBW-002, MBW-005, 409, 503, 429, 429-service and 401.
    #[arg(long = "fault", value_name = "NAME")]
    faults: Vec<Fault>,
    /// Limits requests as RingCentral's documentation says: 50, 40, 10 and 5 a minute, by group.
    #[arg(long)]
    documented_limits: bool,
    /// What the random choices derive from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl SimulateArguments {
    /// The account that is simulated: the demo's, or one with as many agents as were asked for.
    pub fn account(&self) -> Account {
        match self.calls {
            Some(_) => Account::with_agents(self.agents),
            None => Account::demo(),
        }
    }

    /// Starts the cloud, and sets what was asked for.
    ///
    /// # Errors
    /// When a port is taken or the authority's certificate cannot be written.
    pub async fn start(&self) -> Result<Simulator> {
        let simulator = Simulator::start(SimulatorConfig {
            rest_listen: self.rest,
            sip_listen: self.sip,
            account: self.account(),
            seed: self.seed,
        })
        .await?;
        let controls = simulator.controls();
        if self.documented_limits {
            controls.set_rate_limits(RateLimits::documented());
        }
        for fault in &self.faults {
            controls.inject(*fault, 1);
        }
        if let Some(path) = &self.ca_file {
            std::fs::write(path, simulator.authority_pem())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(simulator)
    }

    /// Says where the cloud is, and plays until the last call is over or the process is asked to end.
    ///
    /// # Errors
    /// When a recording cannot be read, or a generated call that could be heard was not.
    pub async fn play(&self, simulator: Simulator) -> Result<()> {
        let customer = match &self.customer {
            Some(path) => Audio::from_wav(path).context("the customer's voice")?,
            None => Audio::demo_customer(),
        };
        let agent = match &self.agent {
            Some(path) => Audio::from_wav(path).context("the agent's voice")?,
            None => Audio::demo_agent(),
        };
        eprintln!("REST   {}", simulator.rest_url());
        eprintln!("SIP    {} (UDP and TCP)", simulator.sip_address());
        eprintln!("       {} (TLS)", simulator.sip_tls_address());
        for agent in simulator.agents() {
            eprintln!("agent  extension {agent}");
        }
        tokio::select! {
            played = self.play_calls(&simulator, customer, agent) => played?,
            interrupted = tokio::signal::ctrl_c() => interrupted.context("waiting for Ctrl-C")?,
        }
        simulator.shutdown().await;
        Ok(())
    }

    async fn play_calls(&self, simulator: &Simulator, customer: Audio, agent: Audio) -> Result<()> {
        if let Some(calls) = self.calls {
            let duration = Duration::from_secs(self.seconds);
            let traffic = Traffic { agents: self.agents, calls, duration, seed: self.seed };
            simulator.registered().await;
            let report = simulator.run(&traffic, self.codec, [&customer, &agent]).await?;
            println!("{}", serde_json::to_string_pretty(&report)?);
            anyhow::ensure!(report.is_good(), "not every eligible call was heard, see the report");
            return Ok(());
        }
        let extension = simulator.agents().first().cloned().unwrap_or_default();
        let plan = CallPlan {
            kind: self.kind,
            variant: self.variant,
            shape: self.shape,
            codec: self.codec,
            loss_percent: self.loss,
            ..CallPlan::new(&extension, customer, agent)
        };
        let call = simulator.place_call(plan).await?;
        eprintln!("call   {}", call.telephony_session_id());
        if let Some(report) = call.report().await {
            println!("{}", serde_json::to_string_pretty(&report)?);
        }
        Ok(())
    }
}
