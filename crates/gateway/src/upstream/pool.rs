//! Connections to upstream servers, kept per I/O thread, newest first.
use super::resolve::{NameServers, Resolvers};
use super::{Address, Group};
use crate::error::{Error, Kind, Result};
use crate::io::local::Local;
use crate::io::sock::{Io, Sock};
use crate::tables::ById;
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream, UnixStream};

/// Idle connections per thread and server unless `keepalive` says otherwise.
const DEFAULT_KEEPALIVE: usize = 128;
/// Milliseconds an idle connection is kept unless `keepalive_timeout` says otherwise.
const DEFAULT_KEEPALIVE_MS: u64 = 60_000;

/// Groups of single servers, named by URLs with variables, that a thread remembers.
const SINGLES: usize = 1024;

/// How long and how often a connection has served.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// When it was opened, on the thread's clock in milliseconds.
    since: u64,
    requests: u32,
}

impl Used {
    /// A new connection, which serves its first request.
    pub fn new(now: u64) -> Self {
        Self { since: now, requests: 1 }
    }
}

/// Where connections come from, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outgoing {
    /// The local address.
    pub bind: Option<SocketAddr>,
    /// TCP keep-alive probes.
    pub keepalive: bool,
}

/// One thread's connections and its place in each group.
#[derive(Default)]
pub struct Pools {
    groups: HashMap<u64, GroupState, BuildHasherDefault<ById>>,
    singles: HashMap<Box<str>, Arc<Group>>,
}

#[derive(Default)]
struct GroupState {
    cursor: usize,
    idle: Vec<Vec<(Io, Used)>>,
    names: Vec<Rc<str>>,
}

impl Pools {
    fn local(&mut self, group: &Group) -> &mut GroupState {
        self.groups.entry(group.id).or_insert_with(|| GroupState {
            // Threads start at different servers so that few requests on many threads still spread.
            cursor: crate::exchange::id::random() as usize % group.servers.len().max(1),
            idle: group.servers.iter().map(|_| Vec::new()).collect(),
            names: group.servers.iter().map(|server| server.address.to_string().into()).collect(),
        })
    }

    /// Chooses a server.
    pub fn pick(&mut self, group: &Group, tried: &[usize], now: u64) -> Option<usize> {
        group.pick(&mut self.local(group).cursor, tried, now)
    }

    /// The name of a server, for logs and messages.
    pub fn name(&mut self, group: &Group, server: usize) -> Rc<str> {
        self.local(group).names[server].clone()
    }

    /// The address that the name of a server led to, for logs, in the name's place.
    pub fn found(&mut self, group: &Group, server: usize, io: &Io) -> Rc<str> {
        let name = &mut self.local(group).names[server];
        if let (Address::Name(..), Some(address)) = (&group.servers[server].address, io.sock.peer()) {
            let address = address.to_string();
            if **name != *address {
                *name = address.into();
            }
        }
        name.clone()
    }

    /// The group of one server that a URL with variables names.
    pub fn single(&mut self, address: &Address) -> std::result::Result<Arc<Group>, String> {
        let name = address.to_string();
        if let Some(group) = self.singles.get(name.as_str()) {
            return Ok(group.clone());
        }
        if self.singles.len() >= SINGLES {
            self.singles.clear();
        }
        let group = Arc::new(Group::single(address)?);
        self.singles.insert(name.into(), group.clone());
        Ok(group)
    }

    /// Drops connections that ended or idled too long, and groups no plan has any more.
    pub fn prune(&mut self, alive: impl Fn(u64) -> bool) {
        self.groups.retain(|id, _| alive(*id));
        for local in self.groups.values_mut() {
            for idle in &mut local.idle {
                idle.retain(|(io, _)| !io.expired() && !io.sock.has_event());
            }
        }
    }

    /// Idle connections in all.
    pub fn idle(&self) -> usize {
        self.groups.values().flat_map(|local| &local.idle).map(Vec::len).sum()
    }
}

/// The thread's connections.
pub fn of(thread: &Local) -> Rc<RefCell<Pools>> {
    thread.rooms.get()
}

