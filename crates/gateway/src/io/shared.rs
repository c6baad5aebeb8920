//! What all I/O threads share, and how one thread is handed work.
use crate::io::local::Local;
use crate::observe::log::LogWriter;
use crate::observe::metrics::ThreadMetrics;
use crate::rooms::SharedRooms;
use serde_json::Value;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

/// The way to the supervisor.
pub trait Tell: Send + Sync {
    /// Sends an event (docs/control-protocol.md). Never waits.
    fn tell(&self, event: &Value);
}

/// Work for an I/O thread.
pub type Task = Box<dyn FnOnce(&Rc<Local>) + Send>;

/// Hands work to one I/O thread. False: the thread has ended.
pub type Post = Arc<dyn Fn(Task) -> bool + Send + Sync>;

/// What all threads of the gateway share.
pub struct Shared {
    /// The log writer.
    pub log: LogWriter,
    /// Counters, one set a thread.
    pub metrics: Mutex<Vec<Arc<ThreadMetrics>>>,
    /// To the supervisor.
    pub supervisor: Arc<dyn Tell>,
    /// Whether descriptors run out.
    pub scarcity: Scarcity,
    /// What rooms share between threads.
    pub rooms: SharedRooms,
}

/// When descriptors are so scarce that idle connections are closed.
#[derive(Debug)]
pub struct Scarcity {
    /// A connection with this descriptor or a higher one leaves too few for what requests open.
    pub from: u64,
    /// Counts up when a thread without idle connections needs descriptors: the others close some of theirs.
    pub calls: AtomicU64,
}

impl Scarcity {
    /// Below this limit a sixteenth of the descriptors is kept free, 256 at most.
    pub fn below(limit: Option<u64>) -> Self {
        let from = limit.map_or(u64::MAX, |limit| limit - (limit / 16).min(256));
        Self { from, calls: AtomicU64::new(0) }
    }
}

impl Shared {
    /// Open client connections.
    pub fn connections(&self) -> usize {
        let metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        metrics.iter().map(|thread| thread.connections.get() as usize).sum()
    }
}
