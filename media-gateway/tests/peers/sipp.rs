//! sipp as the calling party, with scenarios of its own and a tone from a capture.

use std::net::SocketAddr;
use std::path::Path;

use tokio::process::Command;

use super::capture;
use super::downstream::Heard;
use super::kamailio::{Challenge, Kamailio};
use super::lab::{DEVICE, Lab};
use super::process::{Process, free_address};

/// How long the capture is that the scenarios play; their pauses are as long.
const TONE_SECONDS: f64 = 2.0;

/// What lies between the two captures of a scenario that has two.
const PAUSE_SECONDS: f64 = 0.2;

/// Runs a scenario against an address to its end. `mode` is sipp's: `u1` for UDP, `t1` for TCP.
pub async fn plays(target: SocketAddr, scenario: &str, mode: &str) {
    let directory = tempfile::tempdir().unwrap();
    for (name, after) in [("tone.pcap", 0.0), ("more.pcap", TONE_SECONDS + PAUSE_SECONDS)] {
        let capture = capture::tone(after, TONE_SECONDS);
        std::fs::write(directory.path().join(name), capture).unwrap();
    }
    let scenario =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/scenarios").join(scenario);
    let media = free_address().port().to_string();
    let mut command = Command::new("sipp");
    command
        .arg(target.to_string())
        .arg("-sf")
        .arg(scenario)
        .args(["-s", DEVICE, "-m", "1", "-t", mode, "-i", "127.0.0.1", "-mi", "127.0.0.1"])
        .args(["-mp", &media, "-timeout", "30s", "-timeout_error", "-nostdin"])
        // What arrived instead of the expected goes to the log.
        .args(["-trace_err", "-error_file", "/dev/stderr"])
        .current_dir(directory.path());
    let mut sipp = Process::start("sipp", &mut command);
    let status = sipp.exited().await;
    assert!(status.success(), "sipp did not get what the scenario expects: {status}");
}

/// A gateway, registered at Kamailio, that sipp calls directly.
async fn call(scenario: &str, mode: &str) -> Heard {
    let mut kamailio = Kamailio::start(Challenge::default()).await;
    let mut lab = Lab::start("udp", &[kamailio.proxy("udp")], None).await;
    lab.expects_invite().await;
    plays(lab.sip_address(), scenario, mode).await;
    let heard = lab.call_over().await;
    lab.stop().await;
    kamailio.process.terminate().await;
    heard
}

fn assert_tone(heard: &Heard, seconds: f64) {
    let loud = heard.loud_seconds();
    assert!((seconds - 0.1..=seconds + 0.1).contains(&loud), "{loud} s of {seconds} s");
    assert!(heard.share(capture::FREQUENCY) > 0.9, "{}", heard.share(capture::FREQUENCY));
    assert_eq!(heard.sample_rate, 8000);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs sipp and Kamailio: make test-peers"]
async fn an_invite_with_an_offer() {
    assert_tone(&call("call.xml", "u1").await, TONE_SECONDS);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs sipp and Kamailio: make test-peers"]
async fn an_invite_without_an_offer_over_tcp() {
    assert_tone(&call("late_offer.xml", "t1").await, TONE_SECONDS);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs sipp and Kamailio: make test-peers"]
async fn hold_and_resume_by_reinvite() {
    assert_tone(&call("reinvite.xml", "u1").await, 2.0 * TONE_SECONDS);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs sipp and Kamailio: make test-peers"]
async fn a_session_timer_refreshed_by_update_and_reinvite() {
    assert_tone(&call("session_timer.xml", "u1").await, TONE_SECONDS);
}
