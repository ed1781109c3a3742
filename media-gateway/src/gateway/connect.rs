//! The way to an outbound proxy: its name looked up anew for every attempt, TCP, and TLS with a verified certificate.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::Verifier;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::Transport;

/// A proxy that has not accepted a connection, TLS included, within this time is gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects to proxies. Clones share the trusted roots.
#[derive(Clone)]
pub(crate) struct Connector {
    transport: Transport,
    /// Present for TLS only: reading the system's roots takes a while.
    tls: Option<TlsConnector>,
}

/// A way to the proxy.
#[derive(Debug)]
pub(crate) enum Connected {
    Udp(SocketAddr),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why TLS can't be used at all.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The CA file is missing, unreadable or not PEM.
    #[error("could not read {path} ({source}); [sip] tls_ca_file must name certificates in PEM")]
    CaFile {
        /// As configured.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: pem::Error,
    },
    /// The CA file holds no certificate.
    #[error("{path} holds no certificate; [sip] tls_ca_file must name certificates in PEM")]
    NoCertificate {
        /// As configured.
        path: PathBuf,
    },
    /// The system's trusted roots, or a certificate of the CA file, can't be used.
    #[error("could not set up the verification of certificates: {0}")]
    Roots(#[from] rustls::Error),
}

/// Why there is no way to a proxy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The name can't be resolved.
    #[error("its name can't be looked up: {0}")]
    Lookup(#[source] io::Error),
    /// The name has no address that the SIP socket can send to.
    #[error("its name has no address of the family that [sip] listen has")]
    NoAddress,
    /// Refused, unreachable or broken off.
    #[error("{0}")]
    Unreachable(#[source] io::Error),
    /// The host can't be written in a certificate.
    #[error("{0:?} is neither a host name nor an address")]
    Host(String),
    /// Not from a trusted authority, for another name, or expired.
    #[error(
        "its certificate is not accepted ({0}); check that the proxy is named as in its certificate, or name the \
         authority's certificate in [sip] tls_ca_file"
    )]
    Certificate(rustls::CertificateError),
    /// Something other than TLS listens there, or TLS can't be agreed on.
    #[error("TLS failed ({0}); check that the port is the one for TLS")]
    Tls(#[source] io::Error),
    /// Nothing happened for too long.
    #[error("no connection within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
}

impl Connector {
    /// Reads the trusted roots, if the transport is TLS: the system's, and those of `ca_file`.
    pub(crate) fn new(transport: Transport, ca_file: Option<&Path>) -> Result<Self, TlsError> {
        let tls = match transport {
            Transport::Tls => Some(tls_connector(ca_file)?),
            Transport::Tcp | Transport::Udp => None,
        };
        Ok(Self { transport, tls })
    }

    /// Finds the proxy (`host:port`) and, unless over UDP, connects to it. `listening` is the UDP socket's address.
    pub(crate) async fn connect(
        &self,
        proxy: &str,
        listening: IpAddr,
    ) -> Result<Connected, ConnectError> {
        let attempt = async {
            match (self.transport, &self.tls) {
                (Transport::Udp, _) => {
                    let mut found = lookup_host(proxy).await.map_err(ConnectError::Lookup)?;
                    let address = found.find(|it| it.is_ipv4() == listening.is_ipv4());
                    address.map(Connected::Udp).ok_or(ConnectError::NoAddress)
                }
                (Transport::Tcp | Transport::Tls, None) => {
                    Ok(Connected::Tcp(connect_tcp(proxy).await?))
                }
                (Transport::Tcp | Transport::Tls, Some(tls)) => {
                    let name = server_name(proxy)?;
                    let stream = connect_tcp(proxy).await?;
                    let stream = tls.connect(name, stream).await.map_err(tls_failure)?;
                    Ok(Connected::Tls(Box::new(stream)))
                }
            }
        };
        timeout(CONNECT_TIMEOUT, attempt).await.unwrap_or(Err(ConnectError::Timeout))
    }
}

/// Tries every address of the name in turn.
async fn connect_tcp(proxy: &str) -> Result<TcpStream, ConnectError> {
    let mut last = Err(ConnectError::NoAddress);
    for address in lookup_host(proxy).await.map_err(ConnectError::Lookup)? {
        last = TcpStream::connect(address).await.map_err(ConnectError::Unreachable);
        if last.is_ok() {
            break;
        }
    }
    last
}

/// The name that the certificate must be for: the host part of `host:port`.
fn server_name(proxy: &str) -> Result<ServerName<'static>, ConnectError> {
    let host = proxy.rsplit_once(':').map_or(proxy, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    ServerName::try_from(host.clone()).map_err(|_| ConnectError::Host(host))
}

fn tls_connector(ca_file: Option<&Path>) -> Result<TlsConnector, TlsError> {
    let provider = CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()));
    let extra = ca_file.map(read_certificates).transpose()?.unwrap_or_default();
    let verifier = Verifier::new_with_extra_roots(extra, provider.clone())?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |source| TlsError::CaFile { path: path.to_owned(), source };
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(unreadable)?
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    match certificates.is_empty() {
        true => Err(TlsError::NoCertificate { path: path.to_owned() }),
        false => Ok(certificates),
    }
}

