//! A certificate for the TLS port, from an authority that lives as long as the simulator.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::IpAddr;
use std::sync::Arc;
use thiserror::Error;

/// Why there is no certificate.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// A key or a certificate cannot be made.
    #[error("cannot make a certificate for the TLS port")]
    Generate(#[from] rcgen::Error),
    /// TLS does not take it.
    #[error("cannot use the certificate of the TLS port")]
    Use(#[from] rustls::Error),
}

/// What the TLS port presents, and whom to trust for it.
pub(crate) struct Certificate {
    /// The configuration of the TLS port.
    pub(crate) server: Arc<ServerConfig>,
    /// The authority's certificate.
    pub(crate) authority_pem: String,
}

impl Certificate {
    /// A certificate for `localhost` and an address, good for as long as the simulator runs.
    pub(crate) fn generate(address: IpAddr) -> Result<Self, CertificateError> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.distinguished_name = name("Simulated cloud authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        if !address.is_unspecified() && !address.is_loopback() {
            names.push(address.to_string());
        }
        let mut certificate = CertificateParams::new(names)?;
        // OpenSSL takes a certificate with its authority's name for self-signed.
        certificate.distinguished_name = name("Simulated cloud");
        let certificate = certificate.signed_by(&key, &authority)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        Ok(Self { server: Arc::new(server), authority_pem: authority.pem() })
    }
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}
