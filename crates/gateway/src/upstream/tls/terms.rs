//! Terms compiled: what rustls needs for a handshake with a server.
use crate::tls::certificate;
use crate::tls::config::Protocol;
use crate::tls::suites;
use crate::upstream::tls::config::UpstreamTls;
use crate::upstream::tls::verify::{Anybody, Judge};
use crate::vars::{Names, Template};
use aws_lc_rs::digest;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Sessions with one server that are kept: rustls takes eight for a name, and nearly always there is one name.
const SESSIONS: usize = 64;

/// Terms on which servers are spoken to.
pub struct Terms {
    /// The server's name where that is not the host of the URL.
    pub name: Option<Template>,
    /// All else, which outlives a reload.
    pub policy: Arc<Policy>,
}

/// All but the name, which may have variables of one plan.
pub struct Policy {
    /// Unique in the process: connections and sessions of other terms are not used.
    pub id: u64,
    /// Servers are checked.
    pub verifies: bool,
    reuses: bool,
    config: ClientConfig,
    sum: Sum,
}

/// The sum of all that a policy was made from.
type Sum = [u8; 32];

/// The terms of a configuration.
#[derive(Default)]
pub struct AllTerms {
    /// In the order of the document.
    pub listed: Vec<Arc<Terms>>,
    /// Where a route names none; compiled when it is first asked for, as it takes the system's roots.
    default: OnceLock<Result<Arc<Terms>, String>>,
    roots: String,
    /// The default's policy of the plan before.
    before: Option<Arc<Policy>>,
}

impl AllTerms {
    /// Compiles those of a configuration; what is the same in the plan before is taken from there.
    ///
    /// # Errors
    /// Which of them, the setting, and what is wrong with it.
    pub fn compile(all: &[UpstreamTls], roots: &str, names: &Names, previous: Option<&Self>) -> Result<Self, String> {
        let mut listed = Vec::with_capacity(all.len());
        let before = previous.iter().flat_map(|all| all.policies());
        let mut known: HashMap<Sum, Arc<Policy>> = before.map(|policy| (policy.sum, policy.clone())).collect();
        for (i, raw) in all.iter().enumerate() {
            let sum = sum(raw, roots);
            let policy = match known.get(&sum) {
                Some(policy) => policy.clone(),
                None => {
                    Policy::compile(raw, roots, sum).map(Arc::new).map_err(|e| format!("upstream_tls[{i}]: {e}"))?
                }
            };
            known.insert(sum, policy.clone());
            let name = raw.name.as_ref().map(|name| Template::compile(name, names)).transpose();
            listed.push(Arc::new(Terms { name: name.map_err(|e| format!("upstream_tls[{i}].name: {e}"))?, policy }));
        }
        let default = previous.and_then(|all| all.default.get()?.as_ref().ok().map(|terms| terms.policy.clone()));
        let before = default.filter(|policy| policy.sum == sum(&UpstreamTls::default(), roots));
        Ok(Self { listed, default: OnceLock::new(), roots: roots.to_owned(), before })
    }

    fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.listed.iter().map(|terms| &terms.policy)
    }

    /// The terms where a route names none.
    ///
    /// # Errors
    /// The system has no roots.
    pub fn default(&self) -> Result<&Arc<Terms>, &str> {
        let make = || {
            let raw = UpstreamTls::default();
            let policy = match &self.before {
                Some(policy) => policy.clone(),
                None => Arc::new(Policy::compile(&raw, &self.roots, sum(&raw, &self.roots))?),
            };
            Ok(Arc::new(Terms { name: None, policy }))
        };
        self.default.get_or_init(make).as_ref().map_err(String::as_str)
    }
}

fn sum(raw: &UpstreamTls, roots: &str) -> Sum {
    let mut all = serde_json::to_vec(&UpstreamTls { name: None, ..raw.clone() }).unwrap_or_default();
    if raw.verify && raw.ca.is_empty() {
        all.extend_from_slice(roots.as_bytes());
    }
    let mut sum = [0; 32];
    sum.copy_from_slice(digest::digest(&digest::SHA256, &all).as_ref());
    sum
}

impl Policy {
    fn compile(raw: &UpstreamTls, roots: &str, sum: Sum) -> Result<Self, String> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let versions = [(Protocol::Tls13, &TLS13), (Protocol::Tls12, &TLS12)];
        let versions: Vec<_> =
            versions.into_iter().filter(|(one, _)| raw.protocols.contains(one)).map(|(_, version)| version).collect();
        let provider = Arc::new(CryptoProvider { cipher_suites: suites::suites(&raw.ciphers)?, ..default_provider() });
        let verifier: Arc<dyn ServerCertVerifier> = if raw.verify {
            Arc::new(Judge::compile(raw, roots, &provider)?)
        } else {
            Arc::new(Anybody::new(&provider))
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(|error| format!("protocols: {error}"))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &raw.certificate {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let own = certificate::read(own).map_err(|error| format!("{}: {error}", own.name))?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own)))
            }
        };
        config.enable_sni = raw.server_name;
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Self { id, verifies: raw.verify, reuses: raw.session_reuse, config, sum })
    }

    /// What handshakes with one server go by, which offer these protocols inside TLS: sessions begun with another server are
    /// not resumed with it.
    pub fn bind(&self, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        let mut config = self.config.clone();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config.resumption = if self.reuses { Resumption::in_memory_sessions(SESSIONS) } else { Resumption::disabled() };
        Arc::new(config)
    }
}
