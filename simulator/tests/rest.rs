//! What REST refuses, and with which code.

mod support;

use reqwest::Method;
use serde_json::{Value, json};
use simulator::{Account, CallPlan, Codec, Fault, RateLimits, Shape};
use support::{Device, Manner, Rest, Transport, client, plan, start};

#[tokio::test]
async fn the_token_request_checks_client_grant_and_jwt() {
    let simulator = start(1).await;
    let account = Account::demo();
    let url = format!("{}/restapi/oauth/token", simulator.rest_url());
    let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    let (secret, jwt) = (account.client_secret.as_str(), account.jwt.as_str());
    for (secret, form, status, code) in [
        ("wrong", vec![("grant_type", grant), ("assertion", jwt)], 401, "OAU-146"),
        (secret, vec![("grant_type", "password"), ("assertion", jwt)], 400, "OAU-151"),
        (secret, vec![("assertion", jwt)], 400, "OAU-151"),
        (secret, vec![("grant_type", grant), ("assertion", "wrong")], 400, "OAU-213"),
        (secret, vec![("grant_type", grant)], 400, "OAU-213"),
        (secret, vec![("grant_type", "refresh_token")], 400, "OAU-213"),
        (secret, vec![("grant_type", "refresh_token"), ("refresh_token", "x")], 400, "OAU-213"),
    ] {
        let request = client().post(&url).basic_auth(&account.client_id, Some(secret)).form(&form);
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{form:?}");
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["errorCode"], code, "{form:?}");
        assert!(body["error"].is_string());
    }
    let anonymous = client().post(&url).form(&[("grant_type", grant)]).send().await.unwrap();
    assert_eq!(anonymous.status().as_u16(), 401);
}

