//! Terms for servers, as the configuration has them.
use crate::kept;
use crate::kinds::Text;
use crate::scope::{self, Compiling, Room};
use crate::tls::config::{Certificate, Protocol};
use crate::upstream::tls::terms::{AllTerms, Terms};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// TLS towards upstreams.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Index into [`Config::upstream_tls`]. Default: none, the terms are as by default.
    pub upstream_tls: Option<u32>,
}

kept!(Settings);

kept!(Option<Arc<Terms>>);

impl Room for Settings {
    const TITLE: &'static str = "TLS towards upstreams";

    fn compile(&self, cx: &Compiling<'_>, out: &mut scope::Settings) -> Result<(), String> {
        let Some(index) = self.upstream_tls else { return Ok(()) };
        let terms = cx.table::<AllTerms>().and_then(|all| all.listed.get(index as usize));
        let terms = terms.ok_or_else(|| format!("upstream_tls: no upstream_tls[{index}]"))?;
        out.put(Some(terms.clone()));
        Ok(())
    }
}

/// Terms on which servers of upstreams are spoken to in TLS.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamTls {
    /// A server's certificate must lead to a CA that is trusted, and be for the server's name; otherwise it is 502. Default: true (nginx: `proxy_ssl_verify`, whose default is off).
    pub verify: bool,
    /// Certificates of the CAs that are trusted, or of servers themselves, as PEM. Default: the system's CAs (nginx: `proxy_ssl_trusted_certificate`).
    pub ca: String,
    /// Lists of what those CAs have revoked, as PEM. Default: none (nginx: `proxy_ssl_crl`).
    pub crl: String,
    /// The server's name, with variables: its certificate must be for it. Default: the host of the URL (nginx: `proxy_ssl_name`).
    pub name: Option<Text>,
    /// The name is told to the server in the handshake (SNI). Default: true (nginx: `proxy_ssl_server_name`, whose default is off).
    pub server_name: bool,
    /// The certificate that is shown to servers that ask for one. Default: none (nginx: `proxy_ssl_certificate`).
    pub certificate: Option<Certificate>,
    /// Versions of the protocol (nginx: `proxy_ssl_protocols`). Default: TLSv1.2, TLSv1.3.
    pub protocols: Vec<Protocol>,
    /// Cipher suites, best first, by OpenSSL's names. Where none is of a version, all of that version are taken. Default: all that there are (nginx: `proxy_ssl_ciphers`).
    pub ciphers: Vec<String>,
    /// Sessions are resumed, each with the server address it was begun with. Default: true (nginx: `proxy_ssl_session_reuse`).
    pub session_reuse: bool,
}

impl Default for UpstreamTls {
    fn default() -> Self {
        Self {
            verify: true,
            ca: String::new(),
            crl: String::new(),
            name: None,
            server_name: true,
            certificate: None,
            protocols: vec![Protocol::Tls12, Protocol::Tls13],
            ciphers: Vec::new(),
            session_reuse: true,
        }
    }
}

/// Without what may be long or secret.
impl fmt::Debug for UpstreamTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verify, name, server_name, certificate, protocols, ciphers, .. } = self;
        f.debug_struct("UpstreamTls")
            .field("verify", verify)
            .field("name", name)
            .field("server_name", server_name)
            .field("certificate", certificate)
            .field("protocols", protocols)
            .field("ciphers", ciphers)
            .finish_non_exhaustive()
    }
}
