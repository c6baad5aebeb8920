//! How connections are encrypted, as the configuration has it.
use crate::units::Millis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A TLS policy: the certificates of some servers, and on which terms clients may connect.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Certificates with their keys. Of several with keys of other kinds each client gets the first that it can check.
    pub certificate: Vec<Certificate>,
    /// Versions of the protocol (nginx: `ssl_protocols`). Default: TLSv1.2, TLSv1.3.
    pub protocols: Vec<Protocol>,
    /// Cipher suites, best first, by OpenSSL's names. Where none is of a version, all of that version are taken. Default: all that there are, which are AEAD ciphers with forward secrecy (nginx: `ssl_ciphers`).
    pub ciphers: Vec<String>,
    /// Of the suites that both ends have the first of `ciphers` is taken, not the client's first. Default: false (nginx: `ssl_prefer_server_ciphers`).
    pub prefer_server_ciphers: bool,
    /// Key-exchange groups, best first. Default: X25519MLKEM768, X25519, prime256v1, secp384r1 (nginx: `ssl_ecdh_curve`).
    pub curves: Vec<String>,
    /// Handshakes for these names are refused. Default: false (nginx: `ssl_reject_handshake`).
    pub reject_handshake: bool,
    /// How long a session may be resumed. Default: 300 s (nginx: `ssl_session_timeout`).
    pub session_timeout: Millis,
    /// Sessions are resumed by tickets that their clients keep. Default: true (nginx: `ssl_session_tickets`).
    pub session_tickets: bool,
    /// Sessions that are kept for clients without tickets. Default: 0 (nginx: `ssl_session_cache`).
    pub session_cache: u32,
    /// Keys for tickets, base64 of 48 or 80 bytes: tickets are made with the first, and taken with any. Default: keys of this process that it changes by itself (nginx: `ssl_session_ticket_key`).
    pub ticket_keys: Vec<String>,
    /// Whether clients are asked for a certificate: `off`; `on`: who has no good one gets 400 (495 and 496 for `error_page`); `optional`: one that is sent must be good; `optional_no_ca`: one of any CA will do, for the app to judge (nginx: `ssl_verify_client`). Default: `off`.
    pub verify_client: VerifyClient,
    /// Certificates of the CAs that clients' certificates lead to, as PEM. Default: none (nginx: `ssl_client_certificate`).
    pub client_ca: String,
    /// Lists of what those CAs have revoked, as PEM. Default: none (nginx: `ssl_crl`).
    pub client_crl: String,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            certificate: Vec::new(),
            protocols: vec![Protocol::Tls12, Protocol::Tls13],
            ciphers: Vec::new(),
            prefer_server_ciphers: false,
            curves: Vec::new(),
            reject_handshake: false,
            session_timeout: Millis(300_000),
            session_tickets: true,
            session_cache: 0,
            ticket_keys: Vec::new(),
            verify_client: VerifyClient::Off,
            client_ca: String::new(),
            client_crl: String::new(),
        }
    }
}

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerifyClient {
    /// They are not.
    #[default]
    Off,
    /// They must have one of the CA's.
    On,
    /// They may have one of the CA's.
    Optional,
    /// They may have any.
    OptionalNoCa,
}

/// Without keys: what is shown for debugging may end up in a log.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { certificate, protocols, ciphers, curves, reject_handshake, .. } = self;
        f.debug_struct("Tls")
            .field("certificate", certificate)
            .field("protocols", protocols)
            .field("ciphers", ciphers)
            .field("curves", curves)
            .field("reject_handshake", reject_handshake)
            .finish_non_exhaustive()
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    /// RFC 5246.
    #[serde(rename = "TLSv1.2")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "TLSv1.3")]
    Tls13,
}

/// A certificate with its key. The supervisor reads the files; what is here is what was in them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The file it was in, for messages.
    pub name: String,
    /// The certificate and those that lead to its CA, as PEM.
    pub chain: String,
    /// Its key, as PEM without a password.
    pub key: String,
    /// What its CA said of its revocation (RFC 6960), base64. Default: nothing (nginx: `ssl_stapling`).
    #[serde(default)]
    pub ocsp: Option<String>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_shown_for_debugging() {
        let certificate =
            Certificate { name: "a.pem".to_owned(), chain: String::new(), key: "secret".to_owned(), ocsp: None };
        let tls = Tls { certificate: vec![certificate], ticket_keys: vec!["secret".to_owned()], ..Tls::default() };
        let shown = format!("{tls:?}");
        assert!(shown.contains("a.pem") && !shown.contains("secret"), "{shown}");
    }
}
