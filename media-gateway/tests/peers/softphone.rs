//! RingCentral's own SIP client against the simulator: what it takes for RingCentral's cloud is one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use simulator::{Account, Audio, CallPlan, Codec, Hears, Outcome, Shape};
use tokio::process::Command;

use super::capture;
use super::downstream::Heard;
use super::process::{Process, within};
use super::support::{self, AGENT};

/// Of the tone that the customer is.
const FREQUENCY: f64 = capture::FREQUENCY;

/// Where `make test-peers` installs the package.
fn installed() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers/softphone");
    std::env::var_os("SOFTPHONE").map_or_else(default, PathBuf::from)
}

/// Starts the softphone, which trusts `authority` and registers at `proxy`.
fn softphone(proxy: SocketAddr, authority: &Path) -> Process {
    let driver = installed().join("driver.mjs");
    std::fs::write(&driver, include_str!("softphone/driver.mjs")).unwrap_or_else(|error| {
        panic!("the softphone is not installed ({error}); run: make test-peers")
    });
    let account = Account::demo();
    let account = json!({
        "domain": account.sip_domain,
        "outboundProxy": proxy.to_string(),
        "username": account.sip_user_name,
        "password": account.sip_password,
        "authorizationId": account.supervisor_device_id,
    });
    let mut command = Command::new("node");
    command
        .arg(driver)
        .env("SIP_ACCOUNT", account.to_string())
        .env("NODE_EXTRA_CA_CERTS", authority);
    Process::start("softphone", &mut command)
}

/// Asks the cloud to let the device listen to a call.
async fn supervise(server: &str, session: &str) -> Value {
    let account = Account::demo();
    let client = reqwest::Client::new();
    let login = client
        .post(format!("{server}/restapi/oauth/token"))
        .basic_auth(&account.client_id, Some(&account.client_secret))
        .form(&[
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", &account.jwt),
        ]);
    let login: Value = login.send().await.unwrap().json().await.unwrap();
    let request = client
        .post(format!("{server}/restapi/v1.0/account/~/telephony/sessions/{session}/supervise"))
        .bearer_auth(login["access_token"].as_str().unwrap())
        .json(&json!({
            "mode": "Listen",
            "supervisorDeviceId": account.supervisor_device_id,
            "agentExtensionId": AGENT,
        }));
    request.send().await.unwrap().json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs node and ringcentral-softphone: make test-peers"]
async fn the_vendors_softphone_registers_answers_and_hears() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let simulator = support::simulator().await;
    let directory = tempfile::tempdir().unwrap();
    let authority = directory.path().join("ca.pem");
    std::fs::write(&authority, simulator.authority_pem()).unwrap();
    let mut softphone = softphone(simulator.sip_tls_address(), &authority);
    softphone.logged("registered", 1).await;
    within("the simulator knows the device", simulator.registered()).await;

    let silence = Audio::silence(std::time::Duration::from_secs(30));
    let plan = CallPlan {
        shape: Shape::Mixed,
        codec: Codec::Pcmu,
        ..CallPlan::new(AGENT, support::tone(FREQUENCY, 30), silence)
    };
    let call = simulator.place_call(plan).await.unwrap();
    let party = supervise(&simulator.rest_url(), call.telephony_session_id()).await;
    let party = party["id"].as_str().unwrap_or_else(|| panic!("refused: {party}"));
    softphone.logged(&format!("answered party-id={party}"), 1).await;
    let heard = softphone.line("heard ").await;
    softphone.logged("hung up", 1).await;
    call.hang_up().await;
    let report = within("the call is over", call.report()).await.unwrap();
    softphone.terminate().await;

    // What it decrypted is the customer's tone, and what it encrypted was authentic.
    let pcm = mu_law(&heard);
    let heard = Heard { sample_rate: 8000, pcm };
    assert!(heard.share(FREQUENCY) > 0.9, "{}", heard.share(FREQUENCY));
    let [leg] = report.legs.as_slice() else { panic!("{report:?}") };
    assert_eq!((leg.hears, leg.outcome), (Hears::Everyone, Outcome::Answered));
    assert!(leg.packets_sent >= 50 && leg.packets_received >= 10, "{leg:?}");
    simulator.shutdown().await;
}

/// G.711 in base64.
fn mu_law(text: &str) -> Vec<i16> {
    use base64::Engine;
    let codes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    let expand = |code: u8| {
        let code = !code;
        let magnitude = ((i32::from(code & 0x0f) << 3) + 0x84) << (code >> 4 & 7);
        (if code & 0x80 != 0 { 0x84 - magnitude } else { magnitude - 0x84 }) as i16
    };
    codes.into_iter().map(expand).collect()
}
