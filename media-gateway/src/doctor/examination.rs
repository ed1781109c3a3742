//! Makes the checks, one after the other.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{Check, Outcome, Report, account, clock, network, probe, registration};
use crate::config::Config;
use crate::gateway::connect::Connector;
use crate::gateway::{device, instance};
use crate::ringcentral::{
    Client, Credentials, Device, Error, GroupMember, SipInfo, try_connection,
};
use crate::sip::Account;

const CONFIGURATION: &str = "configuration";
const SERVER: &str = "server";
const CLOCK: &str = "clock";
const LOGIN: &str = "login";
const PERMISSIONS: &str = "permissions";
const DEVICE: &str = "device";
const SIP_INFO: &str = "sip-info";
const PROXIES: &str = "proxies";
const REGISTRATION: &str = "registration";
const AGENTS: &str = "agents";
const MONITORING: &str = "monitoring";
const NOTIFICATIONS: &str = "notifications";
const PORTS: &str = "ports";
const TRANSCRIBERS: &str = "transcribers";
const RELAY: &str = "relay";

/// All but the first, in order.
const AFTER_CONFIGURATION: [&str; 14] = [
    SERVER,
    CLOCK,
    LOGIN,
    PERMISSIONS,
    DEVICE,
    SIP_INFO,
    PROXIES,
    REGISTRATION,
    AGENTS,
    MONITORING,
    NOTIFICATIONS,
    PORTS,
    TRANSCRIBERS,
    RELAY,
];

/// Rate limits are waited for this long in one check: longer than their usual penalty.
const PATIENCE: Duration = Duration::from_secs(65);

/// The login's end may take this long.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(2);

/// What to look over.
#[derive(Clone, Debug)]
pub struct Examination {
    /// The gateway's configuration, or why it can't be read: without secrets.
    pub config: Result<Config, String>,
    /// Whether transcriber and relay are started along with the gateway, so that they need not run now.
    pub starts_neighbours: bool,
    /// What the caller has looked at itself; it comes last.
    pub extra: Vec<Check>,
}

/// The checks so far.
struct Chart<F> {
    report: Report,
    show: F,
}

/// The device, once it has been found.
#[derive(Default)]
struct Found {
    is_online: bool,
    account: Option<Account>,
    proxies: Vec<String>,
}

impl Examination {
    /// Makes every check; `show` is told of each as soon as it is made. What needs something that is wrong is skipped.
    ///
    /// The device is registered for a moment, unless it is registered already. Must be called inside a tokio runtime, in
    /// a process that has installed a rustls crypto provider.
    pub async fn run(self, show: impl FnMut(&Check)) -> Report {
        let mut chart = Chart { report: Report::default(), show };
        match self.config.and_then(|config| Ok((client(&config)?, config))) {
            Ok((client, config)) => {
                chart.add(CONFIGURATION, Outcome::ok("can be read, and every value makes sense"));
                cloud(&mut chart, &config, &client).await;
                neighbours(&mut chart, &config, self.starts_neighbours).await;
                // Only five logins of a user live at once; this one ends by itself otherwise.
                let _ = timeout(REVOKE_TIMEOUT, client.revoke()).await;
            }
            Err(error) => {
                let mend = "correct the file, or write a new one with `sidetone init`";
                chart.add(CONFIGURATION, Outcome::failed(error, mend));
                for name in AFTER_CONFIGURATION {
                    chart.add(name, blocked_by(CONFIGURATION));
                }
            }
        }
        for check in self.extra {
            chart.add(check.name, check.outcome);
        }
        chart.report
    }
}

fn client(config: &Config) -> Result<Client, String> {
    let credentials = Credentials {
        client_id: config.client_id.clone(),
        client_secret: config.client_secret.expose().to_owned(),
        jwt: config.jwt.expose().to_owned(),
    };
    Client::new(&config.server, credentials).map_err(|error| error.to_string())
}

