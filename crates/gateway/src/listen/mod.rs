//! Listening sockets: accepting, and pausing when there are no descriptors left.
mod handshake;
pub mod places;
pub mod proxy_protocol;
mod shaking;

use crate::http;
use crate::http::port::{Arrival, Port, Security};
use crate::http::service::Service;
use crate::io::sock::Sock;
use crate::io::stream::Io;
use crate::net::peer::Peer;
use crate::upstream::pool;
use places::{Place, Places};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, UnixListener};

/// Pause after an accept that failed for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(50);
/// The same when idle connections were closed for it: their descriptors are there in a moment.
const SHORT_PAUSE: Duration = Duration::from_millis(2);
/// Pauses closer together than this are one in the log; accepting that went well for so long goes on.
const CALM: Duration = Duration::from_secs(1);

/// A socket to listen on, as the supervisor sent it.
pub enum Socket {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// Unix.
    Unix(std::os::unix::net::UnixListener),
}

impl Socket {
    /// Wraps a listening descriptor for the address it stands for.
    pub fn new(address: &str, fd: OwnedFd) -> io::Result<Self> {
        let socket = if address.starts_with("unix:") { Self::Unix(fd.into()) } else { Self::Tcp(fd.into()) };
        match &socket {
            Self::Tcp(listener) => listener.set_nonblocking(true)?,
            Self::Unix(listener) => listener.set_nonblocking(true)?,
        }
        Ok(socket)
    }

    /// A second handle for another thread.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(listener) => Self::Tcp(listener.try_clone()?),
            Self::Unix(listener) => Self::Unix(listener.try_clone()?),
        })
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn new(socket: Socket) -> io::Result<Self> {
        Ok(match socket {
            Socket::Tcp(listener) => Self::Tcp(TcpListener::from_std(listener)?),
            Socket::Unix(listener) => Self::Unix(UnixListener::from_std(listener)?),
        })
    }

    async fn accept(&self) -> io::Result<(Sock, Peer, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let local = Peer::Ip(stream.local_addr()?);
                Ok((Sock::Tcp(stream), Peer::Ip(peer), local))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Sock::Unix(stream), Peer::Unix, Peer::Unix))
            }
        }
    }
}

/// Accepts on a socket until its port closes.
pub fn spawn(thread: Rc<Service>, port: Rc<Port>, socket: Socket) {
    let listener = match Listener::new(socket) {
        Ok(listener) => listener,
        Err(e) => {
            thread.log.error(&format!("cannot listen on {}: {e}", port.address));
            return;
        }
    };
    tokio::task::spawn_local(async move {
        let mut pauses = Pauses::default();
        while port.open() {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((sock, peer, local)) => {
                        if pauses.are_over() {
                            thread.log.notice(&format!("accepting on {} goes on", port.address));
                        }
                        if sock.as_fd().as_raw_fd() as u64 >= thread.shared.scarcity.from {
                            relieve(&thread);
                        }
                        admit(&thread, &port, sock, peer, local);
                    }
                    Err(e) => pause(&thread, &port, &e, &mut pauses).await,
                },
                () = port.until_closed() => {}
            }
            if full(&thread) {
                if pauses.begin() {
                    thread.log.warn(&format!("max_connections reached: accepting on {} pauses", port.address));
                }
                while full(&thread) && port.open() {
                    tokio::time::sleep(relieve(&thread)).await;
                }
            }
        }
    });
}

/// The pauses of one listener, for the log.
#[derive(Default)]
struct Pauses {
    last: Option<Instant>,
}

impl Pauses {
    /// Accepting pauses. True when it had been going well.
    fn begin(&mut self) -> bool {
        self.last.replace(Instant::now()).is_none_or(|last| last.elapsed() > CALM)
    }

    /// True once, when accepting has gone well for a while after a pause.
    fn are_over(&mut self) -> bool {
        let over = self.last.is_some_and(|last| last.elapsed() > CALM);
        if over {
            self.last = None;
        }
        over
    }
}

/// Descriptors run out: idle connections are closed, of whichever thread has those that can best be spared. Returns how long to
/// wait for them.
fn relieve(thread: &Service) -> Duration {
    thread.clock.tick();
    let now = thread.clock.now();
    thread.idle.publish(thread.deadlines.first_idle(now));
    match thread.shared.scarcity.ask_other(&thread.idle) {
        Err(most) if thread.deadlines.give_up_idle(now, most) == 0 => PAUSE,
        _ => SHORT_PAUSE,
    }
}

