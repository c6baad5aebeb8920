//! The handshake of a new connection to a server.
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::io::stream::Io;
use crate::io::tls::engine::{Engine, Side};
use crate::io::tls::session::Session;
use crate::upstream::Secure;
use crate::upstream::pool::Peer;
use bytes::BytesMut;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, Error as TlsError, InvalidMessage};
use std::io;
use std::net::{IpAddr, Ipv4Addr};

/// Encrypts a connection that was just opened. Nothing of a request is sent where it fails.
///
/// # Errors
/// The server cannot be agreed with, is not who it should be, or lets its time pass.
pub async fn encrypt(io: &mut Io, peer: &Peer, secure: &Secure<'_>, timeout_ms: u64) -> Result<()> {
    let failed = |kind: Kind, why: &str| Error::new(kind, format!("upstream {}: TLS: {why}", peer.label()));
    let policy = &secure.terms.policy;
    let name = match ServerName::try_from(secure.name.to_owned()) {
        Ok(name) => name,
        // It is neither told nor compared: nginx connects to servers without a name, too.
        Err(_) if !policy.verifies => ServerName::IpAddress(IpAddr::V4(Ipv4Addr::UNSPECIFIED).into()),
        Err(_) => {
            let why = format!(
                "its certificate cannot be compared with the name {:?}: set `name` in upstream_tls (nginx: proxy_ssl_name)",
                secure.name
            );
            return Err(failed(Kind::UpstreamConnect, &why));
        }
    };
    let config = peer.tls_config(policy, secure.alpn);
    let connection = UnbufferedClientConnection::new(config, name)
        .map_err(|error| failed(Kind::UpstreamConnect, &words(&error, secure.name)))?;
    let session = Session::new(io.thread(), io.sock().clone(), Engine::new(Side::Client(Box::new(connection))));
    io.deadline(timeout_ms);
    let shaken = session.handshake(BytesMut::new()).await;
    let late = io.expired();
    io.no_deadline();
    if let Err(error) = shaken {
        let (kind, why) = if late {
            (Kind::UpstreamConnectTimeout, format!("the handshake took more than {timeout_ms} ms (connect_timeout)"))
        } else {
            (Kind::UpstreamConnect, cause(&error, secure.name))
        };
        return Err(failed(kind, &why));
    }
    io.encrypt(session);
    Ok(())
}

/// Why a handshake, or what came behind it, failed.
pub fn cause(error: &io::Error, name: &str) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) {
        Some(error) => words(error, name),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "it closed the connection in the handshake: does it speak TLS at this port?".to_owned()
        }
        None => error.to_string(),
    }
}

/// What rustls says, for people who run servers.
fn words(error: &TlsError, name: &str) -> String {
    match error {
        TlsError::InvalidCertificate(error) => format!("its certificate {}", fault(error)),
        TlsError::AlertReceived(alert) => format!("it refused the connection ({})", refusal(*alert, name)),
        TlsError::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
            "what it sent is not TLS: is it http:// rather than https://?".to_owned()
        }
        TlsError::PeerIncompatible(why) => format!("there is no version or suite that both ends have ({why:?})"),
        other => other.to_string(),
    }
}

/// What is wrong with a certificate.
fn fault(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired => "has expired".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => format!("has expired on {}", date(*not_after)),
        CertificateError::NotValidYet => "is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("is not valid before {}: is this machine's clock right?", date(*not_before))
        }
        CertificateError::Revoked => "is revoked (crl)".to_owned(),
        CertificateError::UnknownRevocationStatus => {
            "is by a CA whose revoked certificates `crl` does not list".to_owned()
        }
        CertificateError::BadSignature => {
            "is not signed by the CA that it names, whose certificate in `ca` of upstream_tls is another of that name"
                .to_owned()
        }
        CertificateError::UnknownIssuer => {
            "has an unknown issuer: name the certificate of its CA in `ca` of upstream_tls (nginx: \
             proxy_ssl_trusted_certificate); one between them has to be sent by the server"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented: Vec<_> = presented.iter().map(|name| shown(name)).collect();
            let those = if presented.is_empty() { "no name".to_owned() } else { presented.join(", ") };
            format!(
                "is for {those}, not for {}: its name is that of the URL, or `name` in upstream_tls",
                expected.to_str()
            )
        }
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "is that of a CA: it is taken if `ca` of upstream_tls has the very same".to_owned()
        }
        other => format!("cannot be used: {other}"),
    }
}

/// A name of a certificate, which webpki shows as `DnsName("a.test")`.
fn shown(name: &str) -> String {
    name.split('"').nth(1).unwrap_or(name).to_owned()
}

/// What an alert means here.
fn refusal(alert: AlertDescription, name: &str) -> String {
    let more = match alert {
        AlertDescription::UnrecognisedName => format!(": it has no server with the name \"{name}\""),
        AlertDescription::HandshakeFailure => {
            ": no cipher suite in common, or it wants a certificate (`certificate` in upstream_tls)".to_owned()
        }
        AlertDescription::CertificateRequired => {
            ": it wants a certificate (`certificate` in upstream_tls; nginx: proxy_ssl_certificate)".to_owned()
        }
        AlertDescription::BadCertificate | AlertDescription::UnknownCA | AlertDescription::CertificateUnknown => {
            ": it does not take the certificate that it was shown".to_owned()
        }
        AlertDescription::ProtocolVersion => ": it speaks none of the versions that `protocols` has".to_owned(),
        AlertDescription::NoApplicationProtocol => ": it speaks another protocol inside TLS".to_owned(),
        _ => String::new(),
    };
    format!("{alert:?}{more}")
}

fn date(time: UnixTime) -> String {
    clock::utc(time.as_secs()).strftime("%Y-%m-%d %H:%M UTC").to_string()
}