/// Everything on RingCentral's side, and our own ports, of which a running gateway has some.
async fn cloud(chart: &mut Chart<impl FnMut(&Check)>, config: &Config, client: &Client) {
    let answered = chart.check(SERVER, &[], server(&config.server)).await.flatten();
    let compared = async {
        let (server, ours) = answered.map_or((None, 0), |it| (it.date, it.now));
        (clock::clock(server, ours), ())
    };
    chart.check(CLOCK, &[SERVER], compared).await;
    let login = async {
        let owner = patiently(async || client.owner().await).await;
        (account::login(&owner), owner.unwrap_or_default())
    };
    let owner = chart.check(LOGIN, &[SERVER, CLOCK], login).await.unwrap_or_default();
    let permissions = async { (account::permissions(&client.permissions().await), ()) };
    chart.check(PERMISSIONS, &[LOGIN], permissions).await;

    let found = device(chart, config, client, &owner).await;
    register(chart, config, found.account, &found.proxies, found.is_online).await;

    let agents = async {
        let all = patiently(async || client.extensions().await).await;
        (account::agents(&config.agents, &all), ())
    };
    chart.check(AGENTS, &[LOGIN], agents).await;
    let monitoring = async {
        let groups = groups(client, &owner, &config.agents).await;
        (account::monitoring(&owner, &config.agents, &groups), ())
    };
    chart.check(MONITORING, &[LOGIN, AGENTS], monitoring).await;
    let notifications = async { (account::notifications(&try_connection(client).await), ()) };
    chart.check(NOTIFICATIONS, &[LOGIN], notifications).await;
    let ports = async { (network::ports(&probe::ports(config).await, found.is_online), ()) };
    chart.check(PORTS, &[], ports).await;
}

async fn server(server: &str) -> (Outcome, Option<probe::Answered>) {
    match probe::server(server).await {
        Ok(answered) if answered.status >= 500 => {
            let what = format!("{server} answers with HTTP {}", answered.status);
            let mend =
                "RingCentral is not well: see https://status.ringcentral.com, and run this again";
            (Outcome::failed(what, mend), None)
        }
        Ok(answered) => (Outcome::ok(format!("{server} answers")), Some(answered)),
        Err(error) => {
            (account::refusal(&Error::Unreachable(error.without_url()), "ReadAccounts"), None)
        }
    }
}

/// The supervisor's device and how it registers.
async fn device(
    chart: &mut Chart<impl FnMut(&Check)>,
    config: &Config,
    client: &Client,
    owner: &str,
) -> Found {
    let id = config.supervisor_device_id.as_str();
    let look = async {
        let found = patiently(async || client.device(id).await).await;
        // What could be used instead; without it the advice is less exact.
        let own = match &found {
            Ok(device) if device.kind == "OtherPhone" && device.extension.id == owner => Vec::new(),
            _ => client.devices("~").await.unwrap_or_default(),
        };
        let is_online = found.as_ref().is_ok_and(|device: &Device| device.status == "Online");
        (account::device(id, &found, owner, &own), is_online)
    };
    let is_online = chart.check(DEVICE, &[LOGIN], look).await.unwrap_or_default();
    let read = async {
        let mut found = Found { is_online, ..Found::default() };
        let instance = match instance_id(config) {
            Ok(instance) => instance,
            Err(error) => {
                let mend = "make [sip] state_directory a directory that this user may write to";
                return (Outcome::failed(error.to_string(), mend), found);
            }
        };
        let (account, proxies) =
            (device::account(config, None, instance), device::proxies(config, None));
        if account.is_some() && !proxies.is_empty() {
            (found.account, found.proxies) = (account, proxies);
            return (Outcome::ok("given by hand, in [sip]"), found);
        }
        let info = patiently(async || client.sip_info(id).await).await;
        let known: Option<&SipInfo> = info.as_ref().ok();
        found.account = device::account(config, known, instance);
        found.proxies = device::proxies(config, known);
        (account::sip_info(id, &info, &found.proxies), found)
    };
    let found = chart.check(SIP_INFO, &[DEVICE], read).await;
    found.unwrap_or(Found { is_online, ..Found::default() })
}

fn instance_id(config: &Config) -> Result<uuid::Uuid, instance::InstanceError> {
    match &config.state_directory {
        Some(directory) => instance::instance_in(directory),
        None => Ok(instance::instance_of(&config.supervisor_device_id)),
    }
}

