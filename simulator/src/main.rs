//! Runs the simulated cloud with one call and prints where to reach it.

use anyhow::{Context, Result};
use clap::Parser;
use simulator::{
    Account, Audio, CallPlan, Codec, Fault, RateLimits, Shape, Simulator, SimulatorConfig,
};
use std::net::SocketAddr;
use std::path::PathBuf;

/// A stand-in for RingCentral's cloud that plays one supervised call.
#[derive(Parser)]
struct Args {
    /// Where REST listens.
    #[arg(long, default_value = "127.0.0.1:8910")]
    rest: SocketAddr,
    /// Where SIP listens, over UDP and TCP.
    #[arg(long, default_value = "127.0.0.1:5090")]
    sip: SocketAddr,
    /// How the voices reach the supervisor: two-legs, two-media or mixed.
    #[arg(long, default_value_t = Shape::TwoLegs)]
    shape: Shape,
    /// The codec: opus or pcmu.
    #[arg(long, default_value_t = Codec::Opus)]
    codec: Codec,
    /// The share of RTP packets that get lost, in percent.
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT")]
    loss: f32,
    /// What the customer says: a 16-bit mono WAV file. The bundled call without it.
    #[arg(long, requires = "agent", value_name = "FILE")]
    customer: Option<PathBuf>,
    /// What the agent says: a 16-bit mono WAV file. The bundled call without it.
    #[arg(long, requires = "customer", value_name = "FILE")]
    agent: Option<PathBuf>,
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
    let account = Account::demo();
    let agent_extension_id = account.agents[0].extension_id.clone();
    let simulator = Simulator::start(SimulatorConfig {
        rest_listen: args.rest,
        sip_listen: args.sip,
        account,
        seed: args.seed,
    })
    .await?;
    let controls = simulator.controls();
    if args.documented_limits {
        controls.set_rate_limits(RateLimits::documented());
    }
    for fault in args.faults {
        controls.inject(fault, 1);
    }
    let call = simulator
        .place_call(CallPlan {
            agent_extension_id: agent_extension_id.clone(),
            shape: args.shape,
            codec: args.codec,
            loss_percent: args.loss,
            customer,
            agent,
        })
        .await?;
    println!("REST   {}", simulator.rest_url());
    println!("SIP    {} (UDP and TCP)", simulator.sip_address());
    println!("agent  extension {agent_extension_id}");
    println!("call   {}", call.telephony_session_id());
    tokio::select! {
        () = call.finished() => println!("the call is over"),
        interrupted = tokio::signal::ctrl_c() => interrupted.context("waiting for Ctrl-C")?,
    }
    simulator.shutdown().await;
    Ok(())
}