fn tls_failure(error: io::Error) -> ConnectError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(reason)) => {
            ConnectError::Certificate(reason.clone())
        }
        Some(_) | None => ConnectError::Tls(error),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    struct Lab {
        ca_file: tempfile::NamedTempFile,
        port: u16,
    }

    /// A TLS server that greets whoever gets through, with a certificate for `name` from an authority of its own.
    async fn serve(name: &str) -> Lab {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let unique = uuid::Uuid::new_v4().to_string();
        authority.distinguished_name.push(DnType::CommonName, unique);
        let authority =
            CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .signed_by(&key, &authority)
            .unwrap();
        let ca_file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(ca_file.path(), authority.pem()).unwrap();
        let config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(
                    vec![certificate.der().clone()],
                    PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
                )
                .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.write_all(b"hello").await;
                    let _ = stream.shutdown().await;
                }
            }
        });
        Lab { ca_file, port }
    }

    async fn connect(ca_file: Option<&Path>, proxy: String) -> Result<Connected, ConnectError> {
        Connector::new(Transport::Tls, ca_file).unwrap().connect(&proxy, LOOPBACK).await
    }

    #[tokio::test]
    async fn a_certificate_from_the_configured_authority_for_the_right_name_is_accepted() {
        for (name, host) in [("localhost", "localhost"), ("127.0.0.1", "127.0.0.1")] {
            let lab = serve(name).await;
            let connected =
                connect(Some(lab.ca_file.path()), format!("{host}:{}", lab.port)).await.unwrap();
            let Connected::Tls(mut stream) = connected else { panic!("{connected:?}") };
            let mut greeting = String::new();
            stream.read_to_string(&mut greeting).await.unwrap();
            assert_eq!(greeting, "hello");
        }
    }

    #[tokio::test]
    async fn an_unknown_authority_is_refused() {
        let lab = serve("localhost").await;
        let elsewhere = serve("localhost").await;
        for ca_file in [None, Some(elsewhere.ca_file.path())] {
            let error = connect(ca_file, format!("localhost:{}", lab.port)).await.unwrap_err();
            let unknown = rustls::CertificateError::UnknownIssuer;
            assert!(matches!(&error, ConnectError::Certificate(it) if *it == unknown), "{error}");
            assert!(error.to_string().contains("tls_ca_file"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_certificate_for_another_name_is_refused() {
        let lab = serve("sip.elsewhere.example").await;
        let proxy = format!("localhost:{}", lab.port);
        let error = connect(Some(lab.ca_file.path()), proxy).await.unwrap_err();
        assert!(
            matches!(
                error,
                ConnectError::Certificate(
                    rustls::CertificateError::NotValidForName
                        | rustls::CertificateError::NotValidForNameContext { .. }
                )
            ),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_port_without_tls_and_a_closed_one_are_told_apart() {
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let proxy = format!("localhost:{}", listener.local_addr().unwrap().port());
        let plain = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"SIP/2.0 400 This is not TLS\r\n\r\n").await.unwrap();
            listener
        });
        let error = connect(None, proxy.clone()).await.unwrap_err();
        assert!(matches!(error, ConnectError::Tls(_)), "{error}");
        drop(plain.await.unwrap());
        let error = connect(None, proxy).await.unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable(_)), "{error}");
    }

    #[tokio::test]
    async fn names_are_looked_up() {
        let udp = Connector::new(Transport::Udp, None).unwrap();
        let found = udp.connect("localhost:5060", LOOPBACK).await.unwrap();
        assert!(matches!(found, Connected::Udp(at) if at == SocketAddr::from((LOOPBACK, 5060))));
        let error = udp.connect("no-such-host.invalid:5060", LOOPBACK).await.unwrap_err();
        assert!(matches!(error, ConnectError::Lookup(_)), "{error}");
        let bad = connect(None, "bad_.host..:5061".to_owned()).await.unwrap_err();
        assert!(matches!(bad, ConnectError::Host(_)), "{bad}");
    }

    #[test]
    fn a_ca_file_must_hold_certificates() {
        let missing = Connector::new(Transport::Tls, Some(Path::new("/nowhere/ca.pem"))).err();
        assert!(matches!(missing, Some(TlsError::CaFile { .. })), "{missing:?}");
        let empty = tempfile::NamedTempFile::new().unwrap();
        let error = Connector::new(Transport::Tls, Some(empty.path())).err();
        assert!(matches!(error, Some(TlsError::NoCertificate { .. })), "{error:?}");
    }
}
