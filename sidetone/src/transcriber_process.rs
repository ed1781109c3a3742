//! The transcriber as a supervised child process: a crash in native code costs a restart, never a call.
//!
//! The parent owns the listening socket and hands it down as the child's standard input, as inetd does. Gateways that
//! connect while there is no child wait in the socket's backlog, and the address never changes.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, anyhow};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use tokio::process::{Child, Command};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::level_filters::LevelFilter;
use tracing::{error, info, warn};
use transcriber::config::{Config, Settings};

use crate::cli::{EX_USAGE, Failure};

/// The hidden subcommand that is the child. A program that embeds [`crate::system::System`] must hand it to [`crate::cli::Cli`].
pub const COMMAND: &str = "transcriber-child";

/// A child that lived this long is restarted at once; one that did not, after a growing pause.
const STABLE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// How long the child may take to let parties finish.
const DRAIN: Duration = Duration::from_secs(8);

/// The supervisor of the child.
pub(crate) struct TranscriberProcess {
    address: SocketAddr,
    pid: watch::Receiver<Option<u32>>,
    failed: watch::Receiver<Option<String>>,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl TranscriberProcess {
    /// Opens the transcriber's port and starts the child, again whenever it ends.
    pub(crate) fn start(settings: Settings) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .context("cannot open a port on 127.0.0.1 for the transcriber")?;
        let address = listener.local_addr()?;
        let settings = serde_json::to_string(&settings)?;
        let (pid_now, pid) = watch::channel(None);
        let (failure, failed) = watch::channel(None);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(supervise(listener, settings, pid_now, failure, stopped));
        Ok(Self { address, pid, failed, stop, task })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The child's process id, while there is a child.
    pub(crate) fn pid(&self) -> Option<u32> {
        *self.pid.borrow()
    }

    /// Completes when the child can't be started at all.
    pub(crate) async fn failed(&self) -> anyhow::Error {
        let mut failed = self.failed.clone();
        match failed.wait_for(Option::is_some).await {
            Ok(reason) => anyhow!("{}", reason.as_deref().unwrap_or_default()),
            Err(_) => anyhow!("the supervisor of the transcriber has ended"),
        }
    }

    /// Lets the child finish what it was told, and ends it.
    pub(crate) async fn shutdown(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

async fn supervise(
    listener: TcpListener,
    settings: String,
    pid: watch::Sender<Option<u32>>,
    failure: watch::Sender<Option<String>>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let started = Instant::now();
        let mut child = match spawn(&listener, &settings) {
            Ok(child) => child,
            Err(error) => {
                failure.send_replace(Some(format!("{error:#}")));
                return;
            }
        };
        pid.send_replace(child.id());
        let status = tokio::select! {
            status = child.wait() => status,
            _ = &mut stopped => return end(child).await,
        };
        pid.send_replace(None);
        match status {
            Ok(status) if status.code() == Some(EX_USAGE.into()) => {
                failure.send_replace(Some(
                    "the transcriber can't run as configured, see above".into(),
                ));
                return;
            }
            Ok(status) => warn!(%status, "the transcriber ended, restarting it; calls go on"),
            Err(error) => error!(%error, "lost sight of the transcriber, restarting it"),
        }
        if started.elapsed() >= STABLE {
            pause = FIRST_PAUSE;
        }
        tokio::select! {
            () = sleep(pause) => pause = (pause * 2).min(LAST_PAUSE),
            _ = &mut stopped => return,
        }
    }
}

fn spawn(listener: &TcpListener, settings: &str) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let socket = listener.try_clone().context("cannot hand down the transcriber's socket")?;
    Command::new(&program)
        .args([COMMAND, "--settings", settings, "--log", &LevelFilter::current().to_string()])
        .stdin(Stdio::from(OwnedFd::from(socket)))
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {} as the transcriber", program.display()))
}

async fn end(mut child: Child) {
    let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    if let Some(pid) = pid {
        let _ = kill_process(pid, Signal::TERM);
    }
    if timeout(DRAIN, child.wait()).await.is_err() {
        warn!("the transcriber did not end in time, killing it");
        let _ = child.kill().await;
    }
}

/// The child itself.
pub(crate) fn run(settings: &str) -> Result<(), Failure> {
    // A parent that is killed takes its child along; otherwise the port would stay taken.
    set_parent_process_death_signal(Some(Signal::TERM))
        .context("cannot tie the child to its parent")?;
    let settings: Settings = serde_json::from_str(settings).context("--settings")?;
    let unusable = |error: anyhow::Error| Failure { code: EX_USAGE, error };
    let config = Config::try_from(settings).map_err(|error| unusable(error.into()))?;
    let recognisers = transcriber::load(&config).map_err(|error| unusable(error.into()))?;
    let socket =
        std::io::stdin().as_fd().try_clone_to_owned().context("no listening socket as stdin")?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime
        .block_on(transcriber::serve(config, recognisers, socket.into(), told_to_stop()))
        .context("transcriber")?;
    info!("transcriber ended");
    Ok(())
}

/// Completes on SIGTERM. ^C reaches the whole terminal's group, and the parent decides what comes of it.
async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let _interrupts = signal(SignalKind::interrupt());
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            terminate.recv().await;
        }
        Err(error) => {
            error!(%error, "cannot wait for SIGTERM");
            std::future::pending().await
        }
    }
}
