//! A peer's process: its log, its end, and the certainty that it is gone after the test.

use std::future::Future;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// No single step takes longer, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// A running program. It and its children die with this value; if a test has failed, its log is printed.
pub struct Process {
    name: &'static str,
    child: Child,
    /// Of the program and of all its children.
    group: u32,
    log: Arc<Mutex<Vec<String>>>,
    /// How many lines there are.
    lines: watch::Receiver<usize>,
}

impl Process {
    /// Starts a program with nothing on its standard input.
    pub fn start(name: &'static str, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{name} does not start ({error}); run: make test-peers")
            });
        let group = child.id().expect("it has just been started");
        let log = Arc::default();
        let (sender, lines) = watch::channel(0);
        let sender = Arc::new(sender);
        tokio::spawn(collect(child.stdout.take().unwrap(), Arc::clone(&log), sender.clone()));
        tokio::spawn(collect(child.stderr.take().unwrap(), Arc::clone(&log), sender));
        Self { name, child, group, log, lines }
    }

    /// Waits until the text has been logged this many times since the start.
    pub async fn logged(&mut self, text: &str, times: usize) {
        let log = Arc::clone(&self.log);
        let count = || log.lock().unwrap().iter().filter(|line| line.contains(text)).count();
        let name = self.name;
        let wait = self.lines.wait_for(|_| count() >= times);
        let seen = within(&format!("{name} logs {text:?}"), wait).await.is_ok();
        assert!(seen, "{name} has ended without logging {text:?} {times} times");
    }

    /// Waits for a line that starts so. Gives what follows.
    pub async fn line(&mut self, start: &str) -> String {
        self.logged(start, 1).await;
        let log = self.log.lock().unwrap();
        log.iter().find_map(|line| line.strip_prefix(start)).unwrap_or_default().to_owned()
    }

    /// Waits until the program ends by itself.
    pub async fn exited(&mut self) -> ExitStatus {
        within(&format!("{} ends", self.name), self.child.wait()).await.unwrap()
    }

    /// Asks the program to end, and waits until it has.
    pub async fn terminate(&mut self) {
        signal("-TERM", self.group);
        self.exited().await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        signal("-KILL", self.group);
        if std::thread::panicking() {
            let log = self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            eprintln!("---- {} said ----\n{}\n----", self.name, log.join("\n"));
        }
    }
}

/// Waits for an event, but not for ever.
pub async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(value) => value,
        Err(_) => panic!("waited {} s in vain until {what}", PATIENCE.as_secs()),
    }
}

/// A loopback address that is free for UDP and TCP at this moment.
pub fn free_address() -> SocketAddr {
    for _ in 0..50 {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free for both UDP and TCP");
}

/// A group that is gone already is as good.
fn signal(signal: &str, group: u32) {
    let _ = std::process::Command::new("kill")
        .args([signal, "--", &format!("-{group}")])
        .stderr(Stdio::null())
        .status();
}

async fn collect(
    from: impl AsyncRead + Unpin,
    log: Arc<Mutex<Vec<String>>>,
    lines: Arc<watch::Sender<usize>>,
) {
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).await.is_ok_and(|len| len > 0) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        log.lock().unwrap().push(text);
        lines.send_modify(|count| *count += 1);
        line.clear();
    }
}
