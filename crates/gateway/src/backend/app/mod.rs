//! App workers as the backend.
use crate::config;
use crate::control::Shared;
use crate::thread::{Command, Thread};
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;

/// What the control thread tells this thread's app pools.
pub enum ThreadCommand {}

/// This thread's share of the app pools.
#[derive(Default)]
pub struct ThreadPools {}

/// The app pools, as all threads share them.
#[derive(Default)]
pub struct Pools {}

impl Pools {
    /// A new plan has these pools.
    pub fn configure(&self, _apps: &BTreeMap<String, config::AppPool>) {}

    /// For `buchner status`.
    pub fn status(&self) -> Value {
        Value::Null
    }
}

/// Carries out a command on an I/O thread.
pub fn obey(_thread: &Rc<Thread>, command: ThreadCommand) {
    match command {}
}

/// Carries out a control message about workers, on the control thread. False: not one of ours.
pub fn control(
    _shared: &Arc<Shared>,
    _threads: &[UnboundedSender<Command>],
    _op: &str,
    _message: &Value,
    _fds: Vec<OwnedFd>,
) -> bool {
    false
}
