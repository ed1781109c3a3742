//! The REST client: authenticated requests, and the telephony methods.

use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tracing::{debug, warn};

use super::Error;
use super::auth::{Auth, Credentials};
use super::model::{Presence, Session, SessionParty, SipInfo, SupervisorParty, id};
use super::rate_limit::Group;
use super::transport::{Authorization, Request, Transport, parse};

/// Below which nearly every path lies.
pub(super) const ACCOUNT: &str = "/restapi/v1.0/account/~";

/// Extensions in one presence request. It counts as one request against the rate limit.
pub const PRESENCE_BATCH: usize = 30;

/// How a request for several resources wants its answer: a JSON array instead of a multipart body.
const MULTIPART_JSON: &str = "application/vnd.ringcentral.multipart+json";

/// RingCentral's REST API as one supervisor. Share it: every login counts against a small limit, and so does every request
/// of a group.
///
/// Every method fails with [`Error`]; [`Error::RateLimited`] means that nothing was sent, or that nothing more will be for
/// that long.
#[derive(Debug)]
pub struct Client {
    transport: Transport,
    auth: Auth,
}

impl Client {
    /// A client for a server such as `https://platform.ringcentral.com`. Logs in when it first has to.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when TLS can't be set up: is a rustls provider installed?
    pub fn new(server: &str, credentials: Credentials) -> Result<Self, Error> {
        Ok(Self { transport: Transport::new(server)?, auth: Auth::new(credentials) })
    }

    /// The extension id of the supervisor, who owns the login.
    pub async fn owner(&self) -> Result<String, Error> {
        self.auth.access(&self.transport, None).await.map(|access| access.owner)
    }

    /// The permissions that the login has, such as `CallControl`; empty if RingCentral does not tell.
    pub async fn permissions(&self) -> Result<Vec<String>, Error> {
        let access = self.auth.access(&self.transport, None).await?;
        Ok(access.scope.split_whitespace().map(str::to_owned).collect())
    }

    /// Ends the login, and with it the notifications. The next request would log in again.
    pub async fn revoke(&self) -> Result<(), Error> {
        self.auth.revoke(&self.transport).await
    }

    /// The calls of an extension.
    pub async fn presence(&self, extension: &str) -> Result<Presence, Error> {
        let extension = path_segment(extension);
        let query = "detailedTelephonyState=true&sipData=true";
        let path = format!("{ACCOUNT}/extension/{extension}/presence?{query}");
        self.json(Request::get(Group::Light, path)).await
    }

