//! What sockets and the registrar say, and what that means.

use std::io::{self, ErrorKind};
use std::time::Duration;

use crate::config::Transport;
use crate::gateway::connect::ConnectError;
use crate::sip::RegistrationFailure;

use super::Outcome;

/// An address that the gateway listens on.
#[derive(Debug)]
pub(super) struct Port {
    /// What for.
    pub(super) what: &'static str,
    /// The key that chooses another.
    pub(super) key: &'static str,
    /// As configured.
    pub(super) address: String,
    /// Whether it could be listened on.
    pub(super) bound: io::Result<()>,
}

/// Whether the outbound proxies, each `host:port`, can be connected to.
pub(super) fn proxies(
    transport: Transport,
    connected: &[(String, Result<(), ConnectError>)],
) -> Outcome {
    let failures: Vec<(&str, &ConnectError)> = connected
        .iter()
        .filter_map(|(proxy, it)| it.as_ref().err().map(|error| (proxy.as_str(), error)))
        .collect();
    let Some((_, first)) = failures.first() else {
        let names: Vec<&str> = connected.iter().map(|(proxy, _)| proxy.as_str()).collect();
        let done = match transport {
            Transport::Udp => "found; whether they answer, the registration tells:",
            Transport::Tcp => "connected to",
            Transport::Tls => "connected to, and trusted:",
        };
        return Outcome::ok(format!("{done} {}", names.join(", ")));
    };
    let list: Vec<String> = failures.iter().map(|(proxy, it)| format!("{proxy}: {it}")).collect();
    let (what, mend) = (list.join("; "), way(first, transport));
    match failures.len() < connected.len() {
        true => Outcome::warning(what, mend),
        false => Outcome::failed(what, mend),
    }
}

/// What opens the way to a proxy.
fn way(error: &ConnectError, transport: Transport) -> String {
    let ports = match transport {
        Transport::Tls => "TLS has 5096 there, TCP and UDP 5090",
        Transport::Tcp | Transport::Udp => "TCP and UDP have 5090 there, TLS 5096",
    };
    match error {
        ConnectError::Lookup(_) => {
            "check the host in [sip] outbound_proxies and this machine's DNS: `getent hosts` with its name".to_owned()
        }
        ConnectError::NoAddress => {
            "set [sip] listen to an address of the proxy's family, such as 0.0.0.0:5060 for IPv4".to_owned()
        }
        ConnectError::Unreachable(error) if error.kind() == ErrorKind::ConnectionRefused => format!(
            "it was refused, so nothing listens there or a firewall rejects it: check the port in [sip] outbound_proxies \
             ({ports}), then the firewall"
        ),
        ConnectError::Unreachable(_) => {
            "check this machine's network and its route to the internet: `ip route get` with the proxy's address"
                .to_owned()
        }
        ConnectError::Timeout => format!(
            "there was silence, so a firewall drops it: let TCP out to ports 5090 to 5099 of RingCentral's networks ({ports})"
        ),
        ConnectError::Certificate(_) => {
            "name the proxy in [sip] outbound_proxies as in its certificate; for an authority of your own set [sip] \
             tls_ca_file, for a public one update the package ca-certificates; a firewall must not open SIP over TLS"
                .to_owned()
        }
        ConnectError::Tls(_) => {
            format!("correct the port in [sip] outbound_proxies, or [sip] transport: {ports}")
        }
        ConnectError::Host(_) => "write [sip] outbound_proxies as host:port".to_owned(),
    }
}

