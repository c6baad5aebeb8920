//! Names of upstream servers, looked up where the settings say (nginx: `resolver`), and again when their time to live is over.
//! Requests that want the same name share a query.
use crate::error::{Error, Kind, Result};
use crate::gateway::Gateway;
use crate::io::local::Local;
use crate::kept;
use crate::scope::{self, Compiling, Room};
use crate::units::Millis;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::name_server::TokioConnectionProvider;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::xfer::Protocol;
use hickory_resolver::proto::{ProtoError, ProtoErrorKind};
use hickory_resolver::{ResolveError, TokioResolver};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Name servers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Name servers for names of upstreams, `address` or `address:port`. Default: `gateway.resolver`, with all that it has (nginx: `resolver`).
    pub resolver: Vec<String>,
    /// Time their answers hold. Default: 0, what they say themselves (nginx: `valid=`).
    pub resolver_valid: Millis,
    /// Names lead to IPv4 addresses, where `resolver` is set. Default: true (nginx: `ipv4=`).
    pub resolver_ipv4: bool,
    /// Names lead to IPv6 addresses, where `resolver` is set. Default: true (nginx: `ipv6=`).
    pub resolver_ipv6: bool,
    /// Time for an answer of a name server. Default: `gateway.resolver_timeout` (nginx: `resolver_timeout`).
    pub resolver_timeout: Option<Millis>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            resolver: Vec::new(),
            resolver_valid: Millis(0),
            resolver_ipv4: true,
            resolver_ipv6: true,
            resolver_timeout: None,
        }
    }
}

kept!(Settings);
kept!(Arc<NameServers>);

impl Room for Settings {
    const TITLE: &'static str = "Name servers";

    fn compile(&self, cx: &Compiling<'_>, out: &mut scope::Settings) -> std::result::Result<(), String> {
        let servers = NameServers::compile(self, cx.gateway)?;
        if *servers != NameServers::default() {
            out.put(servers);
        }
        Ok(())
    }
}

/// An answer is used at least this long, so that a time to live of 0 doesn't mean a query per request.
const LEAST_TTL: Duration = Duration::from_secs(1);
/// An answer without a better time (a hosts file) is looked at again after this.
const MOST_TTL: Duration = Duration::from_secs(3600);
/// Time for an answer, unless configured.
const TIMEOUT: Duration = Duration::from_secs(3);
/// A server is asked again after this at the latest; after half of the time there is, at the earliest.
const MOST_A_TRY: Duration = Duration::from_secs(5);

/// Names a resolver remembers. Clients choose them where a URL has variables.
const MOST_NAMES: usize = 1024;
/// Addresses are used that much longer while no name server responds; one that says there is no such name ends them.
const GRACE: Duration = Duration::from_secs(300);
/// Time between two queries while no name server responds.
const RETRY: Duration = Duration::from_secs(5);

/// The addresses of a name.
#[derive(Clone, Debug)]
pub struct Found {
    /// All of them.
    pub addresses: Rc<[IpAddr]>,
    /// The first is preferred; otherwise they are equal.
    pub ordered: bool,
}

/// Addresses, and how long they hold.
struct Entry {
    found: Found,
    until: Instant,
    /// The end of that if no name server responds any more.
    limit: Instant,
}

/// What is known of a name.
#[derive(Default)]
struct Name {
    entry: Option<Entry>,
    /// The query that is under way; all who want the name wait for it.
    query: Option<Rc<Query>>,
}

/// A query that is under way.
#[derive(Default)]
struct Query {
    result: OnceCell<std::result::Result<Found, Box<str>>>,
    done: Notify,
}

impl Query {
    async fn wait(&self) -> std::result::Result<Found, Box<str>> {
        loop {
            if let Some(result) = self.result.get() {
                return result.clone();
            }
            self.done.notified().await;
        }
    }
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

impl Default for NameServers {
    fn default() -> Self {
        Self { addresses: Vec::new(), valid: None, timeout: TIMEOUT, ipv4: true, ipv6: true }
    }
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
    names: RefCell<HashMap<Box<str>, Name>>,
}

impl Resolver {
    fn new(servers: Arc<NameServers>) -> Self {
        Self { servers, resolver: OnceCell::new(), names: RefCell::default() }
    }

    /// The addresses of a name.
    pub async fn lookup(self: &Rc<Self>, thread: &Rc<Local>, host: &str) -> Result<Found> {
        let query = {
            let mut names = self.names.borrow_mut();
            let now = Instant::now();
            if let Some(entry) = names.get(host).and_then(|name| name.entry.as_ref()).filter(|entry| entry.until > now)
            {
                return Ok(entry.found.clone());
            }
            if !names.contains_key(host) {
                make_room(&mut names, now);
            }
            let name = names.entry(host.into()).or_default();
            name.query.get_or_insert_with(|| self.start(thread, host)).clone()
        };
        query.wait().await.map_err(|error| {
            let cause = format!("cannot resolve upstream name {host}: {error}; check the name and the resolver");
            Error::new(Kind::UpstreamConnect, cause)
        })
    }

    /// Starts a query. It has a task of its own, so that it doesn't end with the request that wanted it first.
    fn start(self: &Rc<Self>, thread: &Rc<Local>, host: &str) -> Rc<Query> {
        let query = Rc::new(Query::default());
        let (this, thread, host, asked) = (self.clone(), thread.clone(), Box::<str>::from(host), query.clone());
        tokio::task::spawn_local(async move {
            let answer = this.query(&host).await;
            let result = this.learn(&host, answer, |text| thread.log.warn(text));
            let _ = asked.result.set(result);
            asked.done.notify_waiters();
        });
        query
    }

