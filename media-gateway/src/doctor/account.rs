//! What RingCentral's answers about the account mean.

use crate::ringcentral::{Device, Error, Extension, GroupMember, NotificationError, SipInfo};

use super::Outcome;

/// Where the app's permissions are.
const APP_SETTINGS: &str = "developers.ringcentral.com > Console > Apps > (the app) > Settings";

/// Ids named in one sentence; of more, the count says.
const NAMED: usize = 10;

/// A permission of the app, how else it is spelled, whether nothing works without it, and what needs it.
struct Permission {
    name: &'static str,
    alias: &'static str,
    is_required: bool,
    blocks: &'static str,
}

const PERMISSIONS: [Permission; 6] = [
    Permission {
        name: "CallControl",
        alias: "",
        is_required: true,
        blocks: "no call can be supervised",
    },
    Permission {
        name: "ReadAccounts",
        alias: "",
        is_required: true,
        blocks: "the device, the agents and the monitoring groups can't be read",
    },
    Permission {
        name: "ReadPresence",
        alias: "",
        is_required: true,
        blocks: "calls that run already can't be found",
    },
    Permission {
        name: "WebSocketsSubscription",
        alias: "WebSocketsSubscriptions",
        is_required: false,
        blocks: "calls are found late, by polling",
    },
    Permission {
        name: "ReadCallLog",
        alias: "",
        is_required: false,
        blocks: "open calls can't be read from the call log",
    },
    Permission {
        name: "EditExtensions",
        alias: "",
        is_required: false,
        blocks: "monitoring groups can't be changed from here",
    },
];

/// Whose login it is.
pub(super) fn login(owner: &Result<String, Error>) -> Outcome {
    match owner {
        Ok(owner) => Outcome::ok(format!("logged in as extension {owner}")),
        Err(error) => refusal(error, "ReadAccounts"),
    }
}

/// The app's permissions.
pub(super) fn permissions(held: &Result<Vec<String>, Error>) -> Outcome {
    let held = match held {
        Ok(held) => held,
        Err(error) => return refusal(error, "ReadAccounts"),
    };
    if held.is_empty() {
        return Outcome::warning(
            "RingCentral does not tell the app's permissions",
            format!("check in {APP_SETTINGS} that it has {}", names(|_| true)),
        );
    }
    let is_held = |it: &Permission| held.iter().any(|name| name == it.name || name == it.alias);
    let missing: Vec<&Permission> = PERMISSIONS.iter().filter(|it| !is_held(it)).collect();
    if missing.is_empty() {
        return Outcome::ok("the app has every permission that is of use");
    }
    let list: Vec<String> =
        missing.iter().map(|it| format!("{} ({})", it.name, it.blocks)).collect();
    let what = format!("the app lacks {}", list.join(", "));
    let mend = format!(
        "add {} in {APP_SETTINGS} > Security and permissions > Application scopes, save, and run this again",
        names(|it| !is_held(it))
    );
    match missing.iter().any(|it| it.is_required) {
        true => Outcome::failed(what, mend),
        false => Outcome::warning(what, mend),
    }
}

fn names(of: impl Fn(&Permission) -> bool) -> String {
    let names: Vec<&str> = PERMISSIONS.iter().filter(|it| of(it)).map(|it| it.name).collect();
    names.join(", ")
}

/// The supervisor's device. `own` are the devices of the login's extension, to choose from.
pub(super) fn device(
    id: &str,
    device: &Result<Device, Error>,
    owner: &str,
    own: &[Device],
) -> Outcome {
    let choice = || {
        let fitting: Vec<&str> =
            own.iter().filter(|it| it.kind == "OtherPhone").map(|it| it.id.as_str()).collect();
        match fitting.is_empty() {
            true => "add one in Admin Portal > Users > (the supervisor) > Devices & Numbers > Add Device > Existing \
                     Phone, then run `sidetone init`, or set [ringcentral] supervisor_device_id to its id"
                .to_owned(),
            false => format!(
                "set [ringcentral] supervisor_device_id to a device of type Existing Phone: the supervisor has {}",
                fitting.join(", ")
            ),
        }
    };
    let device = match device {
        Ok(device) => device,
        Err(error) if error.is_not_found() => {
            return Outcome::failed(format!("there is no device {id} in the account"), choice());
        }
        Err(error) => return refusal(error, "ReadAccounts"),
    };
    if device.kind != "OtherPhone" {
        let kind = match device.kind.as_str() {
            "SoftPhone" => {
                "SoftPhone, RingCentral's own desktop app, as which nobody else can register"
            }
            "WebPhone" => "WebPhone, a browser's, which can't be sent a supervised call",
            "HardPhone" => "HardPhone, a desk phone, whose calls the gateway would take away",
            "" => "unknown",
            other => other,
        };
        return Outcome::failed(
            format!("device {id} is of type {kind}; it must be OtherPhone"),
            choice(),
        );
    }
    let holder = &device.extension.id;
    if !holder.is_empty() && holder != owner {
        return Outcome::failed(
            format!(
                "device {id} belongs to extension {holder}, but the login is of extension {owner}"
            ),
            format!(
                "log in to developers.ringcentral.com as the user of extension {holder}, make a JWT there (Console > \
                 Credentials) and set [ringcentral] jwt to it; or {}",
                choice()
            ),
        );
    }
    match device.status.as_str() {
        "Online" => Outcome::warning(
            format!("device {id} is Online: something is registered as it already"),
            "nothing, if that is this gateway at work, or it ended less than 4 minutes ago; else stop the other phone \
             or program: a device rings in one place only",
        ),
        _ => Outcome::ok(format!("device {id} is an Existing Phone, and free to be registered")),
    }
}

