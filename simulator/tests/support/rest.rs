//! A client of the simulated REST interface.

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use simulator::{Account, Call, Simulator};

/// The REST side, logged in.
pub struct Rest {
    client: Client,
    url: String,
    token: String,
}

impl Rest {
    pub async fn login(simulator: &Simulator) -> Self {
        let (client, url) = (client(), simulator.rest_url());
        let account = Account::demo();
        let response = client
            .post(format!("{url}/restapi/oauth/token"))
            .basic_auth(&account.client_id, Some(&account.client_secret))
            .form(&[
                ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                ("assertion", account.jwt.as_str()),
            ])
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["owner_id"], account.supervisor_extension_id);
        let token = body["access_token"].as_str().unwrap().to_owned();
        Self { client, url, token }
    }

    /// A request below the account's path: the status and the body.
    pub async fn request(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let mut request = self
            .client
            .request(method, format!("{}/restapi/v1.0/account/~{path}", self.url))
            .bearer_auth(&self.token);
        if !body.is_null() {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        assert!(response.headers().contains_key("RCRequestId"));
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// The whole answer to a GET below the account's path.
    pub async fn response(&self, path: &str) -> reqwest::Response {
        let url = format!("{}/restapi/v1.0/account/~{path}", self.url);
        self.client.get(url).bearer_auth(&self.token).send().await.unwrap()
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.request(Method::GET, path, &Value::Null).await
    }

    pub async fn session(&self, call: &Call) -> Value {
        let path = format!("/telephony/sessions/{}", call.telephony_session_id());
        let (status, body) = self.get(&path).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// The ids of the customer's and of the agent's party.
    pub async fn parties(&self, call: &Call) -> [String; 2] {
        let session = self.session(call).await;
        let agent = &Account::demo().agents[0].extension_id;
        let parties = session["parties"].as_array().unwrap();
        let id = |is_agent: bool| {
            let party = parties.iter().find(|party| {
                (party["extensionId"] == agent.as_str()) == is_agent
                    && party["status"]["reason"] != "Supervising"
            });
            party.unwrap()["id"].as_str().unwrap().to_owned()
        };
        [id(false), id(true)]
    }

    pub async fn supervise(&self, call: &Call, party: Option<&str>) -> (u16, Value) {
        let account = Account::demo();
        let party = party.map_or(String::new(), |party| format!("/parties/{party}"));
        let path = format!("/telephony/sessions/{}{party}/supervise", call.telephony_session_id());
        let body = json!({
            "mode": "Listen",
            "supervisorDeviceId": account.supervisor_device_id,
            "agentExtensionId": account.agents[0].extension_id,
        });
        self.request(Method::POST, &path, &body).await
    }

    pub async fn delete_party(&self, call: &Call, party: &str) -> u16 {
        let path = format!("/telephony/sessions/{}/parties/{party}", call.telephony_session_id());
        self.request(Method::DELETE, &path, &Value::Null).await.0
    }
}

pub fn client() -> Client {
    rustls::crypto::ring::default_provider().install_default().ok();
    Client::new()
}
