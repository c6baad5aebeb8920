//! Names of upstream servers, looked up where the settings say (nginx: `resolver`), and resolved again when their time to live is over. Until a new answer is there the old one is used.
use crate::config::{Gateway, Settings};
use crate::error::{Error, Kind, Result};
use crate::io::local::Local;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::name_server::TokioConnectionProvider;
use hickory_resolver::proto::xfer::Protocol;
use hickory_resolver::{ResolveError, TokioResolver};
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An answer is used at least this long, so that a time to live of 0 doesn't mean a query per request.
const LEAST_TTL: Duration = Duration::from_secs(1);
/// An answer without a better time (a hosts file) is looked at again after this.
const MOST_TTL: Duration = Duration::from_secs(3600);
/// Time for an answer, unless configured.
const TIMEOUT: Duration = Duration::from_secs(3);
/// A server is asked again after this at the latest; after half of the time there is, at the earliest.
const MOST_A_TRY: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Entry {
    addresses: Vec<IpAddr>,
    until: Instant,
    refreshing: bool,
}

/// Which name servers are asked, for what, and how long: one resolver each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NameServers {
    /// None: those of the system.
    addresses: Vec<SocketAddr>,
    /// How long an answer holds, whatever it says itself.
    valid: Option<Duration>,
    /// Time for an answer, all tries and both families together.
    timeout: Duration,
    ipv4: bool,
    ipv6: bool,
}

impl NameServers {
    /// Those of settings, or the gateway's where they name none.
    pub fn compile(settings: &Settings, gateway: &Gateway) -> std::result::Result<Arc<Self>, String> {
        let time = settings.resolver_timeout.or(gateway.resolver_timeout);
        let timeout = time.map_or(TIMEOUT, |ms| Duration::from_millis(ms.0));
        let valid = |ms: u64| (ms > 0).then(|| Duration::from_millis(ms));
        let servers = if settings.resolver.is_empty() {
            Self {
                addresses: parse(&gateway.resolver)?,
                valid: gateway.resolver_valid.and_then(|ms| valid(ms.0)),
                timeout,
                ipv4: gateway.resolver_ipv4,
                ipv6: gateway.resolver_ipv6,
            }
        } else {
            Self {
                addresses: parse(&settings.resolver)?,
                valid: valid(settings.resolver_valid.0),
                timeout,
                ipv4: settings.resolver_ipv4,
                ipv6: settings.resolver_ipv6,
            }
        };
        Ok(Arc::new(servers))
    }
}

fn parse(servers: &[String]) -> std::result::Result<Vec<SocketAddr>, String> {
    let address = |server: &String| {
        let ip = || server.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let address = server.parse::<SocketAddr>().or_else(|_| ip().map(|ip| SocketAddr::new(ip, 53)));
        address.map_err(|_| format!("resolver: {server:?} is not an address"))
    };
    servers.iter().map(address).collect()
}

/// One thread's resolvers.
#[derive(Default)]
pub struct Resolvers(RefCell<HashMap<Arc<NameServers>, Rc<Resolver>>>);

impl Resolvers {
    /// The one that asks these servers.
    pub fn of(&self, servers: &Arc<NameServers>) -> Rc<Resolver> {
        let mut all = self.0.borrow_mut();
        if let Some(resolver) = all.get(servers) {
            return resolver.clone();
        }
        let resolver = Rc::new(Resolver::new(servers.clone()));
        all.insert(servers.clone(), resolver.clone());
        resolver
    }

    /// Drops those that no settings name any more.
    pub fn keep(&self, wanted: impl Fn(&NameServers) -> bool) {
        self.0.borrow_mut().retain(|servers, _| wanted(servers));
    }
}

/// A resolver and its answers.
pub struct Resolver {
    servers: Arc<NameServers>,
    resolver: OnceCell<TokioResolver>,
    cache: RefCell<HashMap<String, Entry>>,
}

impl Resolver {
    fn new(servers: Arc<NameServers>) -> Self {
        Self { servers, resolver: OnceCell::new(), cache: RefCell::default() }
    }

