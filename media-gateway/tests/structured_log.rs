//! The log of a running gateway as programs read it: every line is JSON, and says which call and which party it is about.

mod support;

use std::io::Read;
use std::process::{Command, Stdio};

use serde_json::Value;
use simulator::{CallPlan, Codec};
use support::{AGENT, Downstream, PATIENCE, serve, tone};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn every_line_is_json_and_those_about_a_leg_name_call_and_party() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let simulator = support::simulator().await;
    let downstream = Downstream::default();
    let address = serve(downstream.clone()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, support::config(&simulator, address, "", "")).unwrap();
    let mut gateway = Command::new(env!("CARGO_BIN_EXE_media-gateway"))
        .arg("--config")
        .arg(&file)
        .env("RUST_LOG", "info")
        .env("SIDETONE_LOG_FORMAT", "json")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = gateway.stderr.take().unwrap();
    let log = spawn_blocking(move || {
        let mut text = String::new();
        log.read_to_string(&mut text).map(|_| text)
    });
    timeout(PATIENCE, simulator.registered()).await.expect("registered");
    let plan =
        CallPlan { codec: Codec::Pcmu, ..CallPlan::new(AGENT, tone(440.0, 1), tone(1100.0, 1)) };
    let call = simulator.place_call(plan).await.unwrap();
    timeout(PATIENCE, call.finished()).await.expect("the call finishes");
    timeout(PATIENCE, downstream.ended.notified()).await.expect("call ended");
    let terminated = Command::new("kill").arg(gateway.id().to_string()).status().unwrap();
    assert!(terminated.success());
    let log = timeout(PATIENCE, log).await.expect("the gateway ends").unwrap().unwrap();
    assert!(gateway.wait().unwrap().success());

    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    for line in &lines {
        for name in ["timestamp", "level", "target", "message"] {
            assert!(line[name].is_string(), "{name} is missing in {line}");
        }
    }
    let parties: Vec<String> = downstream.parties.lock().unwrap().keys().cloned().collect();
    assert_eq!(parties.len(), 2);
    for party in &parties {
        for message in
            ["media stream started", "streaming to the transcriber", "media stream ended"]
        {
            let is_it = |line: &&Value| line["message"] == message && line["party"] == **party;
            let line = lines.iter().find(is_it);
            let line = line.unwrap_or_else(|| panic!("{message}, about {party}: {log}"));
            assert_eq!(line["call"], call.telephony_session_id(), "{line}");
        }
    }
    simulator.shutdown().await;
}

#[test]
fn a_form_that_is_none_is_refused() {
    let gateway = Command::new(env!("CARGO_BIN_EXE_media-gateway"))
        .args(["--config", "nowhere.toml"])
        .env("SIDETONE_LOG_FORMAT", "xml")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&gateway.stderr).into_owned();
    assert_eq!(gateway.status.code(), Some(64), "{said}");
    assert!(said.contains("SIDETONE_LOG_FORMAT") && said.contains("json"), "{said}");
}
