//! What operators see of a running gateway, and that it leaves in mid-call without losing a word.

mod support;

use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use simulator::{Audio, CallPlan, Codec, Simulator};
use support::{AGENT, Downstream, PATIENCE, serve, tone};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The gateway as a process, with a cloud and a downstream.
struct World {
    simulator: Simulator,
    downstream: Downstream,
    gateway: Process,
    operations: SocketAddr,
    sip: SocketAddr,
    _folder: tempfile::TempDir,
}

struct Process(Child);

impl World {
    async fn start(sip: &str, drain_seconds: u64) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let simulator = support::simulator().await;
        let downstream = Downstream::default();
        let address = serve(downstream.clone()).await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.toml");
        let operations =
            format!("[operations]\nlisten = \"127.0.0.1:0\"\ndrain_seconds = {drain_seconds}");
        std::fs::write(&file, support::config(&simulator, address, sip, &operations)).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_media-gateway"))
            .arg("--config")
            .arg(&file)
            .env("RUST_LOG", "info")
            .env("NO_COLOR", "1")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = tokio::process::ChildStderr::from_std(child.stderr.take().unwrap()).unwrap();
        let mut lines = BufReader::new(log).lines();
        let (mut operations, mut sip) = (None, None);
        while operations.is_none() || sip.is_none() {
            let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
            let address = || line.rsplit_once("address=").unwrap().1.trim().parse().unwrap();
            if line.contains("serving metrics") {
                operations = Some(address());
            } else if line.contains("listening for sip") {
                sip = Some(address());
            }
        }
        // Nobody may wait for us to read on.
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                eprintln!("{line}");
            }
        });
        timeout(PATIENCE, simulator.registered()).await.expect("registered");
        let (operations, sip) = (operations.unwrap(), sip.unwrap());
        Self { simulator, downstream, gateway: Process(child), operations, sip, _folder: folder }
    }

    async fn call(&self, voice: Audio) -> simulator::Call {
        let plan = CallPlan { codec: Codec::Pcmu, ..CallPlan::new(AGENT, voice.clone(), voice) };
        let call = self.simulator.place_call(plan).await.unwrap();
        let mut started = self.downstream.started.subscribe();
        let both = started.wait_for(|count| *count == 2);
        timeout(PATIENCE, both).await.expect("both parties are heard").unwrap();
        call
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let response = reqwest::get(format!("http://{}{path}", self.operations)).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// The sum of a metric over its labels.
    async fn metric(&self, name: &str) -> f64 {
        let (status, text) = self.get("/metrics").await;
        assert_eq!(status, 200);
        text.lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(name))
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
            .sum()
    }

    async fn wait_for(&self, path: &str, status: u16) -> String {
        let wanted = async {
            loop {
                let (got, body) = self.get(path).await;
                if got == status {
                    return body;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, wanted).await.unwrap_or_else(|_| panic!("{path} never gave {status}"))
    }
}

impl Process {
    fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    async fn exited(mut self) -> ExitStatus {
        let waiting = tokio::task::spawn_blocking(move || self.0.wait().unwrap());
        timeout(PATIENCE, waiting).await.expect("the process ends").unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

/// The final response to an INVITE from a stranger's socket.
async fn invite(gateway: SocketAddr) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(gateway).await.unwrap();
    let from = socket.local_addr().unwrap();
    let request = format!(
        "INVITE sip:x@y SIP/2.0\r\nVia: SIP/2.0/UDP {from};rport;branch=z9hG4bK{port}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:x@y>\r\nCall-ID: c-{port}\r\n\
         CSeq: 7 INVITE\r\nContact: <sip:a@{from}>\r\nContent-Length: 0\r\n\r\n",
        port = from.port(),
    );
    socket.send(request.as_bytes()).await.unwrap();
    let mut buffer = [0; 2048];
    loop {
        let len = timeout(PATIENCE, socket.recv(&mut buffer)).await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
        if !text.starts_with("SIP/2.0 100") {
            return text;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_in_mid_call_loses_no_word() {
    let world = World::start("allowed_sources = [\"127.0.0.1\"]", 60).await;
    assert_eq!(world.get("/health").await.0, 200);
    world.wait_for("/ready", 200).await;
    world.downstream.withholds_acks.send_replace(true);
    let _call = world.call(tone(440.0, 60)).await;
    assert_eq!(world.metric("sidetone_gateway_calls").await, 1.0);
    assert_eq!(world.metric("sidetone_gateway_legs").await, 2.0);
    let decoded = world.metric("sidetone_gateway_rtp_packets_decoded_total").await;
    world.gateway.signal("-TERM");

    // Both voices arrive to their ends, and the process waits for the acknowledgements.
    let mut heard_out = world.downstream.heard_out.subscribe();
    let both = heard_out.wait_for(|count| *count == 2);
    timeout(PATIENCE, both).await.expect("both parties are heard to their end").unwrap();
    let reason = world.wait_for("/ready", 503).await;
    assert!(reason.contains("draining"), "{reason}");
    assert_eq!(world.get("/health").await.0, 200);
    let refused = invite(world.sip).await;
    assert!(refused.starts_with("SIP/2.0 503") && refused.contains("Retry-After:"), "{refused}");
    assert!(world.metric("sidetone_gateway_ring_seconds").await > 0.0);
    let received = world.metric("sidetone_gateway_rtp_packets_decoded_total").await;
    assert!(received >= decoded);
    world.downstream.withholds_acks.send_replace(false);

    let World { gateway, downstream, simulator, .. } = world;
    assert_eq!(gateway.exited().await.code(), Some(0));
    let parties = downstream.parties.lock().unwrap().clone();
    for heard in parties.values() {
        assert_eq!(heard.end, Some(heard.pcm.len() as u64), "nothing follows, nothing is missing");
        assert!(heard.pcm.iter().any(|sample| sample.abs() > 4000), "a voice");
    }
    let samples: usize = parties.values().map(|heard| heard.pcm.len()).sum();
    assert!(samples >= 160 * received as usize, "{samples} samples of {received} packets");
    simulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_has_a_limit_and_a_second_signal_ends_it_at_once() {
    for (drain_seconds, second_signal, code) in [(1, false, 0), (300, true, 130)] {
        let world = World::start("", drain_seconds).await;
        world.downstream.withholds_acks.send_replace(true);
        let _call = world.call(Audio::silence(Duration::from_secs(60))).await;
        world.gateway.signal("-TERM");
        if second_signal {
            world.wait_for("/ready", 503).await;
            world.gateway.signal("-INT");
        }
        let World { gateway, simulator, .. } = world;
        assert_eq!(gateway.exited().await.code(), Some(code));
        simulator.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_counted_by_reason() {
    let world = World::start("", 5).await;
    assert!(invite(world.sip).await.starts_with("SIP/2.0 403"));
    let (_, text) = world.get("/metrics").await;
    let counted = "sidetone_gateway_refusals_total{reason=\"forbidden\"} 1";
    assert!(text.contains(counted), "{text}");
    assert!(text.contains("# HELP sidetone_gateway_registered 1 while"), "{text}");
    let World { gateway, simulator, .. } = world;
    gateway.signal("-TERM");
    assert_eq!(gateway.exited().await.code(), Some(0));
    simulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_come_too_fast_are_put_off() {
    let sip = "allowed_sources = [\"127.0.0.1\"]\nmax_calls_per_second = 1";
    let world = World::start(sip, 5).await;
    // One is parked, because a supervise request may yet ask for it; the others are answered at once.
    let mut invites: JoinSet<String> = (0..5).map(|_| invite(world.sip)).collect();
    let refused = invites.join_next().await.unwrap().unwrap();
    assert!(refused.starts_with("SIP/2.0 503") && refused.contains("Retry-After:"), "{refused}");
    let World { gateway, simulator, .. } = world;
    gateway.signal("-TERM");
    assert_eq!(gateway.exited().await.code(), Some(0));
    simulator.shutdown().await;
}
