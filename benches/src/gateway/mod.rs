//! One gateway process on one core, under more and more party streams.

mod decode;
mod process;
mod sink;

use std::process::Command;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use serde::Serialize;
use simulator::{Account, Audio, Codec, Simulator, SimulatorConfig};
use tokio::runtime::Runtime;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::Report;
use process::GatewayProcess;
use sink::Sink;

pub(crate) use process::{COMMAND, run as run_process};

/// Everything that the stand-in leaves to chance, the same in every run.
const SEED: u64 = 1;

/// Between two new calls.
const RAMP: Duration = Duration::from_millis(40);

/// How long registering, or the last legs to come up, may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long what is under way may take to arrive after the last packet.
const SETTLE: Duration = Duration::from_secs(1);

const DECODED: &str = "sidetone_gateway_rtp_packets_decoded_total";

/// What to measure.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Party streams, two to a call
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 300, 1000])]
    streams: Vec<usize>,
    /// What the audio is coded with: opus or pcmu
    #[arg(long, value_delimiter = ',', default_values_t = [Codec::Pcmu, Codec::Opus])]
    codecs: Vec<Codec>,
    /// How long each row is measured, once all its streams are up
    #[arg(long, default_value_t = 20, value_name = "SECONDS")]
    seconds: u64,
    /// The core that the gateway has for itself; everything else runs on the others
    #[arg(long, default_value_t = 1)]
    core: usize,
}

/// The figures.
#[derive(Serialize)]
pub(crate) struct Figures {
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    codec: &'static str,
    streams: usize,
    /// Packets that were not decoded, or whose audio reached the transcriber over 100 ms late, of those that were sent.
    late_or_dropped_percent: f64,
    /// Processor seconds of the gateway for each second of one stream.
    cpu_s_per_stream_s: f64,
    /// Processor time of the gateway over that of decoding the same packets and nothing else.
    cpu_over_decode: f64,
    /// Memory of the gateway above what it takes without a call, for each call.
    rss_kib_per_call: f64,
}

/// What a stretch of time began or ended with.
struct Mark {
    at: Instant,
    cpu_s: f64,
    decoded: f64,
}

impl Arguments {
    /// Measures row after row.
    pub(crate) fn run(self) -> anyhow::Result<Figures> {
        leave_core(self.core)?;
        let runtime = Runtime::new()?;
        let mut rows = Vec::new();
        for codec in &self.codecs {
            for streams in &self.streams {
                let row = runtime.block_on(self.measure(*codec, *streams));
                rows.push(row.with_context(|| format!("{streams} streams of {codec}"))?);
            }
        }
        Ok(Figures { rows })
    }

    async fn measure(&self, codec: Codec, streams: usize) -> anyhow::Result<Row> {
        let any = "127.0.0.1:0".parse()?;
        let config = SimulatorConfig {
            rest_listen: any,
            sip_listen: any,
            account: Account::demo(),
            seed: SEED,
        };
        let simulator = Simulator::start(config).await?;
        let sink = Sink::start()?;
        let agent = Account::demo().agents[0].extension_id.clone();
        let mut load = simulator.load(&agent, codec, &Audio::demo_customer())?;
        let decode_s = decode::cpu_s_per_packet(codec, load.payloads(), streams)?;
        let hot_decode_s = decode::cpu_s_per_packet(codec, load.payloads(), 1)?;
        let gateway = GatewayProcess::start(&configuration(&simulator, &sink, streams), self.core)?;
        timeout(PATIENCE, simulator.registered()).await.context("the gateway did not register")?;
        let idle_kib = gateway.rss_kib()?;

        let mut ramp = interval(RAMP);
        for _ in 0..streams / 2 {
            ramp.tick().await;
            load.add_call()?;
        }
        if timeout(PATIENCE, sink.heard(streams)).await.is_err() {
            eprintln!("only {} of {streams} streams came up", load.streams());
        }
        let start = mark(&gateway).await?;
        sleep(Duration::from_secs(self.seconds)).await;
        let end = mark(&gateway).await?;
        let rss_kib = gateway.rss_kib()?;

        // The silence that follows is made by the clock, and comes late by design.
        let late_packets = sink.counts().late_packets;
        load.mute();
        sleep(SETTLE).await;
        let delay = load.worst_delay();
        let packets = load.finish().await as f64;
        let decoded = gateway.metric(DECODED).await?;
        gateway.stop().await?;
        simulator.shutdown().await;
        let counts = sink.counts();
        eprintln!(
            "{codec} {streams}: {packets} packets sent (at most {} ms late), {decoded} decoded, {} late at the \
             transcriber, {} lost after decoding; {:.2} us for decoding one, {:.2} us if all were of one stream",
            delay.as_millis(),
            late_packets,
            counts.lost_packets,
            decode_s * 1e6,
            hot_decode_s * 1e6,
        );

        let bad = (packets - decoded).max(0.0) + (late_packets + counts.lost_packets) as f64;
        let (cpu_s, seconds) = (end.cpu_s - start.cpu_s, (end.at - start.at).as_secs_f64());
        Ok(Row {
            codec: codec.as_str(),
            streams,
            late_or_dropped_percent: rounded(100.0 * bad / packets, 4),
            cpu_s_per_stream_s: rounded(cpu_s / (seconds * streams as f64), 6),
            cpu_over_decode: rounded(cpu_s / ((end.decoded - start.decoded) * decode_s), 2),
            rss_kib_per_call: rounded(
                rss_kib.saturating_sub(idle_kib) as f64 * 2.0 / streams as f64,
                1,
            ),
        })
    }
}

