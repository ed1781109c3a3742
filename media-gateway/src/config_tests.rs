use super::*;

const GOOD: &str = r#"
[ringcentral]
client_id = "id"
client_secret = "hush"
jwt = "hush.hush"
supervisor_device_id = "802512345678"
agents = ["62226587016"]
[sip]
allowed_sources = ["10.0.0.0/8", "2001:db8::1"]
[uplink]
transcriber = "http://127.0.0.1:50051"
relay = "http://127.0.0.1:50052"
"#;

fn error(from: &str, to: &str) -> String {
    let text = GOOD.replace(from, to);
    assert_ne!(text, GOOD, "{from} is not in the sample");
    Config::from_toml(&text).unwrap_err().to_string()
}

#[test]
fn defaults_are_filled_in_and_secrets_stay_hidden() {
    let config = Config::from_toml(GOOD).unwrap();
    assert_eq!(config.server, "https://platform.ringcentral.com");
    assert_eq!(config.supervise, Supervise::Party);
    assert_eq!(config.poll_interval, Duration::from_secs(2));
    assert_eq!(config.transport, Transport::Tcp);
    assert_eq!(config.account, None);
    assert_eq!(config.operations.listen, None);
    assert_eq!(config.operations.drain_limit, Duration::from_secs(20));
    assert!(!format!("{config:?}").contains("hush"));
}

#[test]
fn transcribers_are_one_or_more() {
    let uris = |text: &str| -> Vec<String> {
        let config = Config::from_toml(text).unwrap();
        config.transcribers.iter().map(|it| it.uri().to_string()).collect()
    };
    assert_eq!(uris(GOOD), ["http://127.0.0.1:50051/"]);
    let two = "transcribers = [\"http://a:1\", \"http://b:2\"]";
    let two = GOOD.replace("transcriber = \"http://127.0.0.1:50051\"", two);
    assert_eq!(uris(&two), ["http://a:1/", "http://b:2/"]);
}

#[test]
fn bad_values_name_their_key() {
    for (from, to, key) in [
        ("[\"62226587016\"]", "[]", "ringcentral.agents"),
        ("62226587016", "Bob", "ringcentral.agents"),
        ("802512345678", "../x", "ringcentral.supervisor_device_id"),
        ("\"id\"", "\" \"", "ringcentral.client_id"),
        ("[sip]", "[sip]\nlisten = \"5060\"", "sip.listen"),
        ("[sip]", "[sip]\nmax_calls = 0", "sip.max_calls"),
        ("[sip]", "[sip]\noutbound_proxies = [\"a:5090\", \"proxy\"]", "sip.outbound_proxies"),
        ("[sip]", "[sip]\ntls_ca_file = \"lab.pem\"", "sip.tls_ca_file"),
        ("[sip]", "[sip]\ndomain = \"sip.ringcentral.com\"", "sip"),
        ("10.0.0.0/8", "10.0.0.0/33", "sip.allowed_sources"),
        ("10.0.0.0/8", "everyone", "sip.allowed_sources"),
        ("http://127.0.0.1:50051", "127.0.0.1:50051", "uplink.transcribers"),
        ("\"http://127.0.0.1:50051\"", "[]", "uplink.transcribers"),
        ("\"http://127.0.0.1:50051\"", "7", "must be an address in quotes, or a list"),
        ("[sip]", "[sip]\nmax_calls_per_second = 0", "sip.max_calls_per_second"),
        ("[sip]", "[operations]\nlisten = \"9090\"\n[sip]", "operations.listen"),
        ("[sip]", "[operations]\ndrain_seconds = 0\n[sip]", "operations.drain_seconds"),
        ("http://127.0.0.1:50052", "ftp://x", "uplink.relay"),
        ("agents", "poll_interval_ms = 5\nagents", "ringcentral.poll_interval_ms"),
        ("agents", "server = \"nowhere\"\nagents", "ringcentral.server"),
        ("agents", "colour = 1\nagents", "unknown field `colour`"),
        ("jwt", "jvt", "unknown field `jvt`"),
        ("agents", "supervise = \"both\"\nagents", "line 7: unknown variant `both`"),
    ] {
        let message = error(from, to);
        assert!(message.contains(key), "{to}: {message}");
    }
}

