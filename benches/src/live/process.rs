//! The transcriber's process, as `sidetone serve` starts it.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};
use transcriber::config::Settings;

use crate::cpu;

/// A transcriber that runs until this is dropped.
pub(crate) struct TranscriberProcess {
    address: SocketAddr,
    child: Child,
}

impl TranscriberProcess {
    /// Starts it. It takes connections at once, and answers when its model is loaded.
    pub(crate) fn start(settings: &Settings) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let program = std::env::current_exe().context("cannot find this program")?;
        let child = Command::new(program)
            .args([sidetone::TRANSCRIBER_COMMAND, "--log", "warn", "--settings"])
            .arg(serde_json::to_string(settings)?)
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start the transcriber")?;
        Ok(Self { address, child })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Processor seconds so far.
    pub(crate) fn cpu_s(&mut self) -> anyhow::Result<f64> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the transcriber ended with {status}");
        }
        cpu::seconds(self.child.id()).context("cannot read the transcriber's processor time")
    }

    /// Resident memory in MiB.
    pub(crate) fn rss_mib(&self) -> anyhow::Result<f64> {
        Ok(cpu::rss_kib(self.child.id()).context("the transcriber has ended")? as f64 / 1024.0)
    }
}

impl Drop for TranscriberProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