impl Report for Figures {
    fn rows(&self) -> Vec<(String, String)> {
        let row = |row: &Row| {
            let figures = format!(
                "{:.3} % late or dropped, {:.3} ms cpu/s per stream, {:.2} x decoding, {:.0} KiB per call",
                row.late_or_dropped_percent,
                row.cpu_s_per_stream_s * 1e3,
                row.cpu_over_decode,
                row.rss_kib_per_call,
            );
            (format!("{}, {} streams", row.codec, row.streams), figures)
        };
        self.rows.iter().map(row).collect()
    }
}

async fn mark(gateway: &GatewayProcess) -> anyhow::Result<Mark> {
    let decoded = gateway.metric(DECODED).await?;
    Ok(Mark { at: Instant::now(), cpu_s: gateway.cpu_s()?, decoded })
}

/// Keeps this process, and what it starts, off the gateway's core.
fn leave_core(core: usize) -> anyhow::Result<()> {
    let cores = available_parallelism()?.get();
    ensure!(
        cores >= 2,
        "the gateway needs a core of its own: run this on a machine with two or more"
    );
    ensure!(core < cores, "there is no core {core}: use --core 0 to {}", cores - 1);
    let others: Vec<String> =
        (0..cores).filter(|it| *it != core).map(|it| it.to_string()).collect();
    let status = Command::new("taskset")
        .args([
            "--all-tasks",
            "--cpu-list",
            "--pid",
            &others.join(","),
            &std::process::id().to_string(),
        ])
        .stdout(std::process::Stdio::null())
        .status()
        .context("cannot run taskset; install util-linux")?;
    ensure!(status.success(), "taskset did not move this process to cores {}", others.join(","));
    Ok(())
}

/// Limits wide enough for the load: what is measured is the media path.
fn configuration(simulator: &Simulator, sink: &Sink, streams: usize) -> String {
    let account = Account::demo();
    format!(
        "[ringcentral]\nserver = \"{server}\"\nclient_id = \"{client_id}\"\nclient_secret = \"{secret}\"\n\
         jwt = \"{jwt}\"\nsupervisor_device_id = \"{device}\"\nagents = [\"{agent}\"]\n\
         [sip]\nlisten = \"127.0.0.1:0\"\nmax_calls = {streams}\nmax_calls_per_second = 1000\n\
         [uplink]\ntranscribers = [\"http://{sink}\"]\nrelay = \"http://{sink}\"\n\
         [operations]\nlisten = \"127.0.0.1:0\"\n",
        server = simulator.rest_url(),
        client_id = account.client_id,
        secret = account.client_secret,
        jwt = account.jwt,
        device = account.supervisor_device_id,
        agent = account.agents[0].extension_id,
        sink = sink.address(),
    )
}

fn rounded(figure: f64, digits: i32) -> f64 {
    let unit = 10f64.powi(digits);
    (figure * unit).round() / unit
}
