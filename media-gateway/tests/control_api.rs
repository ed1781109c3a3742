//! Control by hand over HTTP, against a gateway with a call in the simulated cloud.

mod support;

use media_gateway::Gateway;
use media_gateway::config::Config;
use media_gateway::control::{CallView, Stage};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use simulator::{Call, CallPlan, Simulator};
use support::{AGENT, Downstream, PATIENCE, serve, tone};
use tokio::time::timeout;

const TOKEN: &str = "0123456789abcdef-of-the-test";

/// An agent whom nobody listens to unless asked.
const UNWATCHED: &str = "62226587017";

struct Setup {
    simulator: Simulator,
    gateway: Gateway,
    downstream: Downstream,
}

impl Setup {
    /// A gateway that listens to nobody's calls by itself, with a call of [`AGENT`] on the line.
    async fn start() -> (Self, Call) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let simulator = support::simulator().await;
        let downstream = Downstream::default();
        let address = serve(downstream.clone()).await;
        let control = format!("[control]\nlisten = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"");
        let config = support::config(&simulator, address, "", &control).replace(AGENT, UNWATCHED);
        let gateway = Gateway::start(Config::from_toml(&config).unwrap()).await.unwrap();
        timeout(PATIENCE, simulator.registered()).await.expect("registered");
        let plan = CallPlan::new(AGENT, tone(440.0, 20), tone(1100.0, 20));
        let call = simulator.place_call(plan).await.unwrap();
        (Self { simulator, gateway, downstream }, call)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let address = self.gateway.control_address().expect("control is on");
        Client::new().request(method, format!("http://{address}{path}")).bearer_auth(TOKEN)
    }

    async fn calls(&self) -> Vec<CallView> {
        self.request(Method::GET, "/v1/calls").send().await.unwrap().json().await.unwrap()
    }

    /// Asks until the call is where it should be.
    async fn reaches(&self, call: &Call, stage: Stage) -> CallView {
        let path = format!("/v1/calls/{}", call.telephony_session_id());
        let reached = async {
            loop {
                let response = self.request(Method::GET, &path).send().await.unwrap();
                if response.status() == StatusCode::OK {
                    let view: CallView = response.json().await.unwrap();
                    if view.stage == stage {
                        return view;
                    }
                }
            }
        };
        timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("never {stage:?}"))
    }

    async fn stop(self) {
        self.gateway.shutdown().await;
        self.simulator.shutdown().await;
    }
}

async fn problem(request: RequestBuilder) -> (u16, String) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    assert!(body["message"].as_str().is_some_and(|it| !it.is_empty()), "{body}");
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_taken_up_by_number_listed_and_left() {
    let (setup, call) = Setup::start().await;
    let path = format!("/v1/calls/{}", call.telephony_session_id());
    assert_eq!(setup.calls().await, []);

    let supervise = setup.request(Method::POST, &format!("{path}/supervise"));
    let accepted = supervise.json(&json!({ "agentExtensionNumber": "108" })).send().await.unwrap();
    assert_eq!(accepted.status(), StatusCode::ACCEPTED);
    let view = setup.reaches(&call, Stage::Listening).await;
    assert_eq!((view.agent.as_deref(), view.parties.len()), (Some(AGENT), 2));
    assert!(view.parties.iter().all(|party| party.is_heard), "{view:?}");
    assert_eq!(setup.calls().await.len(), 1);
    let mut started = setup.downstream.started.subscribe();
    timeout(PATIENCE, started.wait_for(|parties| *parties == 2)).await.expect("heard").unwrap();

    let stop = setup.request(Method::DELETE, &format!("{path}/supervision")).send().await.unwrap();
    assert_eq!(stop.status(), StatusCode::NO_CONTENT);
    setup.reaches(&call, Stage::Stopped).await;
    timeout(PATIENCE, setup.downstream.ended.notified()).await.expect("the transcript ends");
    setup.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_consent_ends_the_supervision() {
    let (setup, call) = Setup::start().await;
    let path = format!("/v1/calls/{}", call.telephony_session_id());
    let supervise = setup.request(Method::POST, &format!("{path}/supervise"));
    supervise.json(&json!({ "agentExtensionId": AGENT })).send().await.unwrap();
    setup.reaches(&call, Stage::Listening).await;
    let refuse = setup.request(Method::PUT, &format!("{path}/consent"));
    let refused = refuse.json(&json!({ "state": "refused" })).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::NO_CONTENT);
    setup.reaches(&call, Stage::ConsentRefused).await;
    timeout(PATIENCE, setup.downstream.ended.notified()).await.expect("the transcript ends");
    setup.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_nonsense_are_told_what_is_wrong() {
    let (setup, call) = Setup::start().await;
    let address = setup.gateway.control_address().unwrap();
    for path in ["/v1/calls", "/nowhere"] {
        let stranger = Client::new().get(format!("http://{address}{path}"));
        assert_eq!(problem(stranger).await, (401, "unauthorized".to_owned()));
        let guess = Client::new().get(format!("http://{address}{path}")).bearer_auth("a guess");
        assert_eq!(problem(guess).await, (401, "unauthorized".to_owned()));
    }
    let path = format!("/v1/calls/{}", call.telephony_session_id());
    let post = |body: &str| {
        setup.request(Method::POST, &format!("{path}/supervise")).body(body.to_owned())
    };
    for body in
        ["", "{}", "nonsense", "{\"agentExtensionNumber\": 108}", "{\"agentExtensionId\": \"1;2\"}"]
    {
        assert_eq!(problem(post(body)).await, (400, "bad_request".to_owned()), "{body}");
    }
    assert_eq!(problem(post(&"x".repeat(5000))).await, (413, "too_long".to_owned()));
    let unknown = post("{\"agentExtensionNumber\": \"999\"}");
    assert_eq!(problem(unknown).await, (404, "unknown_extension".to_owned()));
    for (method, path) in [
        (Method::GET, "/v1/calls/s-unknown".to_owned()),
        (Method::GET, format!("/v1/calls/{}", "x".repeat(4000))),
        (Method::GET, "/v1/calls/%ff%00".to_owned()),
        (Method::DELETE, "/v1/calls/s-unknown/supervision".to_owned()),
    ] {
        let asked = setup.request(method, &path);
        assert_eq!(problem(asked).await, (404, "unknown_call".to_owned()), "{path}");
    }
    let wrong_way = setup.request(Method::PATCH, "/v1/calls");
    assert_eq!(problem(wrong_way).await, (405, "method_not_allowed".to_owned()));
    setup.stop().await;
}
