//! The REST client against a simulated cloud: logins, limits, discovery, monitoring groups, refusals.

mod support;

use std::sync::Arc;
use std::time::Duration;

use media_gateway::ringcentral::{
    Assignment, BulkAssignment, Client, Credentials, Error, GroupPermission,
};
use simulator::{Account, Audio, Call, CallPlan, Fault, RateLimits, Simulator};
use support::AGENT;
use tokio::task::JoinSet;

const OTHER_AGENT: &str = "62226587017";
const LONG: Duration = Duration::from_secs(7199);

async fn start() -> (Simulator, Arc<Client>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let simulator = support::simulator().await;
    let account = Account::demo();
    let credentials = Credentials {
        client_id: account.client_id,
        client_secret: account.client_secret,
        jwt: account.jwt,
    };
    let client = Arc::new(Client::new(&simulator.rest_url(), credentials).unwrap());
    (simulator, client)
}

async fn call(simulator: &Simulator, agent: &str) -> Call {
    let silence = || Audio::from_samples(vec![0; 16_000], 16_000).unwrap();
    let plan = CallPlan::new(agent, silence(), silence());
    simulator.place_call(plan).await.unwrap()
}

#[tokio::test]
async fn fifty_requests_at_once_share_one_login() {
    let (simulator, client) = start().await;
    let mut requests = JoinSet::new();
    for _ in 0..50 {
        let client = client.clone();
        requests.spawn(async move { client.presence(AGENT).await });
    }
    while let Some(answered) = requests.join_next().await {
        answered.unwrap().unwrap();
    }
    let grants = simulator.controls().grants();
    assert_eq!((grants.logins, grants.refreshes), (1, 0));
}

#[tokio::test]
async fn a_token_is_refreshed_before_it_expires_and_replaced_when_it_is_revoked() {
    let (simulator, client) = start().await;
    let controls = simulator.controls();
    // Over before it is used for the first time.
    controls.set_tokens(Duration::ZERO, true);
    assert_eq!(client.owner().await.unwrap(), Account::demo().supervisor_extension_id);
    controls.set_tokens(LONG, true);
    client.presence(AGENT).await.unwrap();
    assert_eq!((controls.grants().logins, controls.grants().refreshes), (1, 1));
    // Revoked behind the client's back.
    controls.end_auth_sessions();
    client.presence(AGENT).await.unwrap();
    assert_eq!((controls.grants().logins, controls.grants().refreshes), (2, 1));
    // Only one retry.
    controls.inject(Fault::TokenRefused, 2);
    let error = client.presence(AGENT).await.unwrap_err();
    assert_eq!(error.code(), Some("OAU-213"));
}

#[tokio::test]
async fn without_a_refresh_token_the_jwt_is_presented_again() {
    let (simulator, client) = start().await;
    let controls = simulator.controls();
    controls.set_tokens(Duration::ZERO, false);
    client.owner().await.unwrap();
    controls.set_tokens(LONG, false);
    client.presence(AGENT).await.unwrap();
    assert_eq!((controls.grants().logins, controls.grants().refreshes), (2, 0));
}

#[tokio::test]
async fn a_spent_refresh_token_is_replaced_by_a_login() {
    let (simulator, client) = start().await;
    let controls = simulator.controls();
    controls.set_tokens(Duration::ZERO, true);
    client.owner().await.unwrap();
    controls.set_tokens(LONG, true);
    controls.end_auth_sessions();
    client.presence(AGENT).await.unwrap();
    assert_eq!((controls.grants().logins, controls.grants().refreshes), (2, 0));
}

#[tokio::test]
async fn a_revoked_login_is_made_again_when_needed() {
    let (simulator, client) = start().await;
    client.presence(AGENT).await.unwrap();
    client.revoke().await.unwrap();
    client.revoke().await.unwrap();
    client.presence(AGENT).await.unwrap();
    assert_eq!(simulator.controls().grants().logins, 2);
}

#[tokio::test]
async fn a_429_stops_its_group_and_no_other() {
    let (simulator, client) = start().await;
    let controls = simulator.controls();
    client.presence(AGENT).await.unwrap();
    controls.inject(Fault::RateLimited, 1);
    let limited = client.presence(AGENT).await.unwrap_err();
    let minute = Duration::from_secs(60);
    assert!(matches!(limited, Error::RateLimited { retry_after } if retry_after == minute));
    let before = controls.requests();
    for _ in 0..20 {
        let limited = client.session("s-1").await.unwrap_err();
        assert!(matches!(limited, Error::RateLimited { .. }), "{limited:?}");
    }
    assert_eq!(controls.requests(), before, "nothing is sent during the penalty");
    assert_eq!(client.monitoring_groups(None).await.unwrap().len(), 1);
    client.account_presence().await.unwrap();
}

#[tokio::test]
async fn a_limit_without_a_word_is_waited_for_half_a_minute() {
    let (simulator, client) = start().await;
    client.owner().await.unwrap();
    simulator.controls().inject(Fault::ServiceLimited, 1);
    let limited = client.presence(AGENT).await.unwrap_err();
    let pause = Duration::from_secs(30);
    assert!(matches!(limited, Error::RateLimited { retry_after } if retry_after == pause));
}

