//! The examination of an account, against a simulated cloud with one thing wrong at a time.

mod support;

use axum::Router;
use axum::http::StatusCode;
use media_gateway::Gateway;
use media_gateway::config::Config;
use media_gateway::doctor::{Check, Examination, Outcome, Report};
use simulator::{Account, Fault, Simulator};
use support::AGENT;
use tokio::net::TcpListener;

const OTHER_AGENT: &str = "62226587017";

struct Lab {
    simulator: Simulator,
    /// Stands for transcriber and relay: accepts connections.
    neighbour: TcpListener,
}

async fn lab() -> Lab {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let simulator = support::simulator().await;
    Lab { simulator, neighbour: TcpListener::bind("127.0.0.1:0").await.unwrap() }
}

impl Lab {
    fn config(&self, sip: &str) -> String {
        support::config(&self.simulator, self.neighbour.local_addr().unwrap(), sip, "")
    }
}

async fn examine(config: &str) -> Report {
    let config = Config::from_toml(config).map_err(|error| error.to_string());
    let mut shown = Vec::new();
    let examination = Examination { config, starts_neighbours: false, extra: Vec::new() };
    let report = examination.run(|check: &Check| shown.push(check.clone())).await;
    assert_eq!(report.checks, shown);
    report
}

fn outcome<'a>(report: &'a Report, name: &str) -> &'a Outcome {
    let mut checks = report.checks.iter();
    &checks.find(|check| check.name == name).unwrap_or_else(|| panic!("no {name}")).outcome
}

/// The names of the checks with an outcome of some kind.
fn names(report: &Report, of: fn(&Outcome) -> bool) -> Vec<&'static str> {
    report.checks.iter().filter(|check| of(&check.outcome)).map(|check| check.name).collect()
}

fn skipped(report: &Report) -> Vec<&'static str> {
    names(report, |outcome| matches!(outcome, Outcome::Skipped { .. }))
}

