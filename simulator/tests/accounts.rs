//! Several accounts in one cloud, at one address: each sees its own and nothing else.

mod support;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use simulator::{Account, Call, CallPlan, Codec, RateLimits, Simulator, SimulatorConfig};
use std::net::Ipv4Addr;
use support::{client, tone};

const ACCOUNTS: usize = 3;
const AGENTS: usize = 2;

fn account(number: usize) -> Account {
    Account::numbered(number, AGENTS)
}

async fn start() -> Vec<Simulator> {
    let config = SimulatorConfig {
        rest_listen: (Ipv4Addr::LOCALHOST, 0).into(),
        sip_listen: (Ipv4Addr::LOCALHOST, 0).into(),
        account: account(0),
        seed: 1,
    };
    let others = (1..ACCOUNTS).map(account).collect();
    Simulator::start_accounts(config, others).await.unwrap()
}

async fn login(url: &str, client_of: &Account, jwt_of: &Account) -> (StatusCode, Value) {
    let response = client()
        .post(format!("{url}/restapi/oauth/token"))
        .basic_auth(&client_of.client_id, Some(&client_of.client_secret))
        .form(&[
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", jwt_of.jwt.as_str()),
        ])
        .send()
        .await
        .unwrap();
    (response.status(), response.json().await.unwrap())
}

async fn token(url: &str, account: &Account) -> String {
    let (status, body) = login(url, account, account).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(body["owner_id"], account.supervisor_extension_id.as_str());
    body["access_token"].as_str().unwrap().to_owned()
}

async fn request(url: &str, token: &str, method: Method, path: &str, body: Value) -> (u16, Value) {
    let request = client().request(method, format!("{url}/restapi/v1.0/account/~{path}"));
    let response = request.bearer_auth(token).json(&body).send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap_or(Value::Null))
}

async fn call(simulator: &Simulator, number: usize) -> Call {
    let plan = CallPlan {
        codec: Codec::Pcmu,
        ..CallPlan::new(&account(number).agents[0].extension_id, tone(440.0, 50), tone(1000.0, 50))
    };
    simulator.place_call(plan).await.unwrap()
}

#[tokio::test]
async fn every_account_has_its_own_tokens_people_and_calls() {
    let simulators = start().await;
    let url = simulators[0].rest_url();
    let mut calls = Vec::new();
    for (number, simulator) in simulators.iter().enumerate() {
        assert_eq!(
            (simulator.rest_url(), simulator.sip_address()),
            (url.clone(), simulators[0].sip_address())
        );
        calls.push(call(simulator, number).await);
    }
    for number in 0..ACCOUNTS {
        let token = token(&url, &account(number)).await;
        for (other, call) in calls.iter().enumerate() {
            let is_own = other == number;
            let session = format!("/telephony/sessions/{}", call.telephony_session_id());
            let agent = &account(other).agents[0].extension_id;
            let device = account(other).supervisor_device_id;
            for path in [
                session.clone(),
                format!("/extension/{agent}/presence"),
                format!("/device/{device}/sip-info"),
            ] {
                let (status, body) = request(&url, &token, Method::GET, &path, json!({})).await;
                assert_eq!(status, if is_own { 200 } else { 404 }, "{number}: {path} {body}");
            }
            // In its own account it is the device that is missing.
            let body = json!({ "mode": "Listen", "supervisorDeviceId": device, "agentExtensionId": agent });
            let path = format!("{session}/supervise");
            let (_, refusal) = request(&url, &token, Method::POST, &path, body).await;
            let code = if is_own { "TAS-120" } else { "CMN-102" };
            assert_eq!(refusal["errorCode"], code, "{number}: {path}");
        }
    }
    for simulator in simulators {
        simulator.shutdown().await;
    }
}

#[tokio::test]
async fn credentials_of_one_account_open_no_other() {
    let simulators = start().await;
    let url = simulators[0].rest_url();
    let (status, _) = login(&url, &account(1), &account(2)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let stranger = Account { client_id: "nobody".into(), ..account(1) };
    let (status, _) = login(&url, &stranger, &account(1)).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let own = token(&url, &account(1)).await;
    // Ends the logins of the others only.
    simulators[0].controls().end_auth_sessions();
    simulators[2].controls().end_auth_sessions();
    assert_eq!(request(&url, &own, Method::GET, "/extension/~", json!({})).await.0, 200);
    simulators[1].controls().end_auth_sessions();
    assert_eq!(request(&url, &own, Method::GET, "/extension/~", json!({})).await.0, 401);
}

#[tokio::test]
async fn limits_are_counted_by_account() {
    let simulators = start().await;
    let url = simulators[0].rest_url();
    let limits = RateLimits { light: 1, ..RateLimits::default() };
    simulators[1].controls().set_rate_limits(limits);
    let [one, other] = [1, 2].map(account);
    let (one, other) = (token(&url, &one).await, token(&url, &other).await);
    for (token, statuses) in [(&one, [200, 429]), (&other, [200, 200])] {
        for status in statuses {
            let answer = request(&url, token, Method::GET, "/extension/~", json!({})).await;
            assert_eq!(answer.0, status);
        }
    }
}

#[tokio::test]
async fn the_cloud_lives_until_the_last_of_its_accounts_is_shut_down() {
    let mut simulators = start().await;
    let url = simulators[0].rest_url();
    let last = simulators.pop().unwrap();
    for simulator in simulators {
        simulator.shutdown().await;
    }
    token(&url, &account(ACCOUNTS - 1)).await;
    last.shutdown().await;
    let gone = client().get(url).send().await;
    assert!(gone.is_err(), "{gone:?}");
}

#[tokio::test]
async fn the_presence_of_several_extensions_is_one_request() {
    let simulators = start().await;
    let url = simulators[0].rest_url();
    let token = token(&url, &account(0)).await;
    let call = call(&simulators[0], 0).await;
    let [one, other] = [0, 1].map(|agent| account(0).agents[agent].extension_id.clone());
    let ask = async |ids: String, form: &str| {
        let path = "presence?detailedTelephonyState=true";
        let url = format!("{url}/restapi/v1.0/account/~/extension/{ids}/{path}");
        let request = client().get(url).bearer_auth(&token).header("Accept", form);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let form = "application/vnd.ringcentral.multipart+json";
    let (status, parts) = ask(format!("{one},404,{other}"), form).await;
    assert_eq!(status, 207);
    let statuses: Vec<(&Value, &Value)> = parts
        .as_array()
        .unwrap()
        .iter()
        .map(|part| (&part["resourceId"], &part["status"]))
        .collect();
    assert_eq!(
        statuses,
        [(&json!(one), &json!(200)), (&json!("404"), &json!(404)), (&json!(other), &json!(200))]
    );
    let calls = &parts[0]["body"]["activeCalls"];
    assert_eq!(calls[0]["telephonySessionId"], call.telephony_session_id());
    let many = vec![one.as_str(); 31].join(",");
    assert_eq!(ask(many, form).await.0, 400);
    assert_eq!(ask(format!("{one},{other}"), "application/json").await.0, 400);
}