#[tokio::test]
async fn a_burst_stays_within_the_documented_limits() {
    let (simulator, client) = start().await;
    let controls = simulator.controls();
    controls.set_rate_limits(RateLimits::documented());
    client.owner().await.unwrap();
    let before = controls.requests();
    let mut requests = JoinSet::new();
    for _ in 0..80 {
        let client = client.clone();
        requests.spawn(async move { client.presence(AGENT).await });
    }
    let (mut answered, mut held_back) = (0, 0);
    while let Some(request) = requests.join_next().await {
        match request.unwrap() {
            Ok(_) => answered += 1,
            Err(Error::RateLimited { .. }) => held_back += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((answered, held_back), (50, 30));
    assert_eq!(controls.requests() - before, 50, "no request was sent in vain");
}

#[tokio::test]
async fn the_account_is_explored() {
    let (simulator, client) = start().await;
    let account = Account::demo();
    let own = client.extension("~").await.unwrap();
    assert_eq!((own.id.as_str(), own.extension_number.as_str()), ("809646016", "102"));
    let [device] = client.devices("~").await.unwrap().try_into().unwrap();
    assert_eq!(device.id, account.supervisor_device_id);
    assert_eq!((device.kind.as_str(), device.status.as_str()), ("OtherPhone", "Offline"));
    assert_eq!(device.extension.id, own.id, "a number there, a string here");
    assert_eq!(client.device(&device.id).await.unwrap(), device);
    assert_eq!(client.sip_info(&device.id).await.unwrap().authorization_id, device.id);
    let agent = client.extension_by_number("108").await.unwrap().unwrap();
    assert_eq!((agent.id.as_str(), agent.status.as_str()), (AGENT, "Enabled"));
    assert_eq!(client.extension(AGENT).await.unwrap(), agent);
    assert_eq!(client.extension_by_number("999").await.unwrap(), None);
    assert_eq!(client.extensions().await.unwrap().len(), 3);
    assert!(client.extension("1").await.unwrap_err().is_not_found());

    let call = call(&simulator, AGENT).await;
    let presence = client.account_presence().await.unwrap();
    let of_agent = presence.iter().find(|it| it.extension.id == AGENT).unwrap();
    let calls = &of_agent.presence.active_calls;
    assert_eq!(calls[0].telephony_session_id, call.telephony_session_id());
    // The call log is late.
    assert_eq!(client.active_calls(None).await.unwrap(), []);
    assert_eq!(client.active_calls(Some(AGENT)).await.unwrap(), []);
}

#[tokio::test]
async fn groups_decide_who_may_be_supervised() {
    let (simulator, client) = start().await;
    let account = Account::demo();
    let call = call(&simulator, OTHER_AGENT).await;
    let session = call.telephony_session_id();
    let device = &account.supervisor_device_id;
    let refusal = async || {
        let error = client.supervise_session(session, device, OTHER_AGENT).await.unwrap_err();
        error.code().unwrap_or_default().to_owned()
    };
    assert_eq!(refusal().await, "MBW-002");

    let group = client.create_monitoring_group("Support").await.unwrap();
    client.rename_monitoring_group(&group.id, "Support, night").await.unwrap();
    let assignment = |id: &str, permissions: &[GroupPermission]| Assignment {
        id: id.to_owned(),
        permissions: permissions.to_vec(),
    };
    use GroupPermission::{Monitored, Monitoring};
    let change = BulkAssignment {
        added: vec![
            assignment(&account.supervisor_extension_id, &[Monitoring]),
            assignment(OTHER_AGENT, &[Monitored, Monitoring]),
        ],
        ..BulkAssignment::default()
    };
    client.assign_monitoring_group(&group.id, &change).await.unwrap();
    assert_eq!(refusal().await, "TAS-120", "allowed now, but for the device");

    let members = client.monitoring_group_members(&group.id).await.unwrap();
    let other = members.iter().find(|member| member.id == OTHER_AGENT).unwrap();
    assert!(other.is_monitored() && other.is_monitoring());
    assert_eq!(other.extension_number, "109");
    let of_other = client.monitoring_groups(Some(OTHER_AGENT)).await.unwrap();
    assert_eq!(of_other.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["Support, night"]);

    let change = BulkAssignment {
        updated: vec![assignment(OTHER_AGENT, &[Monitoring])],
        removed: vec![account.supervisor_extension_id.clone()],
        ..BulkAssignment::default()
    };
    client.assign_monitoring_group(&group.id, &change).await.unwrap();
    assert_eq!(refusal().await, "MBW-002");
    client.delete_monitoring_group(&group.id).await.unwrap();
    assert!(client.delete_monitoring_group(&group.id).await.unwrap_err().is_not_found());
    assert_eq!(client.monitoring_groups(None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn every_refusal_of_a_supervise_request_is_read() {
    let (simulator, client) = start().await;
    let call = call(&simulator, AGENT).await;
    let device = Account::demo().supervisor_device_id;
    for (fault, status, code) in [
        (Fault::WrongState, 400, "TAS-102"),
        (Fault::DeviceNotRegistered, 400, "TAS-120"),
        (Fault::UnknownAgent, 404, "CMN-102"),
        (Fault::NotPermitted, 403, "MBW-002"),
        (Fault::NotConnected, 403, "MBW-005"),
        (Fault::AlreadySupervised, 409, "TAS-409"),
        (Fault::Unavailable, 503, "CMN-201"),
    ] {
        simulator.controls().inject(fault, 1);
        let session = call.telephony_session_id();
        let error = client.supervise_session(session, &device, AGENT).await.unwrap_err();
        let Error::Refused { status: given, code: named, request_id, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!((*given, named.as_str()), (status, code), "{fault}");
        assert!(request_id.starts_with("simulated-"), "{request_id}");
    }
}
