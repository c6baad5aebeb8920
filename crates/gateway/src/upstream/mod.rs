//! Groups of servers: which one is asked, which ones are left alone after failures, and the connections kept to them.
mod address;
mod attempts;
pub mod balance;
pub mod config;
mod health;
mod kept;
mod link;
pub mod pool;
pub mod protocol;
pub mod resolve;
mod secure;
pub mod tls;

pub use address::Address;
pub use attempts::{Attempts, Step};
pub use kept::Limits;
pub use link::{Link, Rest, Uplink, UpstreamBody};
pub use protocol::{Language, Outbound, Talk};
pub use secure::{Purpose, Secure};

use crate::exchange::Exchange;
use crate::net::peer::Peer;
use crate::random::random;
use crate::tables::Ids;
use crate::vars::{Names, Sent, Template};
use balance::{Balancer, By, Choice};
use config::{Upstream, UpstreamServer};
use health::Health;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// One server, with its health and load as all threads see them.
#[derive(Debug)]
pub struct Server {
    /// Where it is.
    pub address: Address,
    /// Its settings.
    pub config: UpstreamServer,
    /// Its health; that of a name says whether any of its addresses is worth asking.
    pub health: Arc<Health>,
    /// That of each address of a name.
    named: Mutex<HashMap<IpAddr, Weak<Health>>>,
    busy: AtomicU32,
}

impl Server {
    /// A server that has not failed.
    pub fn new(config: &config::UpstreamServer) -> Result<Self, String> {
        Ok(Self {
            address: Address::parse(&config.address, 80)?,
            health: Arc::new(Health::new(config.max_fails, config.fail_timeout.0)),
            config: config.clone(),
            named: Mutex::default(),
            busy: AtomicU32::new(0),
        })
    }

    /// It may be asked now (`now` in milliseconds on the thread's clock).
    pub fn available(&self, now: u64) -> bool {
        !self.config.down && !self.full() && self.health.available(now)
    }

    /// It has as many requests as it takes at a time.
    fn full(&self) -> bool {
        self.config.max_conns != 0 && self.busy() >= self.config.max_conns
    }

    /// Requests it is busy with.
    pub fn busy(&self) -> u32 {
        self.busy.load(Ordering::Relaxed)
    }

    /// It is busy with more requests for its weight than another one.
    pub fn busier_than(&self, other: &Self) -> bool {
        let load = |one: &Self, by: &Self| u64::from(one.busy()) * u64::from(by.config.weight);
        load(self, other) > load(other, self)
    }

    /// A request goes there.
    pub fn begin(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    /// A request is over there.
    pub fn end(&self) {
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }

    /// The health of an address of its name, the same for all threads as long as one of them has it.
    pub fn health_of(&self, address: IpAddr) -> Arc<Health> {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = named.get(&address).and_then(Weak::upgrade) {
            return known;
        }
        named.retain(|_, health| health.strong_count() > 0);
        let health = Arc::new(Health::new(self.config.max_fails, self.config.fail_timeout.0));
        named.insert(address, Arc::downgrade(&health));
        health
    }
}

/// Groups by name.
#[derive(Default)]
pub struct Groups(pub HashMap<String, Arc<Group>>, Ids<Template>);

impl Groups {
    /// Groups with their keys, which are compiled anew with each plan: the numbers of variables are the plan's.
    pub fn new(groups: HashMap<String, Arc<Group>>, names: &Names) -> Result<Self, String> {
        let mut keys = Ids::default();
        for (name, group) in &groups {
            let Some(key) = &group.config.key else { continue };
            let key = Template::compile(key, names).map_err(|e| format!("upstream.{name}.key: {e}"))?;
            keys.insert(group.id, key);
        }
        Ok(Self(groups, keys))
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
    balancer: Box<dyn Balancer>,
    /// Chooses among the backups.
    backups: Box<dyn Balancer>,
    /// What the balancers choose by.
    by: By,
    /// As configured.
    pub config: Upstream,
    described: String,
    /// Servers that are not down.
    up: usize,
}

impl Group {
    /// Compiles a group.
    pub fn compile(name: &str, config: &Upstream) -> Result<Self, String> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        if config.server.is_empty() {
            return Err("no servers".into());
        }
        let mut servers = Vec::with_capacity(config.server.len());
        for (i, server) in config.server.iter().enumerate() {
            servers.push(Server::new(server).map_err(|e| format!("server[{i}]: {e}"))?);
        }
        let up = config.server.iter().filter(|server| !server.down).count();
        let balance = config.balance.unwrap_or_default();
        let (balancer, backups) = (balance.of(&config.server, false), balance.of(&config.server, true));
        let by = balancer.by();
        if (by == By::Key) != config.key.is_some() {
            return Err("`key` belongs to `balance = \"hash\"` and `\"consistent_hash\"`, which need it".into());
        }
        let (id, described) = (NEXT.fetch_add(1, Ordering::Relaxed), describe(config));
        Ok(Self { id, name: name.into(), servers, balancer, backups, by, config: config.clone(), described, up })
    }