/// Takes an idle connection to a server. The kernel is asked whether it is still open, and silent: bytes that came late would
/// become the response to the next request.
pub fn take(thread: &Local, group: &Group, server: usize) -> Option<(Io, Used)> {
    let pools = of(thread);
    let mut pools = pools.borrow_mut();
    let idle = &mut pools.local(group).idle[server];
    while let Some((io, used)) = idle.pop() {
        let dead = io.expired() || io.sock.peek_dead();
        if !dead {
            return Some((io, Used { requests: used.requests.saturating_add(1), ..used }));
        }
    }
    None
}

/// Gives a connection back for the next request.
pub fn give(group: &Group, server: usize, io: Io, used: Used) {
    let thread = io.thread().clone();
    let config = &group.config;
    let served = config.keepalive_requests.is_some_and(|most| most != 0 && used.requests >= most)
        || config.keepalive_time.is_some_and(|most| thread.clock.now().saturating_sub(used.since) >= most.0);
    if served {
        return;
    }
    let most = group.config.keepalive.map_or(DEFAULT_KEEPALIVE, |n| n as usize);
    let pools = of(&thread);
    let mut pools = pools.borrow_mut();
    let idle = &mut pools.local(group).idle[server];
    if idle.len() < most && !thread.draining.get() {
        io.idle(group.config.keepalive_timeout.map_or(DEFAULT_KEEPALIVE_MS, |ms| ms.0));
        idle.push((io, used));
    }
}

/// Opens a connection, trying every address the name has.
pub async fn connect(
    thread: &Rc<Local>,
    address: &Address,
    timeout_ms: u64,
    outgoing: Outgoing,
    servers: &Arc<NameServers>,
) -> Result<Io> {
    let limit = Duration::from_millis(if timeout_ms == 0 { 60_000 } else { timeout_ms });
    match tokio::time::timeout(limit, connect_any(thread, address, outgoing, servers)).await {
        Ok(connected) => connected.map(|sock| Io::new(thread.clone(), sock)),
        Err(_) => Err(Error::new(
            Kind::UpstreamConnectTimeout,
            format!(
                "upstream {address} did not accept the connection within {} ms (connect_timeout)",
                limit.as_millis()
            ),
        )),
    }
}

async fn connect_any(
    thread: &Rc<Local>,
    address: &Address,
    outgoing: Outgoing,
    servers: &Arc<NameServers>,
) -> Result<Sock> {
    let addresses = match address {
        Address::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(|e| refused(address, &e))?;
            return Ok(Sock::Unix(stream));
        }
        Address::Ip(addr) => vec![*addr],
        Address::Name(host, port) => thread.rooms.get::<Resolvers>().of(servers).lookup(thread, host, *port).await?,
    };
    let mut last = None;
    for addr in addresses {
        match open(addr, outgoing).await {
            Ok(stream) => {
                if outgoing.keepalive {
                    let _ = rustix::net::sockopt::set_socket_keepalive(&stream, true);
                }
                let _ = stream.set_nodelay(true);
                return Ok(Sock::Tcp(stream));
            }
            Err(e) => last = Some(e),
        }
    }
    Err(match last {
        Some(e) => refused(address, &e),
        None => Error::new(Kind::UpstreamConnect, format!("upstream {address}: the name has no address")),
    })
}

async fn open(addr: SocketAddr, outgoing: Outgoing) -> std::io::Result<TcpStream> {
    let Some(local) = outgoing.bind else { return TcpStream::connect(addr).await };
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(local)?;
    socket.connect(addr).await
}

fn refused(address: &Address, error: &std::io::Error) -> Error {
    use std::io::ErrorKind;
    let cause = match error.kind() {
        ErrorKind::ConnectionRefused => {
            format!("upstream {address} refused the connection: is the app running and listening there?")
        }
        ErrorKind::NotFound => format!("upstream {address}: no such socket; is the app running?"),
        ErrorKind::PermissionDenied => {
            format!("upstream {address}: permission denied; the gateway's user needs write access to the socket")
        }
        _ => format!("cannot connect to upstream {address}: {error}"),
    };
    Error::new(Kind::UpstreamConnect, cause)
}
