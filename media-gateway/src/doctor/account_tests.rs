use std::time::Duration;

use super::*;
use crate::ringcentral::{ExtensionRef, GroupPermission, OutboundProxy};

fn refused(status: u16, code: &str) -> Error {
    Error::Refused {
        request: "/device".into(),
        status,
        code: code.into(),
        message: String::new(),
        parameter: String::new(),
        request_id: "r-1".into(),
    }
}

/// What is wrong, and how it is mended.
fn failed(outcome: Outcome) -> (String, String) {
    match outcome {
        Outcome::Failed { what, mend } => (what, mend),
        other => panic!("{other:?}"),
    }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn phone(kind: &str, status: &str, extension: &str) -> Device {
    Device {
        id: "80".into(),
        kind: kind.into(),
        status: status.into(),
        extension: ExtensionRef { id: extension.into(), ..ExtensionRef::default() },
        ..Device::default()
    }
}

#[test]
fn a_refused_login_names_the_secret_to_change() {
    for (code, mend) in [
        ("OAU-146", "client_secret"),
        ("OAU-151", "JWT auth flow"),
        ("OAU-213", "make a new JWT"),
        ("OAU-999", "not suspended"),
    ] {
        let error = Error::Login { code: code.into(), message: "no".into() };
        let (what, step) = failed(login(&Err(error)));
        assert!(what.contains(code) && step.contains(mend), "{what}; {step}");
    }
}

#[test]
fn each_kind_of_refusal_has_a_step_of_its_own() {
    let limited = Error::RateLimited { retry_after: Duration::from_secs(60) };
    for (error, mend) in [
        (limited, "wait that long"),
        (refused(403, "CMN-408"), "add ReadPresence"),
        (refused(503, "CMN-201"), "status.ringcentral.com"),
        (refused(400, "CMN-101"), "request id"),
    ] {
        let (_, step) = failed(refusal(&error, "ReadPresence"));
        assert!(step.contains(mend), "{error}: {step}");
    }
}

#[test]
fn a_missing_permission_is_named_with_what_it_blocks() {
    let all =
        "CallControl ReadAccounts ReadPresence WebSocketsSubscriptions ReadCallLog EditExtensions";
    let held =
        |without: &str| Ok(all.split(' ').filter(|it| *it != without).map(str::to_owned).collect());
    assert!(matches!(permissions(&held("")), Outcome::Ok { .. }));
    let (what, mend) = failed(permissions(&held("CallControl")));
    assert!(what.contains("no call can be supervised"), "{what}");
    assert!(mend.contains("add CallControl in"), "{mend}");
    let Outcome::Warning { what, .. } = permissions(&held("WebSocketsSubscriptions")) else {
        panic!("calls are found without notifications, too")
    };
    assert!(what.contains("by polling"), "{what}");
    assert!(matches!(permissions(&Ok(Vec::new())), Outcome::Warning { .. }));
}

#[test]
fn a_device_must_be_an_existing_phone_of_the_login() {
    let own = [phone("OtherPhone", "Offline", "1"), phone("SoftPhone", "Online", "1")];
    let judge = |found: Device| device("80", &Ok(found), "1", &own);
    assert!(matches!(judge(phone("OtherPhone", "Offline", "1")), Outcome::Ok { .. }));
    let Outcome::Warning { mend, .. } = judge(phone("OtherPhone", "Online", "1")) else {
        panic!("something is registered")
    };
    assert!(mend.contains("stop the other phone"), "{mend}");
    for kind in ["SoftPhone", "HardPhone", "WebPhone", "Room", ""] {
        let (what, mend) = failed(judge(phone(kind, "Offline", "1")));
        assert!(what.contains("must be OtherPhone"), "{what}");
        assert!(mend.ends_with("the supervisor has 80"), "{mend}");
    }
    let (what, mend) = failed(judge(phone("OtherPhone", "Offline", "2")));
    assert!(what.contains("belongs to extension 2"), "{what}");
    assert!(mend.contains("make a JWT"), "{mend}");
    let (what, mend) = failed(device("81", &Err(refused(404, "CMN-102")), "1", &[]));
    assert!(what.contains("no device 81"), "{what}");
    assert!(mend.contains("Add Device > Existing Phone"), "{mend}");
}

#[test]
fn sip_settings_need_a_proxy_and_the_devices_own_authorization_id() {
    let info = |authorization_id: &str| {
        Ok(SipInfo {
            domain: "sip.ringcentral.com".into(),
            outbound_proxies: vec![OutboundProxy::default()],
            user_name: "1*102".into(),
            password: "hush".into(),
            authorization_id: authorization_id.into(),
        })
    };
    let proxies = strings(&["sip10.ringcentral.com:5096"]);
    assert!(matches!(sip_info("80", &info("80"), &proxies), Outcome::Ok { .. }));
    assert!(matches!(sip_info("80", &info("81"), &proxies), Outcome::Warning { .. }));
    assert!(failed(sip_info("80", &info("80"), &[])).1.contains("outbound_proxies"));
    let missing = sip_info("80", &Err(refused(404, "CMN-102")), &[]);
    assert!(failed(missing).1.contains("Set up manually using SIP"));
}

#[test]
fn agents_are_ids_of_enabled_extensions() {
    let extension = |id: &str, status: &str| Extension {
        id: id.into(),
        status: status.into(),
        ..Extension::default()
    };
    let all = Ok(vec![extension("1", "Enabled"), extension("2", "Disabled")]);
    assert!(matches!(agents(&strings(&["1"]), &all), Outcome::Ok { .. }));
    assert!(matches!(agents(&strings(&["1", "2"]), &all), Outcome::Warning { .. }));
    let (what, mend) = failed(agents(&strings(&["1", "108"]), &all));
    assert!(what.ends_with("id 108") && mend.contains("sidetone init"), "{what}; {mend}");
    let many: Vec<String> = (100..112).map(|id| id.to_string()).collect();
    assert!(failed(agents(&many, &all)).0.ends_with("109 and 2 more"));
}

#[test]
fn supervisor_and_agent_must_share_a_group_with_the_right_parts() {
    use GroupPermission::{Monitored, Monitoring};
    let member = |id: &str, permission| GroupMember {
        id: id.into(),
        permissions: vec![permission],
        ..GroupMember::default()
    };
    let agents = strings(&["7", "8"]);
    let both = vec![member("1", Monitoring), member("7", Monitored), member("8", Monitored)];
    assert!(matches!(monitoring("1", &agents, &Ok(vec![both.clone()])), Outcome::Ok { .. }));
    // In two groups, as long as the supervisor is in each.
    let split = vec![both[..2].to_vec(), vec![both[0].clone(), both[2].clone()]];
    assert!(matches!(monitoring("1", &agents, &Ok(split)), Outcome::Ok { .. }));
    let elsewhere = vec![both[..2].to_vec(), vec![both[2].clone()]];
    let (what, mend) = failed(monitoring("1", &agents, &Ok(elsewhere)));
    assert!(what.contains("may not monitor 8:"), "{what}");
    assert!(mend.contains("Groups > Call Monitoring"), "{mend}");
    let reversed = vec![vec![member("1", Monitored), member("7", Monitoring)]];
    for groups in [reversed, Vec::new()] {
        let (what, mend) = failed(monitoring("1", &agents, &Ok(groups)));
        assert!(what.contains("may monitor nobody"), "{what}");
        assert!(mend.contains("Can monitor"), "{mend}");
    }
    let (_, mend) = failed(monitoring("1", &agents, &Err(refused(403, "CMN-408"))));
    assert!(mend.contains("paid feature"), "{mend}");
}

#[test]
fn notifications_fail_by_permission_or_on_the_way() {
    let forbidden = NotificationError::Token(Box::new(refused(403, "CMN-408")));
    assert!(failed(notifications(&Err(forbidden))).1.contains("add WebSocketsSubscription"));
    assert!(failed(notifications(&Err(NotificationError::Timeout))).1.contains("port 443"));
    let tls =
        NotificationError::Tls { host: "ws.example".into(), source: std::io::Error::other("x") };
    assert!(failed(notifications(&Err(tls))).1.contains("ca-certificates"));
    assert!(matches!(notifications(&Ok(())), Outcome::Ok { .. }));
}