/// The device's SIP settings; `proxies` are those that the configuration leaves to choose from.
pub(super) fn sip_info(device: &str, info: &Result<SipInfo, Error>, proxies: &[String]) -> Outcome {
    let info = match info {
        Ok(info) => info,
        Err(error) if error.is_not_found() => {
            return Outcome::failed(
                format!("device {device} has no SIP settings"),
                "choose a device of type Existing Phone, or give [sip] domain, user_name, authorization_id, password \
                 and outbound_proxies by hand: Admin Portal > Phone System > Phones & Devices > (the device) > Setup & \
                 Provision > Set up manually using SIP",
            );
        }
        Err(error) => return refusal(error, "ReadAccounts"),
    };
    if proxies.is_empty() {
        return Outcome::failed(
            "RingCentral names no outbound proxy for the configured transport",
            "set [sip] transport = \"tls\", or name [sip] outbound_proxies as the portal shows them",
        );
    }
    if info.authorization_id != device {
        return Outcome::warning(
            format!(
                "the authorization id of device {device} is another one: {}",
                info.authorization_id
            ),
            "if supervising fails with TAS-120, set [ringcentral] supervisor_device_id to the authorization id",
        );
    }
    Outcome::ok(format!("{} outbound proxies", proxies.len()))
}

/// Whether every agent is an extension that can take calls.
pub(super) fn agents(wanted: &[String], all: &Result<Vec<Extension>, Error>) -> Outcome {
    let all = match all {
        Ok(all) => all,
        Err(error) => return refusal(error, "ReadAccounts"),
    };
    let find = |id: &String| all.iter().find(|extension| extension.id == *id);
    let missing: Vec<&str> =
        wanted.iter().filter(|id| find(id).is_none()).map(String::as_str).collect();
    if !missing.is_empty() {
        return Outcome::failed(
            format!("the account has no extension with id {}", some(&missing)),
            "correct [ringcentral] agents: extension ids, not numbers; `sidetone init` finds the ids for the numbers",
        );
    }
    let disabled: Vec<&str> = wanted
        .iter()
        .filter_map(find)
        .filter(|extension| !matches!(extension.status.as_str(), "Enabled" | ""))
        .map(|extension| extension.id.as_str())
        .collect();
    if !disabled.is_empty() {
        return Outcome::warning(
            format!("not enabled, so without calls: {}", some(&disabled)),
            "enable them in Admin Portal > Users, or take them out of [ringcentral] agents",
        );
    }
    Outcome::ok(format!("all {} exist", wanted.len()))
}

