//! A policy compiled: what rustls needs for a handshake, bound to the listener it is for.
use crate::tls::certificate::Certificates;
use crate::tls::client::Verification;
use crate::tls::config::{Protocol, Tls};
use crate::tls::sessions::Sessions;
use crate::tls::suites;
use crate::tls::tickets::Tickets;
use aws_lc_rs::digest;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::{NoServerSessionStorage, StoresServerSessions};
use rustls::version::{TLS12, TLS13};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Protocols inside TLS, by their names there (RFC 7301, RFC 9113 section 3.2).
pub const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";

/// On which terms clients may connect.
pub struct Policy {
    tls: Tls,
    config: ServerConfig,
    /// What it asks of clients' certificates.
    pub verification: Option<Verification>,
    /// Its certificates are by no authority.
    pub self_signed: bool,
    /// Handshakes are refused.
    pub rejects: bool,
    /// What it asks of clients, apart from what they ask of it: policies with another value admit others.
    pub terms: [u8; 32],
}

impl Policy {
    /// Compiles a policy.
    ///
    /// # Errors
    /// The setting or the file, and what is wrong with it.
    pub fn compile(tls: &Tls) -> Result<Self, String> {
        let versions = [(Protocol::Tls13, &TLS13), (Protocol::Tls12, &TLS12)];
        let versions: Vec<_> =
            versions.into_iter().filter(|(one, _)| tls.protocols.contains(one)).map(|(_, version)| version).collect();
        let provider = Arc::new(CryptoProvider {
            cipher_suites: suites::suites(&tls.ciphers)?,
            kx_groups: suites::groups(&tls.curves)?,
            ..default_provider()
        });
        if tls.certificate.is_empty() && !tls.reject_handshake {
            return Err("it has no certificate".to_owned());
        }
        let certificates = Certificates::read(&tls.certificate)?;
        let self_signed = certificates.are_self_signed();
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)
            .map_err(|error| format!("protocols: {error}"))?;
        let verification = Verification::compile(tls, &provider)?;
        let builder = match &verification {
            Some(verification) => builder.with_client_cert_verifier(Arc::new(verification.clone())),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(certificates));
        config.ignore_client_order = tls.prefer_server_ciphers;
        Ok(Self {
            self_signed,
            rejects: tls.reject_handshake,
            terms: terms(tls),
            verification,
            config,
            tls: tls.clone(),
        })
    }

    /// It was made from this.
    pub fn is_of(&self, tls: &Tls) -> bool {
        self.tls == *tls
    }

    /// What a listener uses: sessions begun under another policy, or at another listener, are not resumed there.
    ///
    /// # Errors
    /// A key for tickets that is none.
    pub fn bind(&self, listener: &str, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, String> {
        let mut config = self.config.clone();
        let binding = [&self.terms[..], listener.as_bytes()].concat();
        let lifetime = Duration::from_millis(self.tls.session_timeout.0);
        config.session_storage = match self.tls.session_cache {
            0 => Arc::new(NoServerSessionStorage {}) as Arc<dyn StoresServerSessions>,
            sessions => Arc::new(Sessions::new(sessions, &binding, lifetime)),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        if self.tls.session_tickets {
            config.ticketer = Arc::new(Tickets::new(&self.tls.ticket_keys, &binding, lifetime)?);
        } else {
            config.send_tls13_tickets = if self.tls.session_cache == 0 { 0 } else { config.send_tls13_tickets };
        }
        Ok(Arc::new(config))
    }
}

/// What a listener needs to speak TLS: for each of its servers the policy, bound to it.
pub struct Listener {
    /// By the number of a server; one without a policy of its own has that of the default server.
    servers: HashMap<u32, (Arc<Policy>, Arc<ServerConfig>)>,
    default_server: u32,
}

impl Listener {
    /// Binds the policies of the servers that listen at an address; with each it says whether clients may choose HTTP/2.
    ///
    /// # Errors
    /// The default server has no policy, or one cannot be bound.
    pub fn new(
        address: &str,
        default_server: u32,
        servers: impl Iterator<Item = (u32, Arc<Policy>, bool)>,
    ) -> Result<Self, String> {
        let mut bound = HashMap::new();
        for (server, policy, http2) in servers {
            let alpn: &[&[u8]] = if http2 { &[HTTP_2, HTTP_1] } else { &[HTTP_1] };
            let config = policy.bind(address, alpn)?;
            bound.insert(server, (policy, config));
        }
        if !bound.contains_key(&default_server) {
            return Err(format!("server[{default_server}] answers names that nobody has, and has no certificate"));
        }
        Ok(Self { servers: bound, default_server })
    }

    /// The policy of a server, and what a handshake under it goes by.
    pub fn find(&self, server: u32) -> Option<&(Arc<Policy>, Arc<ServerConfig>)> {
        self.servers.get(&server).or_else(|| self.servers.get(&self.default_server))
    }
}

/// The sum of what a policy asks of clients.
fn terms(tls: &Tls) -> [u8; 32] {
    let clients = (tls.verify_client, &tls.client_ca, &tls.client_crl);
    let asked = format!("{:?}", (&tls.protocols, &tls.ciphers, &tls.curves, tls.reject_handshake, clients));
    let mut sum = [0; 32];
    sum.copy_from_slice(digest::digest(&digest::SHA256, asked.as_bytes()).as_ref());
    sum
}
