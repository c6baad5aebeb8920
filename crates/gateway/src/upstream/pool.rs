//! Connections to upstream servers, kept per I/O thread and address, newest first.
use super::health::Health;
use super::resolve::Found;
use super::secure::Purpose;
use super::tls::terms::Policy;
use super::{Address, Group, Server};
use crate::error::{Error, Kind, Result};
use crate::io::local::Local;
use crate::io::sock::Sock;
use crate::io::stream::Io;
use crate::random::random;
use crate::tables::Ids;
use rustls::ClientConfig;
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream, UnixStream};

/// Idle connections per thread and server unless `keepalive` says otherwise.
const DEFAULT_KEEPALIVE: usize = 128;
/// Milliseconds an idle connection is kept unless `keepalive_timeout` says otherwise.
const DEFAULT_KEEPALIVE_MS: u64 = 60_000;

/// Groups of single servers, named by URLs with variables, that a thread remembers.
const SINGLES: usize = 1024;

/// What a connection is for, and how long and how often it has served.
#[derive(Clone, Debug)]
pub struct Used {
    purpose: Purpose,
    /// When it was opened, on the thread's clock in milliseconds.
    since: u64,
    requests: u32,
}

impl Used {
    /// A new connection, which serves its first request.
    pub fn new(now: u64, purpose: Purpose) -> Self {
        Self { purpose, since: now, requests: 1 }
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

/// Where one peer is.
#[derive(Clone, Debug)]
enum Place {
    Ip(SocketAddr),
    Unix(PathBuf),
}

/// One address of a server, as one thread sees it: a name has several.
pub struct Peer {
    group: Arc<Group>,
    server: usize,
    place: Place,
    /// The address as logs have it.
    pub name: Rc<str>,
    /// Its health, which all threads share.
    pub health: Arc<Health>,
    idle: RefCell<Vec<(Io, Used)>>,
    /// What handshakes go by, by policy and protocols: sessions are resumed with the address that they began with.
    tls: RefCell<Vec<Bound>>,
}

/// A policy, the protocols that are offered inside TLS, and what handshakes go by.
type Bound = (Weak<Policy>, &'static [&'static [u8]], Arc<ClientConfig>);

impl Peer {
    fn new(group: &Arc<Group>, server: usize, place: Place, health: Arc<Health>) -> Rc<Self> {
        let name = match &place {
            Place::Ip(addr) => addr.to_string().into(),
            Place::Unix(_) => group.servers[server].address.to_string().into(),
        };
        Rc::new(Self {
            group: group.clone(),
            server,
            place,
            name,
            health,
            idle: RefCell::default(),
            tls: RefCell::default(),
        })
    }

    /// The server it is an address of.
    pub fn server(&self) -> &Server {
        &self.group.servers[self.server]
    }

    /// What a handshake with it goes by.
    pub fn tls_config(&self, policy: &Arc<Policy>, alpn: &'static [&'static [u8]]) -> Arc<ClientConfig> {
        let mut known = self.tls.borrow_mut();
        let same = |(weak, protocols, _): &&Bound| weak.as_ptr() == Arc::as_ptr(policy) && *protocols == alpn;
        if let Some((_, _, config)) = known.iter().find(same) {
            return config.clone();
        }
        known.retain(|(weak, ..)| weak.strong_count() > 0);
        let config = policy.bind(alpn);
        known.push((Arc::downgrade(policy), alpn, config.clone()));
        config
    }

    /// What messages call it: by its name too, if it has one.
    pub fn label(&self) -> String {
        match &self.server().address {
            address @ Address::Name(..) => format!("{address} ({})", self.name),
            _ => (*self.name).to_owned(),
        }
    }
}

/// A request that keeps a peer busy until this is dropped.
pub struct Busy(Rc<Peer>);

impl Busy {
    /// The request begins.
    pub fn new(peer: &Rc<Peer>) -> Self {
        peer.server().begin();
        Self(peer.clone())
    }

    /// The peer.
    pub fn peer(&self) -> &Rc<Peer> {
        &self.0
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.server().end();
    }
}

/// The addresses of one server.
struct Seat {
    peers: Rc<[Rc<Peer>]>,
    /// Where the next request begins, so that equal addresses take turns.
    turn: usize,
}

/// A group as one thread sees it.
pub struct Members {
    /// The group.
    pub group: Arc<Group>,
    seats: Vec<RefCell<Seat>>,
}

/// Addresses of a name that are used; more are left out.
const MOST_ADDRESSES: usize = 64;

impl Members {
    /// A group without connections.
    pub fn new(group: &Arc<Group>) -> Self {
        let seat = |(index, server): (usize, &Server)| {
            let place = match &server.address {
                Address::Ip(addr) => Some(Place::Ip(*addr)),
                Address::Unix(path) => Some(Place::Unix(path.clone())),
                Address::Name(..) => None,
            };
            let peer = place.map(|place| Peer::new(group, index, place, server.health.clone()));
            RefCell::new(Seat { peers: peer.into_iter().collect(), turn: random() as usize })
        };
        Self { seats: group.servers.iter().enumerate().map(seat).collect(), group: group.clone() }
    }

    /// The peers of a server whose address is not a name.
    pub fn peers(&self, server: usize) -> Option<Rc<[Rc<Peer>]>> {
        let named = matches!(self.group.servers[server].address, Address::Name(..));
        (!named).then(|| self.seats[server].borrow().peers.clone())
    }

