//! Where a connection was accepted, and whose it is.
use crate::exchange::Secure;
use crate::net::peer::Peer;
use crate::plan::{self, Plan, PlanRef};
use buchner_wire::proxy_protocol::ProxyHeader;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::sync::Notify;

/// How the bytes of a connection come.
#[derive(Clone, Default)]
pub enum Security {
    /// As they are, and so they may.
    #[default]
    None,
    /// As they are, where they should be encrypted.
    Missing,
    /// Encrypted.
    Tls(Rc<Secure>),
}

/// A connection that was accepted: whose it is.
pub struct Arrival {
    /// The socket's other end.
    pub peer: Peer,
    /// The address it connected to.
    pub local: Peer,
    /// What the proxy in front said ahead of it.
    pub proxied: Option<Rc<ProxyHeader>>,
    /// How its bytes come.
    pub security: Security,
}

/// A listening address as its connections see it: which listener of the current plan it is. Once it is closed, of the last plan that
/// had it: connections keep the listener that accepted them, whatever a reload removes or reorders.
pub struct Port {
    /// Key of the socket.
    pub address: String,
    index: Cell<u32>,
    last: RefCell<Option<PlanRef>>,
    open: Cell<bool>,
    closed: Notify,
}

impl Port {
    /// A port that stands for a plan's listener.
    pub fn new(address: String, index: u32) -> Rc<Self> {
        Rc::new(Self {
            address,
            index: Cell::new(index),
            last: RefCell::default(),
            open: Cell::new(true),
            closed: Notify::new(),
        })
    }

    /// The plan its connections are served by: the one in force, or the last one that this port is in.
    pub fn plan(&self, in_force: impl FnOnce() -> PlanRef) -> PlanRef {
        if self.open() { in_force() } else { self.last.borrow().clone().unwrap_or_else(in_force) }
    }

    /// What listens at an address whose connections come through this port, of the plan that [`Port::plan`] says.
    pub fn listener<'p>(&self, plan: &'p Plan, local: Peer) -> &'p plan::Listener {
        let listener = &plan.listeners[self.index.get() as usize];
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
        // On one thread nothing comes between the look and the wait.
        if self.open() {
            self.closed.notified().await;
        }
    }

    /// Stops accepting; `plan` is the one that its index is of.
    pub fn close(&self, plan: PlanRef) {
        if self.open.replace(false) {
            self.last.replace(Some(plan));
        }
        self.closed.notify_waiters();
    }
}