/// Whether the supervisor (`owner`) may listen to every agent. `groups` are the members of the groups that it is in.
pub(super) fn monitoring(
    owner: &str,
    agents: &[String],
    groups: &Result<Vec<Vec<GroupMember>>, Error>,
) -> Outcome {
    const PORTAL: &str = "Admin Portal > Phone System > Groups > Call Monitoring";
    let groups = match groups {
        Ok(groups) => groups,
        Err(error @ Error::Refused { status: 403, .. }) => {
            return Outcome::failed(
                error.to_string(),
                format!(
                    "give the app ReadAccounts ({APP_SETTINGS}), and check that the account has Call Monitoring, a paid \
                     feature: {PORTAL}"
                ),
            );
        }
        Err(error) => return refusal(error, "ReadAccounts"),
    };
    let supervised: Vec<&Vec<GroupMember>> = groups
        .iter()
        .filter(|group| group.iter().any(|it| it.id == owner && it.is_monitoring()))
        .collect();
    if supervised.is_empty() {
        return Outcome::failed(
            format!(
                "the supervisor, extension {owner}, may monitor nobody: supervising is refused with MBW-002"
            ),
            format!("{PORTAL}: open or make a group, and add the supervisor under \"Can monitor\""),
        );
    }
    let is_monitored = |agent: &str| {
        supervised.iter().any(|group| group.iter().any(|it| it.id == agent && it.is_monitored()))
    };
    let missing: Vec<&str> =
        agents.iter().map(String::as_str).filter(|agent| !is_monitored(agent)).collect();
    if missing.is_empty() {
        return Outcome::ok(format!("the supervisor may monitor all {} agents", agents.len()));
    }
    Outcome::failed(
        format!(
            "the supervisor may not monitor {}: supervising their calls is refused with MBW-002",
            some(&missing)
        ),
        format!(
            "{PORTAL}: add them under \"Can be monitored\" of a group where the supervisor can monitor"
        ),
    )
}

/// Whether RingCentral would tell of calls.
pub(super) fn notifications(connected: &Result<(), NotificationError>) -> Outcome {
    let error = match connected {
        Ok(()) => return Outcome::ok("the WebSocket can be opened"),
        Err(NotificationError::Token(error)) => return refusal(error, "WebSocketsSubscription"),
        Err(error) => error,
    };
    let mend = match error {
        NotificationError::Refused { status: 401 | 403, .. } => {
            format!("add WebSocketsSubscription to the app in {APP_SETTINGS}")
        }
        NotificationError::Tls { .. } | NotificationError::Roots(_) => {
            "update this machine's certificates (package ca-certificates); a proxy that opens TLS must let this through"
                .to_owned()
        }
        _ => "let WebSockets (TCP port 443) out to *.ringcentral.com through firewall and proxy".to_owned(),
    };
    Outcome::failed(error.to_string(), mend)
}

/// A request that failed, which needed a permission of the app.
pub(super) fn refusal(error: &Error, permission: &str) -> Outcome {
    Outcome::failed(error.to_string(), mend(error, permission))
}

/// The step that mends a request's failure, which needed a permission of the app.
pub fn mend(error: &Error, permission: &str) -> String {
    match error {
        Error::RateLimited { .. } => {
            "wait that long, stop what else uses the same app, and run this again".to_owned()
        }
        Error::Unreachable(_) => {
            "check [ringcentral] server and the network: HTTPS (TCP port 443) must be let out".to_owned()
        }
        Error::Unreadable { .. } => {
            "check that [ringcentral] server is RingCentral's own, with nothing in between that changes answers".to_owned()
        }
        Error::Login { code, .. } => bad_login(code),
        Error::Refused { status: 403, .. } => format!(
            "add {permission} to the app in {APP_SETTINGS}, and check the supervisor's role: Admin Portal > Users > Roles"
        ),
        Error::Refused { status: 500.., .. } => {
            "RingCentral is not well: see https://status.ringcentral.com, and run this again".to_owned()
        }
        Error::Refused { .. } => {
            "run this again; if it stays, tell RingCentral's support the request id".to_owned()
        }
    }
}

fn bad_login(code: &str) -> String {
    match code {
        "OAU-146" | "invalid_client" => {
            "copy client id and secret from developers.ringcentral.com > Console > Apps > (the app) > Credentials to \
             [ringcentral] client_id and client_secret; both must be of the environment of [ringcentral] server"
                .to_owned()
        }
        "OAU-151" | "unauthorized_client" | "unsupported_grant_type" => format!(
            "let the app log in with a JWT: {APP_SETTINGS} > Auth > JWT auth flow"
        ),
        // Expired, corrupted, unparsable, not found.
        "OAU-128" | "OAU-129" | "OAU-149" | "OAU-213" | "invalid_grant" => {
            "make a new JWT as the supervisor at developers.ringcentral.com > Console > (the user's menu) > Credentials, \
             for this app's client id or all apps, and set [ringcentral] jwt to it, whole and on one line"
                .to_owned()
        }
        _ => "compare [ringcentral] client_id, client_secret and jwt with developers.ringcentral.com > Console, and check \
              that the app is not suspended"
            .to_owned(),
    }
}

/// A few, and how many more.
fn some(ids: &[&str]) -> String {
    match ids.len().checked_sub(NAMED) {
        None | Some(0) => ids.join(", "),
        Some(more) => format!("{} and {more} more", ids[..NAMED].join(", ")),
    }
}

#[cfg(test)]
#[path = "account_tests.rs"]
mod tests;
