//! Where a connection was accepted, and whose it is.
use crate::net::peer::Peer;
use crate::plan::{self, Plan};
use buchner_wire::proxy_protocol::ProxyHeader;
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::sync::Notify;

/// A connection that was accepted: whose it is.
pub struct Arrival {
    /// The socket's other end.
    pub peer: Peer,
    /// The address it connected to.
    pub local: Peer,
    /// What the proxy in front said ahead of it.
    pub proxied: Option<Rc<ProxyHeader>>,
}

/// A listening address as its connections see it: which listener of the current plan it is.
pub struct Port {
    /// Key of the socket.
    pub address: String,
    index: Cell<u32>,
    open: Cell<bool>,
    closed: Notify,
}

impl Port {
    /// A port that stands for a plan's listener.
    pub fn new(address: String, index: u32) -> Rc<Self> {
        Rc::new(Self { address, index: Cell::new(index), open: Cell::new(true), closed: Notify::new() })
    }

    /// The listener's index in the current plan. Of a closed port: 0, any, for the last answers of its connections.
    pub fn index(&self) -> u32 {
        self.index.get()
    }

    /// What of a plan listens at an address whose connections come through this port.
    pub fn listener<'p>(&self, plan: &'p Plan, local: Peer) -> &'p plan::Listener {
        let listener = &plan.listeners[self.index() as usize];
        if listener.singles.is_empty() {
            return listener;
        }
        let Peer::Ip(local) = local else { return listener };
        let local = SocketAddr::new(local.ip().to_canonical(), local.port());
        listener.singles.get(&local).map_or(listener, |single| &plan.listeners[*single as usize])
    }

    /// A new plan has the listener here.
    pub fn set_index(&self, index: u32) {
        self.index.set(index);
    }

    /// Still listening.
    pub fn open(&self) -> bool {
        self.open.get()
    }

    /// Resolves once accepting stops.
    pub async fn until_closed(&self) {
        self.closed.notified().await;
    }

    /// Stops accepting.
    pub fn close(&self) {
        self.open.set(false);
        self.index.set(0);
        self.closed.notify_one();
    }
}
