//! What all I/O threads share, and how one thread is handed work.
use crate::io::challenges::Challenges;
use crate::io::local::Local;
use crate::io::scarcity::Scarcity;
use crate::observe::log::LogWriter;
use crate::observe::metrics::ThreadMetrics;
use crate::rooms::SharedRooms;
use serde_json::Value;
use std::rc::Rc;
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
    /// Challenges of certificate authorities.
    pub challenges: Challenges,
    /// What rooms share between threads.
    pub rooms: SharedRooms,
}

impl Shared {
    /// Open client connections.
    pub fn connections(&self) -> usize {
        let metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        metrics.iter().map(|thread| thread.connections.get() as usize).sum()
    }
}
