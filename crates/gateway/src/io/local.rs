//! What every room may use of the I/O thread it runs on.
use crate::clock::Clock;
use crate::io::bufs::Bufs;
use crate::io::deadlines::Deadlines;
use crate::io::scarcity::Idle;
use crate::io::shared::Shared;
use crate::io::sock::Sock;
use crate::io::stream::Io;
use crate::observe::log::ThreadLog;
use crate::observe::metrics::ThreadMetrics;
use crate::rooms::LocalRooms;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

/// An I/O thread as the rooms see it.
pub struct Local {
    /// Its number, from 0.
    pub id: u32,
    /// What all threads share.
    pub shared: Arc<Shared>,
    /// Its clock.
    pub clock: Clock,
    /// Its deadlines.
    pub deadlines: Deadlines,
    /// What it could give up where descriptors run out.
    pub idle: Arc<Idle>,
    /// Its spare buffers.
    pub bufs: Bufs,
    /// Its share of the logs.
    pub log: ThreadLog,
    /// Its counters.
    pub metrics: Arc<ThreadMetrics>,
    /// The gateway is stopping.
    pub draining: Cell<bool>,
    /// Client connections.
    pub connections: Cell<usize>,
    /// What rooms keep on this thread.
    pub rooms: LocalRooms,
}

impl Local {
    /// The state of thread `id`.
    pub fn new(id: u32, shared: &Arc<Shared>, metrics: Arc<ThreadMetrics>) -> Rc<Self> {
        Rc::new(Self {
            id,
            shared: shared.clone(),
            clock: Clock::default(),
            deadlines: Deadlines::default(),
            idle: shared.scarcity.thread(),
            bufs: Bufs::default(),
            log: ThreadLog::new(shared.log.clone()),
            metrics,
            draining: Cell::new(false),
            connections: Cell::new(0),
            rooms: LocalRooms::default(),
        })
    }

    /// Registers a socket with this thread.
    pub fn io(self: &Rc<Self>, sock: Sock) -> Io {
        Io::new(self.clone(), sock)
    }
}
