//! Runs the simulated cloud with one call, or with the traffic of a contact centre, and says where to reach it.

use anyhow::{Context, Result};
use clap::Parser;
use simulator::{
    Account, Audio, CallKind, CallPlan, Codec, Fault, RateLimits, Shape, Simulator,
    SimulatorConfig, Traffic, Variant,
};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A stand-in for RingCentral's cloud that plays supervised calls.
#[derive(Parser)]
struct Args {
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

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    let args = Args::parse();
    let customer = match &args.customer {
        Some(path) => Audio::from_wav(path).context("the customer's voice")?,
        None => Audio::demo_customer(),
    };
    let agent = match &args.agent {
        Some(path) => Audio::from_wav(path).context("the agent's voice")?,
        None => Audio::demo_agent(),
    };
    let account = match args.calls {
        Some(_) => Account::with_agents(args.agents),
        None => Account::demo(),
    };
    let simulator = Simulator::start(SimulatorConfig {
        rest_listen: args.rest,
        sip_listen: args.sip,
        account: account.clone(),
        seed: args.seed,
    })
    .await?;
    let controls = simulator.controls();
    if args.documented_limits {
        controls.set_rate_limits(RateLimits::documented());
    }
    for fault in &args.faults {
        controls.inject(*fault, 1);
    }
    if let Some(path) = &args.ca_file {
        std::fs::write(path, simulator.authority_pem())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    eprintln!("REST   {}", simulator.rest_url());
    eprintln!("SIP    {} (UDP and TCP)", simulator.sip_address());
    eprintln!("       {} (TLS)", simulator.sip_tls_address());
    for agent in &account.agents {
        eprintln!("agent  extension {}", agent.extension_id);
    }
    tokio::select! {
        played = play(&simulator, &args, &account, customer, agent) => played?,
        interrupted = tokio::signal::ctrl_c() => interrupted.context("waiting for Ctrl-C")?,
    }
    simulator.shutdown().await;
    Ok(())
}

async fn play(
    simulator: &Simulator,
    args: &Args,
    account: &Account,
    customer: Audio,
    agent: Audio,
) -> Result<()> {
    if let Some(calls) = args.calls {
        let duration = Duration::from_secs(args.seconds);
        let traffic = Traffic { agents: args.agents, calls, duration, seed: args.seed };
        simulator.registered().await;
        let report = simulator.run(&traffic, args.codec, [&customer, &agent]).await?;
        println!("{}", serde_json::to_string_pretty(&report)?);
        anyhow::ensure!(report.is_good(), "not every eligible call was heard, see the report");
        return Ok(());
    }
    let agent_extension_id = account.agents.first().map(|agent| agent.extension_id.as_str());
    let plan = CallPlan {
        kind: args.kind,
        variant: args.variant,
        shape: args.shape,
        codec: args.codec,
        loss_percent: args.loss,
        ..CallPlan::new(agent_extension_id.unwrap_or_default(), customer, agent)
    };
    let call = simulator.place_call(plan).await?;
    eprintln!("call   {}", call.telephony_session_id());
    if let Some(report) = call.report().await {
        println!("{}", serde_json::to_string_pretty(&report)?);
    }
    Ok(())
}