/// The way to the registrar, and a registration.
async fn register(
    chart: &mut Chart<impl FnMut(&Check)>,
    config: &Config,
    account: Option<Account>,
    proxies: &[String],
    is_online: bool,
) {
    let connect = async {
        match Connector::new(config.transport, config.tls_ca_file.as_deref()) {
            Ok(connector) => {
                let (all, first) = probe::proxies(&connector, config, proxies).await;
                (network::proxies(config.transport, &all), first)
            }
            Err(error) => {
                let mend = "set [sip] tls_ca_file to a file of certificates in PEM, or remove it";
                (Outcome::failed(error.to_string(), mend), None)
            }
        }
    };
    let connected = chart.check(PROXIES, &[SIP_INFO], connect).await.flatten();
    let register = async {
        if is_online {
            let because = "the device is Online: registering it here would take it from who has it";
            return (Outcome::skipped(because), ());
        }
        let outcome = match (connected, account) {
            (Some(connected), Some(account)) => {
                let registered = registration::register(connected, config.listen.ip(), account);
                network::registration(&registered.await)
            }
            _ => Outcome::skipped("there is no way to the registrar"),
        };
        (outcome, ())
    };
    chart.check(REGISTRATION, &[PROXIES], register).await;
}

/// The members of the groups that the supervisor is in, up to the one that completes the agents.
async fn groups(
    client: &Client,
    owner: &str,
    agents: &[String],
) -> Result<Vec<Vec<GroupMember>>, Error> {
    let mut groups = Vec::new();
    for group in patiently(async || client.monitoring_groups(Some(owner)).await).await? {
        groups.push(patiently(async || client.monitoring_group_members(&group.id).await).await?);
        let so_far = Ok(groups);
        let is_complete = account::monitoring(owner, agents, &so_far).has_passed();
        groups = so_far?;
        if is_complete {
            break;
        }
    }
    Ok(groups)
}

async fn neighbours(
    chart: &mut Chart<impl FnMut(&Check)>,
    config: &Config,
    starts_neighbours: bool,
) {
    if starts_neighbours {
        for name in [TRANSCRIBERS, RELAY] {
            chart.add(name, Outcome::skipped("it is started along with the gateway"));
        }
        return;
    }
    let transcribers = async {
        let connected = probe::services(&config.transcribers).await;
        (network::services("transcriber", "[uplink] transcribers", &connected), ())
    };
    chart.check(TRANSCRIBERS, &[], transcribers).await;
    let relay = async {
        let connected = probe::services(std::slice::from_ref(&config.relay)).await;
        (network::services("relay", "[uplink] relay", &connected), ())
    };
    chart.check(RELAY, &[], relay).await;
}

fn blocked_by(missing: &str) -> Outcome {
    Outcome::skipped(format!("it needs {missing}, which has not passed"))
}

/// Asks again after a rate limit, for a while.
async fn patiently<T>(mut ask: impl AsyncFnMut() -> Result<T, Error>) -> Result<T, Error> {
    let until = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(Error::RateLimited { retry_after }) if Instant::now() + retry_after < until => {
                sleep(retry_after).await;
            }
            answered => return answered,
        }
    }
}

impl<F: FnMut(&Check)> Chart<F> {
    fn add(&mut self, name: &'static str, outcome: Outcome) {
        let check = Check::new(name, outcome);
        (self.show)(&check);
        self.report.checks.push(check);
    }

    /// Makes a check, unless one of those that it needs has not passed. Gives what else came of it.
    async fn check<T>(
        &mut self,
        name: &'static str,
        needs: &[&'static str],
        look: impl Future<Output = (Outcome, T)>,
    ) -> Option<T> {
        let missing = needs.iter().find(|needed| {
            let of_that_name = |check: &&Check| check.name == **needed;
            !self.report.checks.iter().find(of_that_name).is_some_and(|it| it.outcome.has_passed())
        });
        if let Some(missing) = missing {
            self.add(name, blocked_by(missing));
            return None;
        }
        let (outcome, more) = look.await;
        self.add(name, outcome);
        Some(more)
    }
}
