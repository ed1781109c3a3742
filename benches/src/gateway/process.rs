//! The gateway as a process of its own, on a core of its own.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail, ensure};
use media_gateway::Gateway;
use media_gateway::config::Config;
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

use crate::cpu;

/// The command under which this program is the gateway. Its argument is the configuration.
pub(crate) const COMMAND: &str = "gateway-process";

/// A gateway that runs until this is dropped.
pub(super) struct GatewayProcess {
    child: Child,
    /// Of metrics, health and readiness.
    operations: String,
}

/// What the child does: runs a gateway until its standard input is closed.
pub(crate) fn run(configuration: &str) -> anyhow::Result<()> {
    // With the log of a real gateway, because it costs something too.
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(EnvFilter::new("info"))
        .init();
    Runtime::new()?.block_on(async {
        let gateway = Gateway::start(Config::from_toml(configuration)?).await?;
        println!("{}", gateway.operations_address().context("[operations] listen is missing")?);
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
        gateway.shutdown().await;
        Ok(())
    })
}

impl GatewayProcess {
    pub(super) fn start(configuration: &str, core: usize) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut child = Command::new("taskset")
            .args(["--cpu-list", &core.to_string()])
            .arg(program)
            .args([COMMAND, configuration])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start the gateway")?;
        let output = child.stdout.take().context("the gateway has no output")?;
        let mut operations = String::new();
        BufReader::new(output).read_line(&mut operations)?;
        ensure!(!operations.is_empty(), "the gateway ended at once");
        Ok(Self { child, operations: operations.trim().to_owned() })
    }

    /// Processor seconds so far.
    pub(super) fn cpu_s(&self) -> anyhow::Result<f64> {
        cpu::present_threads_seconds(self.child.id()).context("the gateway has ended")
    }

    /// Resident memory in KiB.
    pub(super) fn rss_kib(&self) -> anyhow::Result<u64> {
        cpu::rss_kib(self.child.id()).context("the gateway has ended")
    }

    /// The value of a metric without labels; 0 if nothing was measured yet.
    pub(super) async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let text =
            reqwest::get(format!("http://{}/metrics", self.operations)).await?.text().await?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(Ok(0.0), |value| Ok(value.parse()?))
    }

    /// Ends the gateway as an operator would.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        let status = tokio::task::spawn_blocking(move || self.child.wait()).await??;
        if !status.success() {
            bail!("the gateway ended with {status}");
        }
        Ok(())
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}
