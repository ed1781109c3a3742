//! Kamailio as registrar and proxy.

use std::net::SocketAddr;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::process::Command;

use super::capture;
use super::lab::{AUTHORIZATION_ID, DOMAIN, Lab, PASSWORD};
use super::process::{Process, free_address};
use super::sipp;

/// How Kamailio challenges.
#[derive(Clone, Copy, Debug)]
pub struct Challenge {
    /// `MD5` or `SHA-256`.
    pub algorithm: &'static str,
    /// With `qop=auth`, or none.
    pub qop: bool,
    /// Seconds until a nonce is too old.
    pub nonce_expire: u32,
    /// Seconds that a registration is granted at most.
    pub max_expires: u32,
}

impl Default for Challenge {
    fn default() -> Self {
        Self { algorithm: "MD5", qop: true, nonce_expire: 300, max_expires: 3600 }
    }
}

/// A running Kamailio.
pub struct Kamailio {
    pub process: Process,
    /// For UDP and TCP.
    pub plain: SocketAddr,
    tls: SocketAddr,
    directory: TempDir,
}

impl Kamailio {
    /// Starts it, and waits until it serves.
    pub async fn start(challenge: Challenge) -> Self {
        Self::start_on(challenge, free_address()).await
    }

    async fn start_on(challenge: Challenge, plain: SocketAddr) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tls = free_address();
        write_certificate(&directory);
        let path = directory.path().display().to_string();
        let flags = u32::from(challenge.qop);
        let config = [
            ("plain", plain.to_string()),
            ("tls", tls.to_string()),
            ("algorithm", challenge.algorithm.to_owned()),
            ("nonce_expire", challenge.nonce_expire.to_string()),
            ("max_expires", challenge.max_expires.to_string()),
            ("directory", path.clone()),
            ("user", AUTHORIZATION_ID.to_owned()),
            ("password", PASSWORD.to_owned()),
            ("realm", DOMAIN.to_owned()),
            ("flags", flags.to_string()),
            ("stale_flags", (flags | 16).to_string()),
        ]
        .iter()
        .fold(include_str!("kamailio.cfg").to_owned(), |text, (key, value)| {
            text.replace(&format!("{{{{{key}}}}}"), value)
        });
        let file = directory.path().join("kamailio.cfg");
        std::fs::write(&file, config).unwrap();
        // In the foreground, with little memory, logging to standard error.
        let mut command = Command::new("kamailio");
        command.args(["-DD", "-E", "-m", "32", "-M", "4", "-Y", &path, "-f"]).arg(file);
        let mut process = Process::start("kamailio", &mut command);
        process.logged("peer: ready", 1).await;
        Self { process, plain, tls, directory }
    }

    /// The proxy for a transport, by the name in the certificate.
    pub fn proxy(&self, transport: &str) -> String {
        match transport {
            "tls" => format!("localhost:{}", self.tls.port()),
            _ => self.plain.to_string(),
        }
    }

    /// The authority that its certificate is from.
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }
}

/// A certificate for `localhost` from an authority of its own, and the TLS section that names it.
fn write_certificate(directory: &TempDir) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    let path = directory.path().display();
    let tls = format!(
        "[server:default]\nmethod = TLSv1.2+\nverify_certificate = no\nrequire_certificate = no\n\
         private_key = {path}/key.pem\ncertificate = {path}/certificate.pem\n"
    );
    for (name, content) in [
        ("ca.pem", authority.pem()),
        ("certificate.pem", certificate.pem()),
        ("key.pem", key.serialize_pem()),
        ("tls.cfg", tls),
    ] {
        std::fs::write(directory.path().join(name), content).unwrap();
    }
}

/// Registers, takes a call from sipp through Kamailio, and unregisters.
async fn is_called_through_kamailio(transport: &str, challenge: Challenge) {
    let mut kamailio = Kamailio::start(challenge).await;
    let proxies = [kamailio.proxy(transport)];
    let ca_file = (transport == "tls").then(|| kamailio.ca_file());
    let mut lab = Lab::start(transport, &proxies, ca_file.as_deref()).await;
    lab.expects_invite().await;
    kamailio.process.logged(&format!("peer: registered over {transport}"), 1).await;

    sipp::plays(kamailio.plain, "call.xml", "u1").await;
    let heard = lab.call_over().await;
    assert!(heard.loud_seconds() > 1.9, "{} s", heard.loud_seconds());
    assert!(heard.share(capture::FREQUENCY) > 0.9, "{}", heard.share(capture::FREQUENCY));
    lab.stop().await;
    kamailio.process.logged(&format!("peer: unregistered over {transport}"), 1).await;
    kamailio.process.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kamailio and sipp: make test-peers"]
async fn over_udp_with_md5_and_no_qop() {
    let challenge = Challenge { qop: false, ..Challenge::default() };
    is_called_through_kamailio("udp", challenge).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kamailio and sipp: make test-peers"]
async fn over_tcp_with_md5_and_qop() {
    is_called_through_kamailio("tcp", Challenge::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kamailio and sipp: make test-peers"]
async fn over_tls_with_sha_256_and_qop() {
    let challenge = Challenge { algorithm: "SHA-256", ..Challenge::default() };
    is_called_through_kamailio("tls", challenge).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kamailio: make test-peers"]
async fn a_short_grant_is_refreshed_in_time_with_a_new_nonce() {
    let challenge = Challenge { nonce_expire: 1, max_expires: 4, ..Challenge::default() };
    let mut kamailio = Kamailio::start(challenge).await;
    let lab = Lab::start("tcp", &[kamailio.proxy("tcp")], None).await;
    kamailio.process.logged("peer: registered", 1).await;
    kamailio.process.logged("peer: challenged -4", 1).await;
    kamailio.process.logged("peer: registered", 2).await;
    lab.stop().await;
    kamailio.process.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kamailio: make test-peers"]
async fn a_dead_proxy_is_passed_over_and_a_restarted_one_found_again() {
    let mut kamailio = Kamailio::start(Challenge::default()).await;
    let proxies = [free_address().to_string(), kamailio.proxy("tcp")];
    let lab = Lab::start("tcp", &proxies, None).await;
    kamailio.process.logged("peer: registered over tcp", 1).await;
    let address = kamailio.plain;
    kamailio.process.terminate().await;
    drop(kamailio);
    let mut again = Kamailio::start_on(Challenge::default(), address).await;
    again.process.logged("peer: registered over tcp", 1).await;
    lab.stop().await;
    again.process.logged("peer: unregistered over tcp", 1).await;
    again.process.terminate().await;
}