/// Whether the device could be registered, and for how long.
pub(super) fn registration(registered: &Result<Duration, RegistrationFailure>) -> Outcome {
    let failure = match registered {
        Ok(granted) => {
            let seconds = granted.as_secs();
            return Outcome::ok(format!("registered for {seconds} s, and taken off again"));
        }
        Err(failure) => failure,
    };
    let mend = match failure {
        RegistrationFailure::Timeout | RegistrationFailure::FlowDead => {
            "the way is open and SIP gets lost on it: turn off SIP ALG (SIP inspection) in router and firewall, or set [sip] \
             transport = \"tls\""
        }
        RegistrationFailure::Credentials(_) | RegistrationFailure::Forbidden => {
            "remove [sip] domain, user_name, authorization_id and password, so that they are read from RingCentral; if they \
             are not there, reset the device's password: Admin Portal > Phone System > Phones & Devices > (the device) > \
             Setup & Provision > Set up manually using SIP"
        }
        RegistrationFailure::UnknownDevice => {
            "remove [sip] domain and user_name, or copy them anew from the device's SIP settings in the portal"
        }
        RegistrationFailure::TooManyContacts => {
            "stop the other gateways and softphones of this device, wait two minutes, and run this again"
        }
        RegistrationFailure::Challenge(_) => {
            "set [sip] outbound_proxies to RingCentral's own: what answers there is another SIP server"
        }
        RegistrationFailure::Status { .. } => {
            "try the next of [sip] outbound_proxies; if all answer so, see https://status.ringcentral.com"
        }
        RegistrationFailure::FlowClosed => {
            "check that [sip] transport fits the proxy's port, and that no firewall cuts SIP connections"
        }
    };
    Outcome::failed(failure.to_string(), mend)
}

/// Whether the gateway's own ports are free. `is_at_work`: the device is registered, so a gateway may have them already.
pub(super) fn ports(ports: &[Port], is_at_work: bool) -> Outcome {
    let taken: Vec<(&Port, &io::Error)> =
        ports.iter().filter_map(|port| port.bound.as_ref().err().map(|it| (port, it))).collect();
    let Some((first, error)) = taken.first() else {
        let list: Vec<String> =
            ports.iter().map(|port| format!("{} {}", port.what, port.address)).collect();
        return Outcome::ok(list.join(", "));
    };
    let list: Vec<String> = taken
        .iter()
        .map(|(port, error)| {
            format!("{} can't be listened for on {}: {error}", port.what, port.address)
        })
        .collect();
    let what = list.join("; ");
    let key = first.key;
    match error.kind() {
        ErrorKind::AddrInUse if is_at_work => Outcome::warning(
            what,
            "nothing, if that is this gateway at work; else end the other program: `ss -lnptu` names it",
        ),
        ErrorKind::AddrInUse => Outcome::failed(
            what,
            format!("end the program that has it, which `ss -lnptu` names, or change {key}"),
        ),
        ErrorKind::AddrNotAvailable => {
            Outcome::failed(what, format!("set {key} to an address of this machine, or 0.0.0.0"))
        }
        ErrorKind::PermissionDenied => {
            Outcome::failed(what, format!("set {key} to a port from 1024 on"))
        }
        _ => Outcome::failed(what, format!("change {key}")),
    }
}