/// What is wrong and how it is mended; nothing else has failed.
fn only_failure<'a>(report: &'a Report, name: &str) -> (&'a str, &'a str) {
    let failed = names(report, |outcome| matches!(outcome, Outcome::Failed { .. }));
    assert_eq!(failed, [name], "{report:#?}");
    match outcome(report, name) {
        Outcome::Failed { what, mend } => (what, mend),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_healthy_account_passes_every_check_over_each_transport() {
    let lab = lab().await;
    let ca_file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca_file.path(), lab.simulator.authority_pem()).unwrap();
    let tls = format!("transport = \"tls\"\ntls_ca_file = {:?}", ca_file.path());
    for sip in ["transport = \"tcp\"", "transport = \"udp\"", &tls] {
        let report = examine(&lab.config(sip)).await;
        let ok = names(&report, |outcome| matches!(outcome, Outcome::Ok { .. }));
        assert_eq!(ok.len(), 15, "{report:#?}");
        assert_eq!(report.checks.len(), 15, "{report:#?}");
        let Outcome::Ok { detail } = outcome(&report, "registration") else { panic!("{report:?}") };
        assert!(detail.contains("182 s"), "{detail}");
        let shown = format!("{report:?}{}", report.to_json());
        let account = Account::demo();
        for secret in [account.client_secret, account.jwt, account.sip_password] {
            assert!(!shown.contains(&secret), "{secret}");
        }
    }
}

#[tokio::test]
async fn a_configuration_that_cant_be_read_skips_everything_but_the_callers_own() {
    let extra = vec![Check::new("model", Outcome::ok("whole"))];
    let config = Err("line 3: unknown field `colour`".to_owned());
    let examination = Examination { config, starts_neighbours: true, extra };
    let report = examination.run(|_| ()).await;
    let (what, mend) = only_failure(&report, "configuration");
    assert!(what.contains("colour") && mend.contains("sidetone init"), "{what}; {mend}");
    assert_eq!(skipped(&report).len(), 14);
    assert_eq!(report.checks.last().unwrap().name, "model");
    assert_eq!(report.to_json()["healthy"], false);
}

#[tokio::test]
async fn a_wrong_secret_fails_the_login_and_skips_what_needs_it() {
    let lab = lab().await;
    let account = Account::demo();
    for (right, code, step) in [
        (&account.client_secret, "OAU-146", "client_secret"),
        (&account.jwt, "OAU-213", "make a new JWT"),
    ] {
        let report = examine(&lab.config("").replace(right.as_str(), "wrong")).await;
        let (what, mend) = only_failure(&report, "login");
        assert!(what.contains(code) && mend.contains(step), "{what}; {mend}");
        assert_eq!(
            skipped(&report),
            [
                "permissions",
                "device",
                "sip-info",
                "proxies",
                "registration",
                "agents",
                "monitoring",
                "notifications",
            ]
        );
    }
}

#[tokio::test]
async fn a_device_that_is_missing_or_of_the_wrong_type_is_told_with_the_right_one() {
    let lab = lab().await;
    let right = Account::demo().supervisor_device_id;
    // The second is an agent's desk phone.
    for (wrong, problem) in [("1", "no device 1 "), ("762226587016", "HardPhone")] {
        let report = examine(&lab.config("").replace(&right, wrong)).await;
        let (what, mend) = only_failure(&report, "device");
        assert!(what.contains(problem), "{what}");
        assert!(mend.contains(&right), "{mend}");
        assert_eq!(skipped(&report), ["sip-info", "proxies", "registration"]);
    }
}

#[tokio::test]
async fn a_device_in_use_is_left_alone() {
    let lab = lab().await;
    let config = lab.config("");
    let gateway = Gateway::start(Config::from_toml(&config).unwrap()).await.unwrap();
    tokio::time::timeout(support::PATIENCE, lab.simulator.registered()).await.unwrap();
    let busy = config.replace("127.0.0.1:0\"", &format!("{}\"", gateway.sip_address()));
    let report = examine(&busy).await;
    assert_eq!(report.failures(), 0, "{report:#?}");
    let warned = names(&report, |outcome| matches!(outcome, Outcome::Warning { .. }));
    assert_eq!(warned, ["device", "ports"]);
    assert_eq!(skipped(&report), ["registration"]);
    gateway.shutdown().await;
}

#[tokio::test]
async fn an_agent_outside_of_the_groups_is_named() {
    let lab = lab().await;
    let agents = format!("[\"{AGENT}\", \"{OTHER_AGENT}\"]");
    let config = lab.config("").replace(&format!("[\"{AGENT}\"]"), &agents);
    let report = examine(&config).await;
    let (what, mend) = only_failure(&report, "monitoring");
    assert!(what.contains(OTHER_AGENT) && what.contains("MBW-002"), "{what}");
    assert!(!what.contains(AGENT), "{what}");
    assert!(mend.contains("Call Monitoring"), "{mend}");
    assert_eq!(skipped(&report), [""; 0]);

    let report = examine(&lab.config("").replace(&format!("[\"{AGENT}\"]"), "[\"108\"]")).await;
    let (what, _) = only_failure(&report, "agents");
    assert!(what.ends_with("id 108"), "{what}");
    assert_eq!(skipped(&report), ["monitoring"]);
}

#[tokio::test]
async fn proxies_that_refuse_or_are_not_trusted_are_told_apart() {
    let lab = lab().await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = format!("outbound_proxies = [\"{closed}\"]");
    for (sip, step) in
        [(refused.as_str(), "nothing listens there"), ("transport = \"tls\"", "tls_ca_file")]
    {
        let report = examine(&lab.config(sip)).await;
        let (what, mend) = only_failure(&report, "proxies");
        assert!(mend.contains(step), "{what}; {mend}");
        assert_eq!(skipped(&report), ["registration"]);
    }
}

#[tokio::test]
async fn a_wrong_sip_password_is_told_by_the_registrar() {
    let lab = lab().await;
    let account = Account::demo();
    let sip = format!(
        "domain = {:?}\nuser_name = {:?}\nauthorization_id = {:?}\npassword = \"wrong\"",
        account.sip_domain, account.sip_user_name, account.supervisor_device_id,
    );
    let report = examine(&lab.config(&sip)).await;
    let (what, mend) = only_failure(&report, "registration");
    assert!(what.contains("refused the credentials"), "{what}");
    assert!(mend.contains("Setup & Provision"), "{mend}");
}

#[tokio::test]
async fn a_taken_port_and_a_neighbour_that_is_down_are_found() {
    let lab = lab().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken_at = format!("{}\"", taken.local_addr().unwrap());
    let report = examine(&lab.config("").replace("127.0.0.1:0\"", &taken_at)).await;
    let (what, mend) = only_failure(&report, "ports");
    assert!(what.contains("SIP") && mend.contains("[sip] listen"), "{what}; {mend}");

    let down = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let at = lab.neighbour.local_addr().unwrap();
    let config = lab.config("");
    let relay =
        config.replace(&format!("relay = \"http://{at}"), &format!("relay = \"http://{down}"));
    let report = examine(&relay).await;
    let (what, mend) = only_failure(&report, "relay");
    assert!(what.contains(&down.to_string()) && mend.contains("start the relay"), "{mend}");
}

#[tokio::test]
async fn a_server_that_is_down_or_unwell_skips_everything_on_its_side() {
    let lab = lab().await;
    lab.simulator.controls().inject(Fault::Unavailable, 1);
    // The first request that is counted is the login.
    let report = examine(&lab.config("")).await;
    let (_, mend) = only_failure(&report, "login");
    assert!(mend.contains("status.ringcentral.com"), "{mend}");

    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = format!("http://{nobody}");
    let report = examine(&lab.config("").replace(&lab.simulator.rest_url(), &url)).await;
    let (_, mend) = only_failure(&report, "server");
    assert!(mend.contains("[ringcentral] server"), "{mend}");
    assert_eq!(skipped(&report).len(), 10);
}

#[tokio::test]
async fn a_wrong_clock_is_found_before_it_spoils_the_login() {
    let lab = lab().await;
    let past = || async { (StatusCode::OK, [("date", "Sun, 06 Nov 1994 08:49:37 GMT")]) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(past);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let report = examine(&lab.config("").replace(&lab.simulator.rest_url(), &url)).await;
    let (what, mend) = only_failure(&report, "clock");
    assert!(what.contains("ahead of") && mend.contains("set-ntp"), "{what}; {mend}");
    assert_eq!(skipped(&report).first(), Some(&"login"));
    assert!(matches!(outcome(&report, "ports"), Outcome::Ok { .. }));
}
