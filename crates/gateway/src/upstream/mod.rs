//! Groups of HTTP servers: which one is asked, which ones rest after failures, and the connections kept to them.
pub mod balance;
pub mod pool;
pub mod resolve;

use crate::config;
use balance::Balancer;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An IP address and port.
    Ip(SocketAddr),
    /// A name to resolve, and a port.
    Name(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Parses `host:port`, `[v6]:port`, `host` (port 80), `unix:/path`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_suffix(':').unwrap_or(path);
            return if path.starts_with('/') {
                Ok(Self::Unix(path.into()))
            } else {
                Err(format!("{text:?}: a Unix socket needs an absolute path, like unix:/run/app.sock"))
            };
        }
        if let Ok(addr) = text.parse::<SocketAddr>() {
            return Ok(Self::Ip(addr));
        }
        if let Ok(ip) = text.trim_start_matches('[').trim_end_matches(']').parse() {
            return Ok(Self::Ip(SocketAddr::new(ip, 80)));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => {
                (host, port.parse().map_err(|_| format!("{text:?}: {port:?} is not a port (1 to 65535)"))?)
            }
            None => (text, 80),
        };
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if host.is_empty() || !host.chars().all(fine) {
            return Err(format!("{text:?} is not an address (host:port, [v6]:port or unix:/path)"));
        }
        Ok(Self::Name(host.to_ascii_lowercase(), port))
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(addr) => addr.fmt(f),
            Self::Name(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One server, with its health as all threads see it.
#[derive(Debug)]
pub struct Server {
    /// Where it is.
    pub address: Address,
    /// Its settings.
    pub config: config::UpstreamServer,
    fails: AtomicU32,
    first_fail: AtomicU64,
    rests_until: AtomicU64,
    busy: AtomicU32,
}

impl Server {
    /// It may be asked now (`now` in milliseconds on the thread's clock).
    pub fn available(&self, now: u64) -> bool {
        !self.config.down && !self.full() && self.rests_until.load(Ordering::Relaxed) <= now
    }

    /// It has as many requests as it takes at a time.
    fn full(&self) -> bool {
        self.config.max_conns != 0 && self.busy.load(Ordering::Relaxed) >= self.config.max_conns
    }

    /// It answered.
    pub fn succeeded(&self) {
        if self.fails.load(Ordering::Relaxed) != 0 {
            self.fails.store(0, Ordering::Relaxed);
        }
    }

    /// It failed; after `max_fails` within `fail_timeout` it rests that long. Returns true when it starts to rest.
    pub fn failed(&self, now: u64) -> bool {
        if self.config.max_fails == 0 {
            return false;
        }
        let window = self.config.fail_timeout.0;
        if now.saturating_sub(self.first_fail.load(Ordering::Relaxed)) > window {
            self.fails.store(0, Ordering::Relaxed);
        }
        let fails = self.fails.fetch_add(1, Ordering::Relaxed) + 1;
        if fails == 1 {
            self.first_fail.store(now, Ordering::Relaxed);
        }
        if fails < self.config.max_fails {
            return false;
        }
        self.fails.store(0, Ordering::Relaxed);
        self.rests_until.store(now + window, Ordering::Relaxed);
        true
    }
}

/// A request's place at a server whose `max_conns` is limited; given back when it is dropped.
pub struct Hold {
    group: Arc<Group>,
    server: usize,
}

impl Hold {
    /// Takes a place; `None` where there is no limit.
    pub fn new(group: &Arc<Group>, server: usize) -> Option<Self> {
        if group.servers[server].config.max_conns == 0 {
            return None;
        }
        group.servers[server].busy.fetch_add(1, Ordering::Relaxed);
        Some(Self { group: group.clone(), server })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.group.servers[self.server].busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A group of servers.
pub struct Group {
    /// Unique in the process; threads keep their connections under it.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its servers.
    pub servers: Vec<Server>,
    /// Chooses among them.
    pub balancer: Box<dyn Balancer>,
    /// As configured.
    pub config: config::Upstream,
    described: String,
    /// Servers that are not down.
    up: usize,
}

impl Group {
    /// Compiles a group.
    pub fn compile(name: &str, config: &config::Upstream) -> Result<Self, String> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        if config.server.is_empty() {
            return Err("no servers".into());
        }
        let mut servers = Vec::with_capacity(config.server.len());
        for (i, server) in config.server.iter().enumerate() {
            servers.push(Server {
                address: Address::parse(&server.address).map_err(|e| format!("server[{i}]: {e}"))?,
                config: server.clone(),
                fails: AtomicU32::new(0),
                first_fail: AtomicU64::new(0),
                rests_until: AtomicU64::new(0),
                busy: AtomicU32::new(0),
            });
        }
        let up = config.server.iter().filter(|server| !server.down).count();
        let balancer = balance::compile(config.balance.as_deref().unwrap_or("round_robin"), &config.server)?;
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Self { id, name: name.into(), servers, balancer, config: config.clone(), described: describe(config), up })
    }

    /// A group of one server, which a URL with variables names. Connections to it are not kept.
    pub fn single(address: &Address) -> Result<Self, String> {
        let server = config::UpstreamServer { address: address.to_string(), ..config::UpstreamServer::default() };
        let config = config::Upstream { server: vec![server], keepalive: Some(0), ..config::Upstream::default() };
        Self::compile(&address.to_string(), &config)
    }

    /// Connections to it are kept for further requests.
    pub fn keeps(&self) -> bool {
        self.config.keepalive != Some(0)
    }

    /// Servers that one request may try: all that are not down, at most `limit` unless that is 0.
    pub fn tries(&self, limit: u32) -> usize {
        if limit == 0 { self.up } else { self.up.min(limit as usize) }
    }

    /// The configuration is the one this group was made from, so it can stay over a reload.
    pub fn same_as(&self, config: &config::Upstream) -> bool {
        self.described == describe(config)
    }

    /// Chooses a server that was not tried yet: by the balancer among the available ones, then backups, then, when all rest, any that is not down.
    pub fn pick(&self, cursor: &mut usize, tried: &[usize], now: u64) -> Option<usize> {
        let open = |backup: bool| {
            move |i: usize| {
                let server = &self.servers[i];
                server.config.backup == backup && server.available(now) && !tried.contains(&i)
            }
        };
        if let [server] = self.servers.as_slice() {
            // nginx, too, never lets an only server rest.
            return (tried.is_empty() && !server.config.down && !server.full()).then_some(0);
        }
        self.balancer.pick(cursor, &open(false)).or_else(|| (0..self.servers.len()).find(|i| open(true)(*i))).or_else(
            || {
                let any = |i: &usize| tried.is_empty() && !self.servers[*i].config.down && !self.servers[*i].full();
                (0..self.servers.len()).filter(any).min_by_key(|i| self.servers[*i].rests_until.load(Ordering::Relaxed))
            },
        )
    }
}

fn describe(config: &config::Upstream) -> String {
    serde_json::to_string(config).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(servers: &[&str]) -> Group {
        let parse = |text: &&str| serde_json::from_str(text).unwrap();
        let config = config::Upstream { server: servers.iter().map(parse).collect(), ..config::Upstream::default() };
        Group::compile("g", &config).unwrap()
    }

    #[test]
    fn addresses_parse_and_bad_ones_say_why() {
        let fine = ["127.0.0.1:5000", "[::1]:5000", "localhost:5000", "unix:/run/a.sock"];
        for text in fine {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Address::parse("localhost").unwrap().to_string(), "localhost:80");
        for text in ["", ":80", "a b:80", "host:99999", "unix:relative"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_failed_server_rests_and_backups_take_over() {
        let g = group(&[
            r#"{"address":"127.0.0.1:1"}"#,
            r#"{"address":"127.0.0.1:2"}"#,
            r#"{"address":"127.0.0.1:3","backup":true}"#,
        ]);
        let mut cursor = 0;
        let pick = |cursor: &mut usize, tried: &[usize], now| g.pick(cursor, tried, now);
        let picks: Vec<_> = (0..4).map(|_| pick(&mut cursor, &[], 1).unwrap()).collect();
        assert_eq!(picks, [0, 1, 0, 1]);
        assert!(g.servers[0].failed(1));
        assert_eq!((0..3).map(|_| pick(&mut cursor, &[], 2).unwrap()).collect::<Vec<_>>(), [1, 1, 1]);
        assert!(g.servers[1].failed(2));
        assert_eq!(pick(&mut cursor, &[], 3), Some(2));
        assert_eq!(pick(&mut cursor, &[2], 3), None);
        assert!(pick(&mut cursor, &[], 10_002).is_some_and(|i| i < 2));
    }

    #[test]
    fn a_full_server_is_passed_over_until_a_place_is_given_back() {
        let g = Arc::new(group(&[r#"{"address":"127.0.0.1:1","max_conns":1}"#, r#"{"address":"127.0.0.1:2"}"#]));
        assert!(Hold::new(&g, 1).is_none());
        let hold = Hold::new(&g, 0);
        assert!((0..4).all(|_| g.pick(&mut 0, &[], 1) == Some(1)));
        drop(hold);
        assert_eq!(g.pick(&mut 0, &[], 1), Some(0));
        let only = Arc::new(group(&[r#"{"address":"127.0.0.1:1","max_conns":1}"#]));
        let _hold = Hold::new(&only, 0);
        assert_eq!(only.pick(&mut 0, &[], 1), None);
    }

    #[test]
    fn an_only_server_never_rests_and_max_fails_counts_within_its_window() {
        let g = group(&[r#"{"address":"127.0.0.1:1"}"#]);
        g.servers[0].failed(5);
        assert_eq!(g.pick(&mut 0, &[], 6), Some(0));
        let g =
            group(&[r#"{"address":"127.0.0.1:1","max_fails":2,"fail_timeout":100}"#, r#"{"address":"127.0.0.1:2"}"#]);
        assert!(!g.servers[0].failed(1000));
        assert!(!g.servers[0].failed(2000));
        assert!(g.servers[0].failed(2050));
    }
}