    /// The peers at the addresses of a server's name, and which of them is next. Peers whose address is still one of them stay
    /// with their connections.
    pub fn found(&self, server: usize, found: &Found) -> (Rc<[Rc<Peer>]>, usize) {
        let mut seat = self.seats[server].borrow_mut();
        let addresses = &found.addresses[..found.addresses.len().min(MOST_ADDRESSES)];
        if !seat.peers.iter().map(|peer| peer.ip()).eq(addresses.iter().copied().map(Some)) {
            seat.peers = addresses.iter().map(|ip| self.peer_at(&seat.peers, server, *ip)).collect();
        }
        seat.turn = seat.turn.wrapping_add(1);
        let start = if found.ordered { 0 } else { seat.turn % seat.peers.len().max(1) };
        (seat.peers.clone(), start)
    }

    fn peer_at(&self, known: &[Rc<Peer>], server: usize, ip: IpAddr) -> Rc<Peer> {
        if let Some(peer) = known.iter().find(|peer| peer.ip() == Some(ip)) {
            return peer.clone();
        }
        let port = match self.group.servers[server].address {
            Address::Name(_, port) => port,
            _ => 0,
        };
        let health = self.group.servers[server].health_of(ip);
        Peer::new(&self.group, server, Place::Ip(SocketAddr::new(ip, port)), health)
    }
}

impl Peer {
    fn ip(&self) -> Option<IpAddr> {
        match self.place {
            Place::Ip(addr) => Some(addr.ip()),
            Place::Unix(_) => None,
        }
    }
}

/// One thread's groups.
#[derive(Default)]
pub struct Pools {
    groups: Ids<Rc<Members>>,
    singles: HashMap<Box<str>, Arc<Group>>,
}

impl Pools {
    /// A group as this thread sees it.
    pub fn members(&mut self, group: &Arc<Group>) -> Rc<Members> {
        self.groups.entry(group.id).or_insert_with(|| Rc::new(Members::new(group))).clone()
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
        for seat in self.groups.values().flat_map(|members| &members.seats) {
            for peer in seat.borrow().peers.iter() {
                peer.idle.borrow_mut().retain(|(io, _)| !io.expired() && io.stream.seems_quiet());
            }
        }
    }
}

/// The thread's connections.
pub fn of(thread: &Local) -> Rc<RefCell<Pools>> {
    thread.rooms.get()
}

/// Takes an idle connection to a peer that is for the same purpose. The kernel is asked whether it is still open, and silent:
/// bytes that came late would become the response to the next request.
pub fn take(peer: &Peer, purpose: &Purpose) -> Option<(Io, Used)> {
    let mut idle = peer.idle.borrow_mut();
    while let Some(at) = idle.iter().rposition(|(_, used)| used.purpose == *purpose) {
        let (io, used) = idle.remove(at);
        if !io.expired() && io.stream.is_quiet() {
            return Some((io, Used { requests: used.requests.saturating_add(1), ..used }));
        }
    }
    None
}

/// Gives a connection back for the next request.
pub fn give(peer: &Peer, io: Io, used: Used) {
    let config = &peer.group.config;
    let now = io.thread().clock.now();
    let served = config.keepalive_requests.is_some_and(|most| most != 0 && used.requests >= most)
        || config.keepalive_time.is_some_and(|most| now.saturating_sub(used.since) >= most.0);
    let most = config.keepalive.map_or(DEFAULT_KEEPALIVE, |n| n as usize);
    let mut idle = peer.idle.borrow_mut();
    if !served && most > 0 && !io.thread().draining.get() {
        if idle.len() >= most {
            if idle.last().is_some_and(|(_, last)| last.purpose == used.purpose) {
                return;
            }
            idle.remove(0); // nobody may ask for its purpose any more
        }
        io.idle(config.keepalive_timeout.map_or(DEFAULT_KEEPALIVE_MS, |ms| ms.0));
        idle.push((io, used));
    }
}

/// Opens a connection.
pub async fn connect(thread: &Rc<Local>, peer: &Peer, timeout_ms: u64, outgoing: Outgoing) -> Result<Io> {
    let limit = Duration::from_millis(if timeout_ms == 0 { 60_000 } else { timeout_ms });
    match tokio::time::timeout(limit, open(&peer.place, outgoing)).await {
        Ok(opened) => opened.map(|sock| Io::new(thread.clone(), sock)).map_err(|error| refused(peer, &error)),
        Err(_) => Err(Error::new(
            Kind::UpstreamConnectTimeout,
            format!(
                "upstream {} did not accept the connection within {} ms (connect_timeout)",
                peer.label(),
                limit.as_millis()
            ),
        )),
    }
}

async fn open(place: &Place, outgoing: Outgoing) -> std::io::Result<Sock> {
    let addr = match place {
        Place::Unix(path) => return UnixStream::connect(path).await.map(Sock::Unix),
        Place::Ip(addr) => *addr,
    };
    let stream = match outgoing.bind {
        None => TcpStream::connect(addr).await?,
        Some(local) => {
            let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.bind(local)?;
            socket.connect(addr).await?
        }
    };
    if outgoing.keepalive {
        let _ = rustix::net::sockopt::set_socket_keepalive(&stream, true);
    }
    let _ = stream.set_nodelay(true);
    Ok(Sock::Tcp(stream))
}

fn refused(peer: &Peer, error: &std::io::Error) -> Error {
    use std::io::ErrorKind;
    let name = peer.label();
    let cause = match error.kind() {
        ErrorKind::ConnectionRefused => {
            format!("upstream {name} refused the connection: is the app running and listening there?")
        }
        ErrorKind::NotFound => format!("upstream {name}: no such socket; is the app running?"),
        ErrorKind::PermissionDenied => {
            format!("upstream {name}: permission denied; the gateway's user needs write access to the socket")
        }
        _ => format!("cannot connect to upstream {name}: {error}"),
    };
    Error::new(Kind::UpstreamConnect, cause)
}