fn full(thread: &Service) -> bool {
    let most = thread.plan().scope.gateway.max_connections;
    most != 0 && thread.shared.connections() >= most as usize
}

/// Starts a connection's task, within the limit per address. Of what a trusted proxy sends the limit is for whom it speaks.
fn admit(thread: &Rc<Service>, port: &Rc<Port>, sock: Sock, peer: Peer, local: Peer) {
    let plan = thread.plan();
    let listener = port.listener(&plan, local);
    let header_within = listener.proxy_protocol.then_some(listener.head.header_timeout.0);
    let encrypted = listener.tls.is_some();
    let spoken_for = header_within.is_some() && plan.trusted.as_ref().is_some_and(|trusted| trusted.believes(&peer));
    let Some(place) = take_place(thread, &peer, !spoken_for) else { return };
    thread.connections.set(thread.connections.get() + 1);
    thread.metrics.accepted.add(1);
    thread.metrics.connections.set(thread.connections.get() as u64);
    let (thread, port) = (thread.clone(), port.clone());
    tokio::task::spawn_local(async move {
        let _count = Count(thread.clone());
        let _place = place;
        let io = thread.io(sock);
        let arrival = Arrival { peer, local, proxied: None, security: Security::None };
        match header_within {
            Some(timeout_ms) => Box::pin(introduced(io, thread, port, arrival, timeout_ms, spoken_for)).await,
            None if encrypted => Box::pin(handshake::serve(io, thread, port, arrival)).await,
            None => http::serve(io, thread, port, arrival).await,
        }
    });
}

/// A connection's place among those of `peer`, if it counts for that one; `None` when there is no room.
fn take_place(thread: &Service, peer: &Peer, counts: bool) -> Option<Place> {
    let most = if counts { thread.plan().scope.gateway.max_connections_per_address } else { 0 };
    if most == 0 {
        return Some(Place::default());
    }
    let place = thread.shared.rooms.get::<Places>().take(peer, most);
    if place.is_none() {
        thread.metrics.refused.add(1);
    }
    place
}

/// Serves a connection behind what the proxy says ahead of it.
async fn introduced(
    io: Io,
    thread: Rc<Service>,
    port: Rc<Port>,
    mut arrival: Arrival,
    timeout_ms: u64,
    spoken_for: bool,
) {
    let header = match proxy_protocol::read(&io, timeout_ms).await {
        Ok(header) => header,
        Err(cause) => {
            if let Some(cause) = cause {
                thread.metrics.bad_heads.add(1);
                let (client, address) = (arrival.peer, &port.address);
                thread
                    .log
                    .error(&format!("{cause}; it is closed, client: {client}, server: {address} (proxy_protocol)"));
            }
            return;
        }
    };
    let source = header.addresses.map_or(arrival.peer, |(source, _)| Peer::Ip(source));
    let Some(_place) = take_place(&thread, &source, spoken_for) else { return };
    arrival.proxied = Some(Rc::new(header));
    handshake::serve(io, thread, port, arrival).await;
}

/// Counts a connection down however its task ends, a panic included.
struct Count(Rc<Service>);

impl Drop for Count {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
        self.0.metrics.connections.set(self.0.connections.get() as u64);
    }
}

/// An accept failed. A client that left is nothing; a want of descriptors or memory is waited out, and the waiting clients stay in the backlog.
async fn pause(thread: &Service, port: &Port, error: &io::Error, pauses: &mut Pauses) {
    use rustix::io::Errno;
    let code = Errno::from_io_error(error);
    if matches!(code, Some(Errno::CONNABORTED | Errno::INTR | Errno::AGAIN)) {
        return;
    }
    let hint = match code {
        Some(Errno::MFILE) => "; raise the limit of open files (LimitNOFILE=, ulimit -n)",
        Some(Errno::NFILE) => "; the system is out of descriptors (fs.file-max)",
        _ => "",
    };
    thread.metrics.accept_pauses.add(1);
    if pauses.begin() {
        thread.log.error(&format!("cannot accept on {}: {error}{hint}; accepting pauses and resumes", port.address));
    }
    pool::of(thread).borrow_mut().prune(|_| true);
    tokio::time::sleep(relieve(thread)).await;
}