    /// Remembers what came of a query.
    fn learn(
        &self,
        host: &str,
        answer: std::result::Result<Entry, Failure>,
        warn: impl Fn(&str),
    ) -> std::result::Result<Found, Box<str>> {
        let mut names = self.names.borrow_mut();
        let old = names.remove(host).and_then(|name| name.entry);
        let (entry, result) = match (answer, old) {
            (Ok(entry), _) => {
                let found = entry.found.clone();
                (entry, Ok(found))
            }
            (Err(Failure { text, gone: false }), Some(old)) if old.limit > Instant::now() => {
                warn(&format!("cannot resolve {host} again: {text}; going on with {:?}", old.found.addresses));
                let found = old.found.clone();
                (Entry { until: Instant::now() + RETRY, ..old }, Ok(found))
            }
            (Err(failure), _) => return Err(failure.text),
        };
        names.insert(host.into(), Name { entry: Some(entry), query: None });
        result
    }

    async fn query(&self, host: &str) -> std::result::Result<Entry, Failure> {
        let now = Instant::now();
        if host == "localhost" {
            // RFC 6761 section 6.3: never asked of a server. Both families, as an app may listen on either.
            let addresses = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])];
            let found = Found { addresses: addresses.into(), ordered: true };
            return Ok(Entry { found, until: now + MOST_TTL, limit: now + MOST_TTL });
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
        let now = Instant::now();
        let until = match self.servers.valid {
            Some(valid) => now + valid,
            None => answer.valid_until().clamp(now + LEAST_TTL, now + MOST_TTL),
        };
        let wanted = |ip: &IpAddr| if ip.is_ipv4() { self.servers.ipv4 } else { self.servers.ipv6 };
        let mut addresses: Vec<IpAddr> = answer.iter().filter(wanted).collect();
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() {
            return Err(Failure { text: "the name has no address".into(), gone: true });
        }
        Ok(Entry { found: Found { addresses: addresses.into(), ordered: false }, until, limit: until + GRACE })
    }
}

/// Why there is no answer.
struct Failure {
    text: Box<str>,
    /// There is no such name, or it has no address.
    gone: bool,
}

impl From<ResolveError> for Failure {
    fn from(error: ResolveError) -> Self {
        let gone = match error.proto().map(ProtoError::kind) {
            // hickory's word for every response without records, SERVFAIL too.
            Some(ProtoErrorKind::NoRecordsFound { response_code, .. }) => {
                matches!(response_code, ResponseCode::NXDomain | ResponseCode::NoError)
            }
            _ => false,
        };
        Self { gone, text: error.to_string().into() }
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self { text: text.into(), gone: false }
    }
}

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        Self { text: text.into(), gone: false }
    }
}

/// Makes room for a name: what holds no more goes, else any that nobody waits for.
fn make_room(names: &mut HashMap<Box<str>, Name>, now: Instant) {
    if names.len() < MOST_NAMES {
        return;
    }
    let fresh = |name: &Name| name.entry.as_ref().is_some_and(|entry| entry.until > now);
    names.retain(|_, name| name.query.is_some() || fresh(name));
    while names.len() >= MOST_NAMES {
        let Some(idle) = names.iter().find(|(_, name)| name.query.is_none()).map(|(host, _)| host.clone()) else {
            return;
        };
        names.remove(&idle);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver() -> Resolver {
        Resolver::new(NameServers::compile(&Settings::default(), &Gateway::default()).unwrap())
    }

    fn entry(last: u8, until: Instant, limit: Instant) -> Entry {
        let addresses: Rc<[IpAddr]> = [IpAddr::from([127, 0, 0, last])].into();
        Entry { found: Found { addresses, ordered: false }, until, limit }
    }

    fn silent(_: &str) {}

    #[test]
    fn old_addresses_serve_while_no_server_responds_and_end_with_their_name() {
        let (now, hour) = (Instant::now(), Duration::from_secs(3600));
        let known = resolver();
        let learn = |answer| known.learn("a", answer, silent).map(|found| found.addresses[0].to_string());
        assert!(learn(Err("timeout".into())).is_err());
        assert_eq!(learn(Ok(entry(1, now, now + hour))).unwrap(), "127.0.0.1");
        assert_eq!(learn(Err("timeout".into())).unwrap(), "127.0.0.1");
        assert_eq!(learn(Ok(entry(2, now, now + hour))).unwrap(), "127.0.0.2");
        assert!(learn(Err(Failure { text: "NXDOMAIN".into(), gone: true })).is_err());
        assert!(learn(Err("timeout".into())).is_err());
        assert!(learn(Ok(entry(3, now, now))).is_ok());
        assert!(learn(Err("timeout".into())).is_err(), "not without end");
        assert!(known.names.borrow().is_empty());
    }

    #[test]
    fn names_are_forgotten_when_there_are_too_many() {
        let (now, hour) = (Instant::now(), Duration::from_secs(3600));
        let known = resolver();
        for n in 0..MOST_NAMES * 2 {
            make_room(&mut known.names.borrow_mut(), now);
            let until = if n % 4 == 0 { now } else { now + hour };
            let _ = known.learn(&format!("name{n}"), Ok(entry(1, until, until)), silent);
            assert!(known.names.borrow().len() <= MOST_NAMES);
        }
    }
}