#[tokio::test]
async fn every_path_needs_a_token() {
    let simulator = start(1).await;
    let session = "/telephony/sessions/s-1";
    for (method, path) in [
        (Method::GET, "/extension/1/presence".to_owned()),
        (Method::GET, "/device/1/sip-info".to_owned()),
        (Method::GET, "/device/1".to_owned()),
        (Method::GET, "/extension".to_owned()),
        (Method::GET, "/extension/1".to_owned()),
        (Method::GET, "/extension/1/device".to_owned()),
        (Method::GET, "/extension/1/active-calls".to_owned()),
        (Method::GET, "/active-calls".to_owned()),
        (Method::GET, "/presence".to_owned()),
        (Method::GET, "/call-monitoring-groups".to_owned()),
        (Method::POST, "/call-monitoring-groups".to_owned()),
        (Method::PUT, "/call-monitoring-groups/1".to_owned()),
        (Method::DELETE, "/call-monitoring-groups/1".to_owned()),
        (Method::GET, "/call-monitoring-groups/1/members".to_owned()),
        (Method::POST, "/call-monitoring-groups/1/bulk-assign".to_owned()),
        (Method::GET, session.to_owned()),
        (Method::GET, format!("{session}/parties/p-1")),
        (Method::DELETE, format!("{session}/parties/p-1")),
        (Method::POST, format!("{session}/supervise")),
        (Method::POST, format!("{session}/parties/p-1/supervise")),
    ] {
        let url = format!("{}/restapi/v1.0/account/~{path}", simulator.rest_url());
        for (token, code) in [(None, "OAU-149"), (Some("SIM0"), "OAU-213")] {
            let mut request = client().request(method.clone(), &url);
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let response = request.send().await.unwrap();
            assert_eq!(response.status().as_u16(), 401, "{method} {path}");
            assert!(response.headers().contains_key("RCRequestId"));
            let body: Value = response.json().await.unwrap();
            assert_eq!(body["errorCode"], code, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn supervise_requests_are_refused_with_the_documented_codes() {
    let simulator = start(1).await;
    let rest = Rest::login(&simulator).await;
    let account = Account::demo();
    let call = simulator.place_call(plan(Shape::TwoLegs, Codec::Opus, 20)).await.unwrap();
    let [customer, _] = rest.parties(&call).await;
    let unmonitored = simulator
        .place_call(CallPlan {
            agent_extension_id: account.agents[1].extension_id.clone(),
            ..plan(Shape::TwoLegs, Codec::Opus, 20)
        })
        .await
        .unwrap();
    let session = |id: &str| format!("/telephony/sessions/{id}/supervise");
    let party = |id: &str| {
        format!("/telephony/sessions/{}/parties/{id}/supervise", call.telephony_session_id())
    };
    let here = session(call.telephony_session_id());
    let device = account.supervisor_device_id.as_str();
    let [agent, other] = [0, 1].map(|n| account.agents[n].extension_id.as_str());
    let request = |mode: &str, device: &str, agent: &str| json!({"mode": mode, "supervisorDeviceId": device, "agentExtensionId": agent});
    let good = request("Listen", device, agent);
    let by_number = json!({
        "mode": "Listen",
        "supervisorDeviceId": device,
        "agentExtensionNumber": account.agents[0].extension_number,
    });
    let elsewhere = session(unmonitored.telephony_session_id());
    let table = [
        (session("s-unknown"), good.clone(), 404, "CMN-102"),
        (party("p-unknown"), good.clone(), 404, "CMN-102"),
        (here.clone(), json!("not an object"), 400, "CMN-101"),
        (here.clone(), json!({}), 400, "CMN-101"),
        (here.clone(), request("Whisper", device, agent), 400, "CMN-101"),
        (here.clone(), request("Listen", "1", agent), 404, "CMN-102"),
        (here.clone(), request("Listen", device, other), 404, "CMN-102"),
        (here.clone(), json!({"mode": "Listen", "supervisorDeviceId": device}), 400, "CMN-101"),
        // Only the session request takes a number for an id.
        (party(&customer), by_number.clone(), 400, "CMN-101"),
        (here.clone(), by_number, 400, "TAS-120"),
        (here.clone(), good.clone(), 400, "TAS-120"),
        (party(&customer), good.clone(), 400, "TAS-120"),
        (elsewhere, request("Listen", device, other), 403, "MBW-002"),
    ];
    for (path, body, status, code) in table {
        let (given, answer) = rest.request(Method::POST, &path, &body).await;
        assert_eq!((given, &answer["errorCode"]), (status, &json!(code)), "{path} {body}");
        assert_eq!(answer["errors"][0]["errorCode"], code);
    }

    // Once the call is over, being registered does not help.
    let _device = Device::register(&simulator, Transport::Tcp, Manner::Answer).await;
    simulator.registered().await;
    call.hang_up().await;
    call.finished().await;
    let (status, answer) = rest.request(Method::POST, &here, &good).await;
    assert_eq!((status, &answer["errorCode"]), (400, &json!("TAS-102")));
}

#[tokio::test]
async fn unknown_resources_are_named() {
    let simulator = start(1).await;
    let rest = Rest::login(&simulator).await;
    for (path, parameter) in [
        ("/telephony/sessions/s-1", "telephonySessionId"),
        ("/telephony/sessions/s-1/parties/p-1", "telephonySessionId"),
        ("/extension/1/presence", "extensionId"),
        ("/device/1/sip-info", "deviceId"),
        ("/device/1", "deviceId"),
        ("/extension/1", "extensionId"),
        ("/extension/1/device", "extensionId"),
        ("/extension/1/active-calls", "extensionId"),
        ("/call-monitoring-groups/1/members", "groupId"),
    ] {
        let (status, body) = rest.get(path).await;
        assert_eq!((status, &body["errorCode"]), (404, &json!("CMN-102")), "{path}");
        assert_eq!(body["errors"][0]["parameterName"], parameter, "{path}");
    }
}

#[tokio::test]
async fn sip_info_and_session_have_the_documented_fields() {
    let simulator = start(1).await;
    let rest = Rest::login(&simulator).await;
    let account = Account::demo();
    let path = format!("/device/{}/sip-info", account.supervisor_device_id);
    let (_, info) = rest.get(&path).await;
    assert_eq!(info["authorizationId"], account.supervisor_device_id);
    assert_eq!(info["userName"], account.sip_user_name);
    assert_eq!(info["outboundProxies"][0]["proxy"], simulator.sip_address().to_string());

    let call = simulator.place_call(plan(Shape::TwoLegs, Codec::Opus, 20)).await.unwrap();
    let session = rest.session(&call).await;
    let parties = session["parties"].as_array().unwrap();
    let agent = &account.agents[0].extension_id;
    // The trap: both parties go to the agent, but only one of them is the agent.
    assert!(parties.iter().all(|party| party["to"]["extensionId"] == agent.as_str()));
    let own: Vec<bool> =
        parties.iter().map(|party| party["extensionId"] == agent.as_str()).collect();
    assert_eq!(own, [false, true]);
    assert!(parties.iter().all(|party| party["status"]["code"] == "Answered"));
}

#[tokio::test]
async fn limits_are_told_and_a_request_too_many_is_refused() {
    let simulator = start(1).await;
    let rest = Rest::login(&simulator).await;
    simulator.controls().set_rate_limits(RateLimits { heavy: 2, ..RateLimits::documented() });
    for (status, remaining) in [(200, "1"), (200, "0"), (429, "0")] {
        let response = rest.response("/presence").await;
        assert_eq!(response.status().as_u16(), status);
        let header = |name: &str| response.headers().get(name).map(|it| it.to_str().unwrap());
        assert_eq!(header("X-Rate-Limit-Group"), Some("heavy"));
        assert_eq!(header("X-Rate-Limit-Limit"), Some("2"));
        assert_eq!(header("X-Rate-Limit-Remaining"), Some(remaining));
        assert_eq!(header("X-Rate-Limit-Window"), Some("60"));
        assert_eq!(header("Retry-After"), (status == 429).then_some("60"));
    }
    let (status, _) = rest.get("/call-monitoring-groups").await;
    assert_eq!(status, 200, "the other groups go on");
    simulator.controls().inject(Fault::ServiceLimited, 1);
    let response = rest.response("/call-monitoring-groups").await;
    assert_eq!(response.status().as_u16(), 429);
    assert!(!response.headers().contains_key("Retry-After"));
}

#[tokio::test]
async fn group_changes_are_checked_as_a_whole() {
    let simulator = start(1).await;
    let rest = Rest::login(&simulator).await;
    let (_, groups) = rest.get("/call-monitoring-groups").await;
    let group = groups["records"][0]["id"].as_str().unwrap().to_owned();
    let members = format!("/call-monitoring-groups/{group}/members");
    let before = rest.get(&members).await.1["records"].clone();
    let [agent, other] = [0, 1].map(|n| Account::demo().agents[n].extension_id.clone());
    let monitored = json!(["Monitored"]);
    let good = json!({"id": other, "permissions": monitored});
    for change in [
        json!({"addedExtensions": [good, {"id": agent, "permissions": monitored}]}),
        json!({"addedExtensions": [good, {"id": "1", "permissions": monitored}]}),
        json!({"addedExtensions": [{"id": other, "permissions": []}]}),
        json!({"addedExtensions": [{"id": other, "permissions": ["Whispering"]}]}),
        json!({"updatedExtensions": [good]}),
        json!({"removedExtensions": [{"id": other}]}),
        json!("nothing of the kind"),
    ] {
        let path = format!("/call-monitoring-groups/{group}/bulk-assign");
        let (status, body) = rest.request(Method::POST, &path, &change).await;
        assert_eq!((status, &body["errorCode"]), (400, &json!("CMN-101")), "{change}");
    }
    assert_eq!(rest.get(&members).await.1["records"], before);
    for name in ["", "  ", &"x".repeat(101)] {
        let body = json!({"name": name});
        let (status, _) = rest.request(Method::POST, "/call-monitoring-groups", &body).await;
        assert_eq!(status, 400);
    }
}
