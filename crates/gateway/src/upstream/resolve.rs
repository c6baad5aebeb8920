//! Names of upstream servers, resolved again when their time to live is over. Until a new answer is there the old one is used.
use crate::config::Gateway;
use crate::error::{Error, Kind, Result};
use crate::thread::Thread;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::name_server::TokioConnectionProvider;
use hickory_resolver::proto::xfer::Protocol;
use hickory_resolver::{ResolveError, TokioResolver};
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
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

/// One thread's resolver and its answers.
#[derive(Default)]
pub struct Resolver {
    config: RefCell<Gateway>,
    resolver: OnceCell<TokioResolver>,
    cache: RefCell<HashMap<String, Entry>>,
}

impl Resolver {
    /// Which name servers to ask, and how long their answers hold. The servers take effect before the first look-up.
    pub fn configure(&self, config: &Gateway) {
        self.config.replace(config.clone());
    }

    /// Every address of a name.
    pub async fn lookup(&self, thread: &Rc<Thread>, host: &str, port: u16) -> Result<Vec<SocketAddr>> {
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

    fn cached(&self, thread: &Rc<Thread>, host: &str) -> Option<Vec<IpAddr>> {
        let mut cache = self.cache.borrow_mut();
        let entry = cache.get_mut(host)?;
        if entry.until <= Instant::now() && !entry.refreshing {
            entry.refreshing = true;
            let (thread, host) = (thread.clone(), host.to_owned());
            tokio::task::spawn_local(async move { thread.resolver.refresh(&thread, &host).await });
        }
        Some(entry.addresses.clone())
    }

    async fn refresh(&self, thread: &Thread, host: &str) {
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
            let _ = self.resolver.set(build(&self.config.borrow())?);
        }
        let Some(resolver) = self.resolver.get() else { return Err("no resolver".into()) };
        let patience = timeout(&self.config.borrow());
        let Ok(answer) = tokio::time::timeout(patience, resolver.lookup_ip(host)).await else {
            return Err(format!("no answer within {} ms (resolver_timeout)", patience.as_millis()).into());
        };
        let answer = answer?;
        let config = self.config.borrow();
        let until = match config.resolver_valid {
            Some(valid) => now + Duration::from_millis(valid.0),
            None => answer.valid_until().clamp(now + LEAST_TTL, now + MOST_TTL),
        };
        let wanted = |ip: &IpAddr| if ip.is_ipv4() { config.resolver_ipv4 } else { config.resolver_ipv6 };
        let mut addresses: Vec<IpAddr> = answer.iter().filter(wanted).collect();
        addresses.sort_unstable();
        Ok(Entry { addresses, until, refreshing: false })
    }
}

fn build(settings: &Gateway) -> std::result::Result<TokioResolver, ResolveError> {
    let servers = &settings.resolver;
    let mut builder = if servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let mut config = ResolverConfig::new();
        for server in servers {
            let addr = server
                .parse::<SocketAddr>()
                .or_else(|_| server.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)))
                .map_err(|_| format!("resolver {server:?} is not an address"))?;
            config.add_name_server(NameServerConfig::new(addr, Protocol::Udp));
            config.add_name_server(NameServerConfig::new(addr, Protocol::Tcp));
        }
        TokioResolver::builder_with_config(config, TokioConnectionProvider::default())
    };
    let options: &mut ResolverOpts = builder.options_mut();
    // Answers are kept here, with their time to live.
    options.cache_size = 0;
    let whole = timeout(settings);
    options.timeout = (whole / 2).min(MOST_A_TRY);
    options.attempts = (whole.as_millis() / options.timeout.as_millis().max(1)) as usize;
    options.ip_strategy = match (settings.resolver_ipv4, settings.resolver_ipv6) {
        (_, false) => LookupIpStrategy::Ipv4Only,
        (false, true) => LookupIpStrategy::Ipv6Only,
        (true, true) => LookupIpStrategy::Ipv4thenIpv6,
    };
    Ok(builder.build())
}

/// Time for an answer, all tries and both families together.
fn timeout(settings: &Gateway) -> Duration {
    settings.resolver_timeout.map_or(TIMEOUT, |ms| Duration::from_millis(ms.0))
}

fn with_port(addresses: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect()
}