    /// Every address of a name.
    pub async fn lookup(self: &Rc<Self>, thread: &Rc<Local>, host: &str, port: u16) -> Result<Vec<SocketAddr>> {
        if let Some(addresses) = self.cached(thread, host) {
            return Ok(with_port(&addresses, port));
        }
        let entry = self.query(host).await.map_err(|e| {
            Error::new(
                Kind::UpstreamConnect,
                format!("cannot resolve upstream name {host}: {e}; check the name and the resolver"),
            )
        })?;
        let addresses = with_port(&entry.addresses, port);
        self.cache.borrow_mut().insert(host.to_owned(), entry);
        Ok(addresses)
    }

    fn cached(self: &Rc<Self>, thread: &Rc<Local>, host: &str) -> Option<Vec<IpAddr>> {
        let mut cache = self.cache.borrow_mut();
        let entry = cache.get_mut(host)?;
        if entry.until <= Instant::now() && !entry.refreshing {
            entry.refreshing = true;
            let (this, thread, host) = (self.clone(), thread.clone(), host.to_owned());
            tokio::task::spawn_local(async move { this.refresh(&thread, &host).await });
        }
        Some(entry.addresses.clone())
    }

    async fn refresh(&self, thread: &Local, host: &str) {
        let answer = self.query(host).await;
        let mut cache = self.cache.borrow_mut();
        let Some(old) = cache.get_mut(host) else { return };
        match answer {
            Ok(entry) => {
                if entry.addresses != old.addresses {
                    thread.log.notice(&format!(
                        "upstream name {host} now has {:?} (was {:?})",
                        entry.addresses, old.addresses
                    ));
                }
                *old = entry;
            }
            Err(e) => {
                thread.log.warn(&format!("cannot resolve {host} again: {e}; going on with {:?}", old.addresses));
                old.until = Instant::now() + Duration::from_secs(5);
                old.refreshing = false;
            }
        }
    }

    async fn query(&self, host: &str) -> std::result::Result<Entry, ResolveError> {
        let now = Instant::now();
        if host == "localhost" {
            // RFC 6761 section 6.3: never asked of a server. Both families, as an app may listen on either.
            let addresses = vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])];
            return Ok(Entry { addresses, until: now + MOST_TTL, refreshing: false });
        }
        if self.resolver.get().is_none() {
            let _ = self.resolver.set(build(&self.servers)?);
        }
        let Some(resolver) = self.resolver.get() else { return Err("no resolver".into()) };
        let patience = self.servers.timeout;
        let Ok(answer) = tokio::time::timeout(patience, resolver.lookup_ip(host)).await else {
            return Err(format!("no answer within {} ms (resolver_timeout)", patience.as_millis()).into());
        };
        let answer = answer?;
        let until = match self.servers.valid {
            Some(valid) => now + valid,
            None => answer.valid_until().clamp(now + LEAST_TTL, now + MOST_TTL),
        };
        let wanted = |ip: &IpAddr| if ip.is_ipv4() { self.servers.ipv4 } else { self.servers.ipv6 };
        let mut addresses: Vec<IpAddr> = answer.iter().filter(wanted).collect();
        addresses.sort_unstable();
        Ok(Entry { addresses, until, refreshing: false })
    }
}

fn build(servers: &NameServers) -> std::result::Result<TokioResolver, ResolveError> {
    let mut builder = if servers.addresses.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let mut config = ResolverConfig::new();
        for addr in &servers.addresses {
            config.add_name_server(NameServerConfig::new(*addr, Protocol::Udp));
            config.add_name_server(NameServerConfig::new(*addr, Protocol::Tcp));
        }
        TokioResolver::builder_with_config(config, TokioConnectionProvider::default())
    };
    let options: &mut ResolverOpts = builder.options_mut();
    // Answers are kept here, with their time to live.
    options.cache_size = 0;
    let whole = servers.timeout;
    options.timeout = (whole / 2).min(MOST_A_TRY);
    options.attempts = (whole.as_millis() / options.timeout.as_millis().max(1)) as usize;
    options.ip_strategy = match (servers.ipv4, servers.ipv6) {
        (_, false) => LookupIpStrategy::Ipv4Only,
        (false, true) => LookupIpStrategy::Ipv6Only,
        // Named servers are asked for both, as by nginx; the system's for the second only if there is none of the first.
        (true, true) if servers.addresses.is_empty() => LookupIpStrategy::Ipv4thenIpv6,
        (true, true) => LookupIpStrategy::Ipv4AndIpv6,
    };
    Ok(builder.build())
}

fn with_port(addresses: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect()
}