#[test]
fn tls_with_its_own_authority_and_several_proxies() {
    let sip = "[sip]\ntransport = \"tls\"\ntls_ca_file = \"lab.pem\"\nstate_directory = \"state\"\n\
               outbound_proxies = [\"a.example:5096\", \"[2001:db8::1]:5096\"]";
    let config = Config::from_toml(&GOOD.replace("[sip]", sip)).unwrap();
    assert_eq!(config.transport, Transport::Tls);
    assert_eq!(config.outbound_proxies, ["a.example:5096", "[2001:db8::1]:5096"]);
    assert_eq!(config.tls_ca_file, Some("lab.pem".into()));
    assert_eq!(config.state_directory, Some("state".into()));
}

#[test]
fn networks_contain_their_addresses() {
    for (network, address, inside) in [
        ("10.0.0.0/8", "10.255.0.1", true),
        ("10.0.0.0/8", "11.0.0.1", false),
        ("10.0.0.0/8", "::ffff:10.1.1.1", true),
        ("192.0.2.1", "192.0.2.1", true),
        ("192.0.2.1", "192.0.2.2", false),
        ("0.0.0.0/0", "8.8.8.8", true),
        ("0.0.0.0/0", "::1", false),
        ("2001:db8::/32", "2001:db8:ffff::1", true),
        ("2001:db8::/32", "2001:db9::1", false),
        ("::/0", "::1", true),
    ] {
        let address = address.parse().unwrap();
        assert_eq!(
            Network::parse(network).unwrap().contains(address),
            inside,
            "{network} {address}"
        );
    }
}

#[test]
fn a_syntax_error_does_not_quote_the_secret() {
    let message = error("client_secret = \"hush\"", "client_secret = \"hush");
    assert!(message.contains("line 4") && !message.contains("hush"), "{message}");
    let message = error("\"hush\"", "31337");
    assert!(message.contains("line 4") && !message.contains("31337"), "{message}");
}

#[test]
fn consent_rules_are_read_and_checked() {
    use crate::control::consent::Policy;
    let consent = |lines: &str| Config::from_toml(&format!("{GOOD}[consent]\n{lines}\n"));
    let config = consent(
        "policy = \"required\"\ngranted_key = \"1\"\nrefused_key = \"#\"\n\
         announced_phrases = { agent = [\"this call is recorded\"] }\n\
         groups.eu = { policy = \"required\", agents = [\"1\"] }",
    )
    .unwrap();
    assert_eq!(config.consent.policy, Policy::Required);
    assert_eq!(config.consent.groups.len(), 1);
    let rules = &config.consent_rules;
    assert_eq!((rules.granted_key, rules.refused_key), (Some('1'), Some('#')));
    assert_eq!(rules.announced_phrases.agent, ["this call is recorded"]);
    for (lines, key) in [
        ("granted_key = \"x\"", "consent.granted_key"),
        ("granted_key = \"1\"\nrefused_key = \"1\"", "consent.refused_key"),
        ("granted_phrases = { anyone = [\" - \"] }", "consent.granted_phrases"),
        ("groups.eu = { policy = \"required\", agents = [\"Bob\"] }", "consent.groups"),
    ] {
        let error = consent(lines).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{key}: ")), "{lines}: {error}");
    }
    for lines in ["granted_key = \"12\"", "granted_phrases = { caller = [\"x\"] }", "polcy = \"\""]
    {
        assert!(matches!(consent(lines), Err(ConfigError::Syntax(_))), "{lines}");
    }
    let many = vec!["\"yes\""; 31].join(", ");
    assert!(consent(&format!("refused_phrases = {{ anyone = [{many}] }}")).is_err());
}
