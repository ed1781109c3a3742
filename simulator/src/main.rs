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
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    let Arguments { simulate } = Arguments::parse();
    simulate.play(simulate.start().await?).await
}
