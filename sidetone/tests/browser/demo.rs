//! `sidetone demo --json` as a process.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use hound::{WavReader, WavWriter};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;
use tokio::time::timeout;
use web_relay::event::Event;

/// How long the demo may take to the next thing that is waited for: a limit for failures.
const PATIENCE: Duration = Duration::from_secs(100);

/// A running demo and the events that it has printed. Dropping it ends it, also when a test fails.
pub struct Demo {
    process: Child,
    address: SocketAddr,
    events: watch::Receiver<Vec<Event>>,
    // Where it keeps its transcripts.
    _folder: TempDir,
}

/// The two sides of a call, as files.
pub struct Call {
    folder: TempDir,
}

/// The first seconds of the bundled call.
pub fn shortened_call(seconds: u32) -> Call {
    let folder = tempfile::tempdir().unwrap();
    let bundled = Path::new(env!("CARGO_MANIFEST_DIR")).join("../simulator/calls/demo");
    for file in ["agent.wav", "customer.wav"] {
        let mut whole = WavReader::open(bundled.join(file)).unwrap();
        let mut part = WavWriter::create(folder.path().join(file), whole.spec()).unwrap();
        let samples = seconds * whole.spec().sample_rate;
        for sample in whole.samples::<i16>().take(samples as usize) {
            part.write_sample(sample.unwrap()).unwrap();
        }
        part.finalize().unwrap();
    }
    Call { folder }
}

impl Call {
    pub fn arguments(&self) -> [String; 4] {
        let file = |name| self.folder.path().join(name).to_str().unwrap().to_owned();
        ["--agent".into(), file("agent.wav"), "--customer".into(), file("customer.wav")]
    }
}

impl Demo {
    /// Starts it. It stays until it is told to end, also after its call.
    pub async fn start(arguments: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_sidetone"))
            .args(["demo", "--json"])
            .args(arguments)
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (sender, events) = watch::channel(Vec::new());
        tokio::spawn(read_events(process.stdout.take().unwrap(), sender));
        let mut notes = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = loop {
            let line = notes.next_line().await.unwrap().expect("the demo ended at once");
            eprintln!("demo: {line}");
            if let Some((_, url)) = line.split_once("captions are at http://") {
                break url.trim_end_matches('/').parse().unwrap();
            }
        };
        tokio::spawn(async move {
            while let Ok(Some(line)) = notes.next_line().await {
                eprintln!("demo: {line}");
            }
        });
        Self { process, address, events, _folder: folder }
    }

    /// Where the page is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was printed so far.
    pub fn events(&self) -> Vec<Event> {
        self.events.borrow().clone()
    }

    /// The first event for which `pick` returns something, already printed or yet to come.
    pub async fn until<T>(&self, what: &str, pick: impl Fn(&Event) -> Option<T>) -> T {
        self.until_after(0, what, pick).await
    }

    /// [`Demo::until`], without looking at the first `seen` events.
    pub async fn until_after<T>(
        &self,
        seen: usize,
        what: &str,
        pick: impl Fn(&Event) -> Option<T>,
    ) -> T {
        let mut events = self.events.clone();
        let found = |events: &Vec<Event>| events.iter().skip(seen).find_map(&pick);
        let events = timeout(PATIENCE, events.wait_for(|events| found(events).is_some()))
            .await
            .unwrap_or_else(|_| panic!("waited for: {what}"))
            .unwrap_or_else(|_| panic!("the demo ended before: {what}"));
        found(&events).unwrap()
    }

    /// Tells it to end, as a service manager does, and checks that it ends well.
    pub async fn end(mut self) {
        let pid = self.process.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let status = timeout(PATIENCE, self.process.wait()).await.expect("it ends").unwrap();
        assert!(status.success(), "{status}");
    }
}

async fn read_events(stdout: ChildStdout, events: watch::Sender<Vec<Event>>) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let event = serde_json::from_str(&line).expect("nothing but events on stdout");
        events.send_modify(|events| events.push(event));
    }
}