/// Whether services of one kind, each with its address, can be connected to.
pub(super) fn services(
    program: &str,
    key: &str,
    connected: &[(String, io::Result<()>)],
) -> Outcome {
    let failures: Vec<(&str, &io::Error)> = connected
        .iter()
        .filter_map(|(address, it)| it.as_ref().err().map(|error| (address.as_str(), error)))
        .collect();
    let Some((_, first)) = failures.first() else {
        let names: Vec<&str> = connected.iter().map(|(address, _)| address.as_str()).collect();
        return Outcome::ok(format!("reached at {}", names.join(", ")));
    };
    let list: Vec<String> = failures.iter().map(|(at, error)| format!("{at}: {error}")).collect();
    let mend = match first.kind() {
        ErrorKind::ConnectionRefused => {
            format!("start the {program}, or correct the port in {key}")
        }
        ErrorKind::TimedOut => {
            format!("open the firewall towards the {program}, or correct the address in {key}")
        }
        _ => format!("correct {key}, and check the network between here and the {program}"),
    };
    match failures.len() < connected.len() {
        true => Outcome::warning(list.join("; "), mend),
        false => Outcome::failed(list.join("; "), mend),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mend(outcome: Outcome) -> String {
        match outcome {
            Outcome::Failed { mend, .. } => mend,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn refused_silent_and_untrusted_proxies_are_told_apart() {
        let refused = ConnectError::Unreachable(ErrorKind::ConnectionRefused.into());
        let unreachable = ConnectError::Unreachable(ErrorKind::NetworkUnreachable.into());
        let untrusted = ConnectError::Certificate(rustls::CertificateError::UnknownIssuer);
        for (error, step) in [
            (refused, "nothing listens there"),
            (unreachable, "ip route get"),
            (ConnectError::Timeout, "a firewall drops it"),
            (untrusted, "tls_ca_file"),
            (ConnectError::Tls(io::Error::other("no TLS")), "correct the port"),
            (ConnectError::Lookup(io::Error::other("no name")), "DNS"),
            (ConnectError::NoAddress, "[sip] listen"),
        ] {
            let mend = mend(proxies(Transport::Tls, &[("a:5096".into(), Err(error))]));
            assert!(mend.contains(step), "{mend}");
        }
    }

    #[test]
    fn one_proxy_of_several_is_enough() {
        let both = [("a:1".to_owned(), Err(ConnectError::Timeout)), ("b:1".to_owned(), Ok(()))];
        let Outcome::Warning { what, .. } = proxies(Transport::Tcp, &both) else {
            panic!("b can be reached")
        };
        assert!(what.starts_with("a:1: ") && !what.contains("b:1"), "{what}");
        assert!(matches!(proxies(Transport::Udp, &both[1..]), Outcome::Ok { .. }));
    }

    #[test]
    fn every_failed_registration_has_a_step() {
        let status = RegistrationFailure::Status { code: 503, retry_after: None };
        for (failure, step) in [
            (RegistrationFailure::Timeout, "SIP ALG"),
            (RegistrationFailure::Credentials(401), "Set up manually using SIP"),
            (RegistrationFailure::Forbidden, "password"),
            (RegistrationFailure::UnknownDevice, "user_name"),
            (RegistrationFailure::TooManyContacts, "two minutes"),
            (status, "outbound_proxies"),
            (RegistrationFailure::FlowClosed, "transport"),
        ] {
            let mend = mend(registration(&Err(failure)));
            assert!(mend.contains(step), "{mend}");
        }
        let Outcome::Ok { detail } = registration(&Ok(Duration::from_secs(182))) else {
            panic!("registered")
        };
        assert!(detail.contains("182 s"), "{detail}");
    }

    #[test]
    fn a_taken_port_may_be_our_own() {
        let port = |kind: Option<ErrorKind>| Port {
            what: "SIP",
            key: "[sip] listen",
            address: "0.0.0.0:5060".into(),
            bound: kind.map_or(Ok(()), |kind| Err(kind.into())),
        };
        assert!(matches!(ports(&[port(None)], false), Outcome::Ok { .. }));
        let taken = || [port(None), port(Some(ErrorKind::AddrInUse))];
        assert!(matches!(ports(&taken(), true), Outcome::Warning { .. }));
        assert!(mend(ports(&taken(), false)).contains("ss -lnptu"));
        for (kind, step) in [
            (ErrorKind::AddrNotAvailable, "address of this machine"),
            (ErrorKind::PermissionDenied, "1024"),
            (ErrorKind::OutOfMemory, "change [sip] listen"),
        ] {
            assert!(mend(ports(&[port(Some(kind))], true)).contains(step), "{kind}");
        }
    }

    #[test]
    fn one_transcriber_of_several_is_enough() {
        let at = |kind: Option<ErrorKind>| {
            ("http://a:1".to_owned(), kind.map_or(Ok(()), |kind| Err(kind.into())))
        };
        let judge = |all: &[_]| services("transcriber", "[uplink] transcribers", all);
        assert!(matches!(judge(&[at(None)]), Outcome::Ok { .. }));
        let both = [at(None), at(Some(ErrorKind::ConnectionRefused))];
        assert!(matches!(judge(&both), Outcome::Warning { .. }));
        assert!(mend(judge(&both[1..])).contains("start the transcriber"));
        assert!(mend(judge(&[at(Some(ErrorKind::TimedOut))])).contains("firewall"));
        assert!(mend(judge(&[at(Some(ErrorKind::NotFound))])).contains("[uplink] transcribers"));
    }
}
