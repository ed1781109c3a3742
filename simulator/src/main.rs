//! Runs the simulated cloud by itself.

use clap::Parser;
use simulator::SimulateArguments;

/// A stand-in for RingCentral's cloud that plays supervised calls.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    simulate: SimulateArguments,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    telemetry::init("info")?;
    let Arguments { simulate } = Arguments::parse();
    simulate.play(simulate.start().await?).await
}