    /// The calls of up to [`PRESENCE_BATCH`] extensions, by one request. Those that RingCentral does not show, because
    /// they don't exist or may not be seen, are missing.
    pub async fn presences(&self, extensions: &[String]) -> Result<Vec<(String, Presence)>, Error> {
        let [extension] = extensions else { return self.batch(extensions).await };
        match self.presence(extension).await {
            Ok(presence) => Ok(vec![(extension.clone(), presence)]),
            Err(Error::Refused { status: 403 | 404, code, .. }) => {
                warn!(extension, code, "the extension's presence can't be seen");
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    async fn batch(&self, extensions: &[String]) -> Result<Vec<(String, Presence)>, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Part {
            #[serde(default, deserialize_with = "id")]
            resource_id: String,
            #[serde(default)]
            status: u16,
            body: Option<Presence>,
        }
        let ids: Vec<String> =
            extensions.iter().take(PRESENCE_BATCH).map(|id| path_segment(id)).collect();
        let query = "detailedTelephonyState=true&sipData=true";
        let path = format!("{ACCOUNT}/extension/{}/presence?{query}", ids.join(","));
        let parts: Vec<Part> =
            self.json(Request::get(Group::Light, path).accept(MULTIPART_JSON)).await?;
        let (shown, hidden): (Vec<Part>, Vec<Part>) =
            parts.into_iter().partition(|part| (200..300).contains(&part.status));
        for Part { resource_id, status, .. } in hidden {
            warn!(extension = resource_id, status, "the extension's presence can't be seen");
        }
        Ok(shown
            .into_iter()
            .map(|part| (part.resource_id, part.body.unwrap_or_default()))
            .collect())
    }

    /// The parties of a call.
    pub async fn session(&self, session: &str) -> Result<Session, Error> {
        self.json(Request::get(Group::Light, session_path(session))).await
    }

    /// One party of a call.
    pub async fn party(&self, session: &str, party: &str) -> Result<SessionParty, Error> {
        self.json(Request::get(Group::Light, party_path(session, party))).await
    }

    /// Where and how a device registers.
    pub async fn sip_info(&self, device: &str) -> Result<SipInfo, Error> {
        let path = format!("{ACCOUNT}/device/{}/sip-info", path_segment(device));
        self.json(Request::get(Group::Light, path)).await
    }

    /// Asks for one leg with everyone's voice.
    pub async fn supervise_session(
        &self,
        session: &str,
        device: &str,
        agent: &str,
    ) -> Result<SupervisorParty, Error> {
        let path = format!("{}/supervise", session_path(session));
        let request = Request::new(Group::Light, Method::POST, path);
        self.json(request.json(supervise_body(device, Some(agent)))).await
    }

    /// Asks for a leg with one party's voice. `agent` is the agent's extension, whoever the party is; a carrier's leg
    /// may refuse it.
    pub async fn supervise_party(
        &self,
        session: &str,
        party: &str,
        device: &str,
        agent: Option<&str>,
    ) -> Result<SupervisorParty, Error> {
        let path = format!("{}/supervise", party_path(session, party));
        let request = Request::new(Group::Light, Method::POST, path);
        self.json(request.json(supervise_body(device, agent))).await
    }

    /// Removes a supervisor's own party from a call. Never call this with anybody else's.
    pub async fn delete_party(&self, session: &str, party: &str) -> Result<(), Error> {
        let path = party_path(session, party);
        self.send(&Request::new(Group::Light, Method::DELETE, path)).await.map(drop)
    }

    pub(super) async fn json<T: DeserializeOwned>(&self, request: Request) -> Result<T, Error> {
        parse(&request, &self.send(&request).await?)
    }

    /// Sends a request; a 401 is answered by one new login and one retry.
    pub(super) async fn send(&self, request: &Request) -> Result<Vec<u8>, Error> {
        let access = self.auth.access(&self.transport, None).await?;
        match self.transport.exchange(request, Authorization::Bearer(&access.token)).await {
            Err(Error::Refused { status: 401, code, .. }) => {
                debug!(path = request.name(), code, "access token refused, logging in again");
                let access = self.auth.access(&self.transport, Some(&access.token)).await?;
                self.transport.exchange(request, Authorization::Bearer(&access.token)).await
            }
            answered => answered,
        }
    }

    /// Changes whenever a new login has replaced the one before.
    pub(super) fn logins(&self) -> watch::Receiver<u64> {
        self.auth.sessions()
    }

    /// Whether the server is reached over TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.transport.is_secure()
    }
}

/// Ids come from the network: what is not unreserved (RFC 3986) is percent-encoded.
pub(super) fn path_segment(id: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    // A segment of dots only would climb in the path.
    match id.bytes().all(|byte| byte == b'.') {
        true => id.bytes().map(|byte| format!("%25{byte:02X}")).collect(),
        false => id.bytes().map(encode).collect(),
    }
}

fn session_path(session: &str) -> String {
    format!("{ACCOUNT}/telephony/sessions/{}", path_segment(session))
}

fn party_path(session: &str, party: &str) -> String {
    format!("{}/parties/{}", session_path(session), path_segment(party))
}

fn supervise_body(device: &str, agent: Option<&str>) -> Value {
    let mut body = json!({ "mode": "Listen", "supervisorDeviceId": device });
    if let Some(agent) = agent {
        body["agentExtensionId"] = agent.into();
    }
    body
}
