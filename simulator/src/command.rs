//! The command that plays one call, or the traffic of a contact centre, until it is over.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use futures_util::future::try_join_all;

use crate::account::Account;
use crate::audio::Audio;
use crate::kind::CallKind;
use crate::plan::{CallPlan, Codec, Shape};
use crate::rest::{Fault, RateLimits};
use crate::simulator::{Simulator, SimulatorConfig};
use crate::traffic::Traffic;
use crate::traffic_run::TrafficReport;
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
    /// Accounts that have so many agents and calls each, in one cloud.
    #[arg(long, default_value_t = 1, value_name = "N", requires = "calls")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=100))]
    accounts: u16,
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
    /// The accounts that are simulated: the demo's, or as many as were asked for with as many agents.
    pub fn accounts(&self) -> Vec<Account> {
        match self.calls {
            Some(_) => (0..usize::from(self.accounts))
                .map(|number| Account::numbered(number, self.agents))
                .collect(),
            None => vec![Account::demo()],
        }
    }

    /// Starts the cloud, and sets what was asked for: one simulator for each account, in order.
    ///
    /// # Errors
    /// When a port is taken or the authority's certificate cannot be written.
    pub async fn start(&self) -> Result<Vec<Simulator>> {
        let mut accounts = self.accounts();
        let account = accounts.remove(0);
        let config = SimulatorConfig {
            rest_listen: self.rest,
            sip_listen: self.sip,
            account,
            seed: self.seed,
        };
        let simulators = Simulator::start_accounts(config, accounts).await?;
        for simulator in &simulators {
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
        }
        Ok(simulators)
    }

    /// Plays until the last call is over or the process is asked to end, and prints what became of it.
    ///
    /// # Errors
    /// When a recording cannot be read, or a generated call that could be heard was not.
    pub async fn play(&self, simulators: Vec<Simulator>) -> Result<()> {
        let played = async {
            match (self.calls, simulators.first()) {
                (Some(_), _) => self.play_traffic(&simulators).await,
                (None, Some(simulator)) => self.play_call(simulator).await,
                (None, None) => Ok(()),
            }
        };
        let outcome = tokio::select! {
            played = played => played,
            interrupted = tokio::signal::ctrl_c() => interrupted.context("waiting for Ctrl-C"),
        };
        for simulator in simulators {
            simulator.shutdown().await;
        }
        outcome
    }

    async fn play_traffic(&self, simulators: &[Simulator]) -> Result<()> {
        let reports = self.run_traffic(simulators).await?;
        match reports.as_slice() {
            [report] => println!("{}", serde_json::to_string_pretty(report)?),
            reports => println!("{}", serde_json::to_string_pretty(reports)?),
        }
        let is_good = reports.iter().all(TrafficReport::is_good);
        anyhow::ensure!(is_good, "not every eligible call was heard as it should, see the report");
        Ok(())
    }

    /// Says where the cloud is, and runs traffic of its own for each account, once all devices are registered.
    ///
    /// # Errors
    /// When a recording cannot be read, or the agents have no time for so many calls.
    pub async fn run_traffic(&self, simulators: &[Simulator]) -> Result<Vec<TrafficReport>> {
        let [customer, agent] = self.voices()?;
        let calls = self.calls.unwrap_or_default();
        introduce(simulators);
        for simulator in simulators {
            simulator.registered().await;
        }
        let runs = (0..).zip(simulators).map(|(number, simulator)| {
            let traffic = Traffic {
                agents: self.agents,
                calls,
                duration: Duration::from_secs(self.seconds),
                seed: self.seed.wrapping_add(number),
            };
            let voices = [&customer, &agent];
            async move { simulator.run(&traffic, self.codec, voices).await }
        });
        Ok(try_join_all(runs).await?)
    }

    fn voices(&self) -> Result<[Audio; 2]> {
        let customer = match &self.customer {
            Some(path) => Audio::from_wav(path).context("the customer's voice")?,
            None => Audio::demo_customer(),
        };
        let agent = match &self.agent {
            Some(path) => Audio::from_wav(path).context("the agent's voice")?,
            None => Audio::demo_agent(),
        };
        Ok([customer, agent])
    }

    async fn play_call(&self, simulator: &Simulator) -> Result<()> {
        let [customer, agent] = self.voices()?;
        introduce(std::slice::from_ref(simulator));
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

/// Says where the cloud is, and whose calls it plays.
fn introduce(simulators: &[Simulator]) {
    if let Some(simulator) = simulators.first() {
        eprintln!("REST   {}", simulator.rest_url());
        eprintln!("SIP    {} (UDP and TCP)", simulator.sip_address());
        eprintln!("       {} (TLS)", simulator.sip_tls_address());
    }
    for agent in simulators.iter().flat_map(Simulator::agents) {
        eprintln!("agent  extension {agent}");
    }
}