    /// A group of one server, which a URL with variables names. Connections to it are not kept, and its failures are not
    /// remembered.
    pub fn single(address: &Address) -> Result<Self, String> {
        let server = UpstreamServer { address: address.to_string(), max_fails: 0, ..UpstreamServer::default() };
        let config = Upstream { server: vec![server], keepalive: Some(0), ..Upstream::default() };
        Self::compile(&address.to_string(), &config)
    }

    /// Connections to it are kept for further requests.
    pub fn keeps(&self) -> bool {
        self.config.keepalive != Some(0)
    }

    /// Servers that are not down.
    pub fn up(&self) -> usize {
        self.up
    }

    /// The configuration is the one this group was made from, so it can stay over a reload.
    pub fn same_as(&self, config: &Upstream) -> bool {
        self.described == describe(config)
    }

    /// What a request has in common with those that belong to the same server.
    pub fn key(&self, ex: &Exchange) -> Vec<u8> {
        match self.by {
            By::Nothing => Vec::new(),
            By::Address => address_key(&ex.client.addr),
            By::Key => {
                let key = ex.scope.get::<Groups>().and_then(|groups| groups.1.get(&self.id));
                key.map(|key| key.value(ex, Sent::default())).unwrap_or_default()
            }
        }
    }

    /// Chooses a server that was not tried yet: by the balancer among the available ones, then a backup, then, if all are
    /// unavailable, the one that failed longest ago.
    pub fn pick(&self, key: &[u8], tried: &[usize], now: u64) -> Option<usize> {
        if let [server] = self.servers.as_slice() {
            // nginx, too, never leaves an only server alone.
            return (tried.is_empty() && !server.config.down && !server.full()).then_some(0);
        }
        let mut choice = Choice { key, servers: &self.servers, now, random, tried, backup: false };
        if let Some(server) = self.balancer.pick(&choice) {
            return Some(server);
        }
        choice.backup = true;
        self.backups.pick(&choice).or_else(|| {
            let any = |i: &usize| tried.is_empty() && !self.servers[*i].config.down && !self.servers[*i].full();
            (0..self.servers.len()).filter(any).min_by_key(|i| self.servers[*i].health.last())
        })
    }
}

/// The part of a client's address that nginx's `ip_hash` looks at: IPv6 whole, and of IPv4 its /24.
fn address_key(client: &Peer) -> Vec<u8> {
    match client.ip() {
        Some(IpAddr::V4(ip)) => ip.octets()[..3].to_vec(),
        Some(IpAddr::V6(ip)) => ip.octets().to_vec(),
        None => vec![0; 3],
    }
}

fn describe(config: &Upstream) -> String {
    serde_json::to_string(config).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(servers: &[&str]) -> Group {
        let parse = |text: &&str| serde_json::from_str(text).unwrap();
        let config = Upstream { server: servers.iter().map(parse).collect(), ..Upstream::default() };
        Group::compile("g", &config).unwrap()
    }

    /// The server was asked and failed.
    fn fail(group: &Group, server: usize, now: u64) -> bool {
        group.servers[server].health.failed(now)
    }

    #[test]
    fn a_failed_server_is_left_alone_and_backups_take_over() {
        let g = group(&[
            r#"{"address":"127.0.0.1:1"}"#,
            r#"{"address":"127.0.0.1:2"}"#,
            r#"{"address":"127.0.0.1:3","backup":true}"#,
        ]);
        let picks = |tried: &[usize], now, count: usize| -> Vec<_> {
            (0..count).map(|_| g.pick(b"", tried, now).unwrap()).collect()
        };
        assert_eq!(picks(&[], 1, 4), [0, 1, 0, 1]);
        assert!(fail(&g, 0, 1));
        assert_eq!(picks(&[], 2, 3), [1, 1, 1]);
        assert!(fail(&g, 1, 2));
        assert_eq!(picks(&[], 3, 1), [2]);
        assert_eq!(g.pick(b"", &[2], 3), None);
        assert_eq!(picks(&[], 10_002, 2), [0, 0]);
    }

    #[test]
    fn when_all_are_unavailable_the_one_that_failed_first_is_asked() {
        let g = group(&[r#"{"address":"127.0.0.1:1"}"#, r#"{"address":"127.0.0.1:2"}"#]);
        fail(&g, 1, 5);
        fail(&g, 0, 6);
        assert_eq!(g.pick(b"", &[], 7), Some(1));
    }

    #[test]
    fn a_full_server_is_passed_over_until_a_request_ends() {
        let g = group(&[r#"{"address":"127.0.0.1:1","max_conns":1}"#, r#"{"address":"127.0.0.1:2"}"#]);
        g.servers[0].begin();
        assert!((0..4).all(|_| g.pick(b"", &[], 1) == Some(1)));
        g.servers[0].end();
        assert_eq!(g.pick(b"", &[], 1), Some(0));
        let only = group(&[r#"{"address":"127.0.0.1:1","max_conns":1}"#]);
        only.servers[0].begin();
        assert_eq!(only.pick(b"", &[], 1), None);
    }

    #[test]
    fn an_only_server_is_never_left_alone() {
        let g = group(&[r#"{"address":"127.0.0.1:1"}"#]);
        fail(&g, 0, 5);
        assert_eq!(g.pick(b"", &[], 6), Some(0));
    }
}
