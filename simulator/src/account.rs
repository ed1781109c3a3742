//! The RingCentral account that the simulator plays.

use std::fmt;

/// One RingCentral account: an app's credentials, the supervisor with its SIP device, the agents.
#[derive(Clone)]
pub struct Account {
    /// The account's id, the `accountId` of every party.
    pub account_id: String,
    /// The app's client id, the user of the Basic authentication of the token request.
    pub client_id: String,
    /// The app's client secret.
    pub client_secret: String,
    /// The JWT that the token request presents; an opaque string, compared as a whole.
    pub jwt: String,
    /// The supervisor's extension id: the owner of the access tokens.
    pub supervisor_extension_id: String,
    /// The supervisor's extension number, such as `102`.
    pub supervisor_extension_number: String,
    /// The supervisor's device id, which is also its SIP authorization id.
    pub supervisor_device_id: String,
    /// The user part of the device's SIP address, in the form `mainNumber*extension`.
    pub sip_user_name: String,
    /// The password of the digest authentication.
    pub sip_password: String,
    /// The SIP domain, without a port; it is also the realm of the digest authentication.
    pub sip_domain: String,
    /// The extensions whose calls can be supervised.
    pub agents: Vec<Agent>,
}

/// An extension that takes calls.
#[derive(Clone)]
pub struct Agent {
    /// The extension id.
    pub extension_id: String,
    /// The extension number, such as `108`.
    pub extension_number: String,
    /// The direct phone number, in E.164 form.
    pub phone_number: String,
    /// The name that callers see.
    pub name: String,
    /// Whether the supervisor's call monitoring group holds this extension as `Monitored`. A
    /// request to supervise any other extension is refused with `MBW-002`.
    pub monitored: bool,
}

/// Somebody on the public telephone network.
#[derive(Clone, PartialEq, Eq)]
pub struct Customer {
    /// The phone number, in E.164 form.
    pub phone_number: String,
    /// The name that the agent sees.
    pub name: String,
}

impl Default for Customer {
    /// The customer of the demo. All numbers here are fictional, by the rules for numbers in films.
    fn default() -> Self {
        Self { phone_number: "+14085550100".into(), name: "Helen Carter".into() }
    }
}

impl Customer {
    /// Who joins a conference.
    pub(crate) fn guest() -> Self {
        Self { phone_number: "+14085550199".into(), name: "Oliver Grant".into() }
    }
}

impl Account {
    /// The account of the bundled demo: fixed sample values, good for loopback only.
    ///
    /// It has two agents: `62226587016` can be supervised, `62226587017` is in no monitoring
    /// group.
    pub fn demo() -> Self {
        Self {
            account_id: "809646000".into(),
            client_id: "sidetone-demo-app".into(),
            client_secret: "sidetone-demo-secret".into(),
            jwt: "eyJhbGciOiJub25lIn0.c2lkZXRvbmUtZGVtbw.c2ltdWxhdGVk".into(),
            supervisor_extension_id: "809646016".into(),
            supervisor_extension_number: "102".into(),
            supervisor_device_id: "802512345678".into(),
            sip_user_name: "18005550197*102".into(),
            sip_password: "sidetone-demo-password".into(),
            sip_domain: "sip.ringcentral.com".into(),
            agents: vec![
                Agent {
                    extension_id: "62226587016".into(),
                    extension_number: "108".into(),
                    phone_number: "+18005550108".into(),
                    name: "Daniel Reed".into(),
                    monitored: true,
                },
                Agent {
                    extension_id: "62226587017".into(),
                    extension_number: "109".into(),
                    phone_number: "+18005550109".into(),
                    name: "Maria Stone".into(),
                    monitored: false,
                },
            ],
        }
    }

    /// The demo's account with this many agents, all of them monitored, with ids and names of their own.
    pub fn with_agents(count: usize) -> Self {
        const FIRST: [&str; 8] =
            ["Daniel", "Maria", "Aisha", "Peter", "Lin", "Carlos", "Emma", "Joseph"];
        const LAST: [&str; 7] = ["Reed", "Stone", "Okafor", "Lang", "Chen", "Vega", "Hughes"];
        let agent = |n: usize| Agent {
            extension_id: (62_226_587_016 + n as u64).to_string(),
            extension_number: (108 + n).to_string(),
            phone_number: format!("+1800555{:04}", (108 + n) % 10_000),
            name: format!("{} {}", FIRST[n % FIRST.len()], LAST[n % LAST.len()]),
            monitored: true,
        };
        Self { agents: (0..count).map(agent).collect(), ..Self::demo() }
    }

    /// One of several accounts with this many agents each: nothing but the SIP domain is the same in any two of them.
    /// The first, with number 0, is [`Account::with_agents`].
    pub fn numbered(number: usize, agents: usize) -> Self {
        let mut account = Self::with_agents(agents);
        if number == 0 {
            return account;
        }
        let id = |first: &str| {
            let first: u64 = first.parse().unwrap_or_default();
            (first + 100_000_000 * number as u64).to_string()
        };
        account.account_id = id(&account.account_id);
        account.supervisor_extension_id = id(&account.supervisor_extension_id);
        account.supervisor_device_id = id(&account.supervisor_device_id);
        for agent in &mut account.agents {
            agent.extension_id = id(&agent.extension_id);
        }
        for own in [
            &mut account.client_id,
            &mut account.client_secret,
            &mut account.jwt,
            &mut account.sip_password,
        ] {
            own.push_str(&format!("-{number}"));
        }
        account.sip_user_name =
            format!("1800556{number:04}*{}", account.supervisor_extension_number);
        account
    }

    /// Another agent than this one.
    pub(crate) fn colleague_of(&self, extension_id: &str) -> Option<&Agent> {
        let own = self.agents.iter().position(|agent| agent.extension_id == extension_id)?;
        let next = &self.agents[(own + 1) % self.agents.len()];
        (next.extension_id != extension_id).then_some(next)
    }

    pub(crate) fn agent(&self, extension_id: &str) -> Option<&Agent> {
        self.agents.iter().find(|agent| agent.extension_id == extension_id)
    }
}

/// Ids only: secrets, numbers and names stay out of logs.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("account_id", &self.account_id)
            .field("supervisor_extension_id", &self.supervisor_extension_id)
            .field("supervisor_device_id", &self.supervisor_device_id)
            .field("agents", &self.agents)
            .finish_non_exhaustive()
    }
}

/// Nothing: a customer has no id.
impl fmt::Debug for Customer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Customer").finish_non_exhaustive()
    }
}

/// Ids only, as for [`Account`].
impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent")
            .field("extension_id", &self.extension_id)
            .field("monitored", &self.monitored)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn accounts_have_nothing_in_common() {
        let mut seen = BTreeSet::new();
        for number in 0..20 {
            let account = Account::numbered(number, 50);
            let ids = account.agents.iter().map(|agent| agent.extension_id.clone());
            let own = [
                account.account_id,
                account.client_id,
                account.client_secret,
                account.jwt,
                account.supervisor_extension_id,
                account.supervisor_device_id,
                account.sip_user_name,
                account.sip_password,
            ];
            for value in ids.chain(own) {
                assert!(seen.insert(value.clone()), "{value} is in two accounts");
            }
        }
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let account = Account::demo();
        let shown = format!("{account:?}");
        for secret in [
            &account.client_secret,
            &account.jwt,
            &account.sip_password,
            &account.sip_user_name,
            &account.agents[0].phone_number,
            &account.agents[0].name,
        ] {
            assert!(!shown.contains(secret.as_str()), "{secret} is in {shown}");
        }
        assert!(shown.contains("62226587016"));
    }
}
