//! Deadlines without a timer per operation.
//!
//! Every socket has one entry here: a deadline in milliseconds, 0 for none. Setting it is one store. A sweep ten times a second
//! shuts down the sockets whose time is up, which wakes the task that waits on them; the task then sees `expired` and knows why.
use crate::io::sock::Sock;
use std::cell::{Cell, RefCell};
use std::net::Shutdown;
use std::rc::Rc;

/// Time between two sweeps, in milliseconds; deadlines are this precise.
pub const SWEEP_MS: u64 = 100;

/// What a socket waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// Something to read. A slow head still gets its 408: only reading ends.
    Read,
    /// Room to write. Only the end of both directions wakes who waits for it.
    Write,
    /// Nothing in particular: an idle connection has nothing to be told.
    Idle,
    /// The same, and no request has come yet.
    Fresh,
}

impl Waits {
    fn is_idle(self) -> bool {
        matches!(self, Self::Idle | Self::Fresh)
    }
}

struct Entry {
    sock: Option<Rc<Sock>>,
    deadline: u64,
    after_ms: u64,
    expired: bool,
    waits: Waits,
}

/// The deadlines of one I/O thread.
#[derive(Default)]
pub struct Timeouts {
    entries: RefCell<Vec<Entry>>,
    free: RefCell<Vec<u32>>,
    now: Cell<u64>,
}

impl Timeouts {
    /// Registers a socket; the key is given back with [`Timeouts::remove`].
    pub fn insert(&self, sock: Rc<Sock>) -> u32 {
        let entry = Entry { sock: Some(sock), deadline: 0, after_ms: 0, expired: false, waits: Waits::Read };
        let mut entries = self.entries.borrow_mut();
        if let Some(key) = self.free.borrow_mut().pop() {
            entries[key as usize] = entry;
            return key;
        }
        entries.push(entry);
        entries.len() as u32 - 1
    }

    /// Forgets a socket.
    pub fn remove(&self, key: u32) {
        self.entries.borrow_mut()[key as usize].sock = None;
        self.free.borrow_mut().push(key);
    }

    /// Sets the time by which what the socket waits for must happen, in milliseconds from now; 0: no deadline.
    pub fn set(&self, key: u32, now: u64, after_ms: u64, waits: Waits) {
        let entry = &mut self.entries.borrow_mut()[key as usize];
        entry.deadline = if after_ms == 0 { 0 } else { now.max(self.now.get()) + after_ms };
        entry.after_ms = after_ms;
        entry.waits = waits;
    }

    /// A part of what the socket waits for has happened: the rest has as long again.
    pub fn renew(&self, key: u32, now: u64) {
        let entry = &mut self.entries.borrow_mut()[key as usize];
        if entry.deadline != 0 {
            entry.deadline = now.max(self.now.get()) + entry.after_ms;
        }
    }

    /// Takes the deadline away.
    pub fn clear(&self, key: u32) {
        let entry = &mut self.entries.borrow_mut()[key as usize];
        entry.deadline = 0;
        entry.waits = Waits::Read;
    }

    /// Its deadline passed and the socket was shut down.
    pub fn expired(&self, key: u32) -> bool {
        self.entries.borrow()[key as usize].expired
    }

    /// Shuts down every socket whose deadline has passed. Returns how many.
    pub fn sweep(&self, now: u64) -> usize {
        self.now.set(now);
        let mut due = Vec::new();
        for entry in self.entries.borrow_mut().iter_mut() {
            if entry.deadline != 0 && entry.deadline <= now && entry.sock.is_some() {
                entry.deadline = 0;
                entry.expired = true;
                due.extend(entry.sock.clone().map(|sock| (sock, entry.waits)));
            }
        }
        for (sock, waits) in &due {
            sock.shutdown(if *waits == Waits::Read { Shutdown::Read } else { Shutdown::Both });
        }
        due.len()
    }

    /// Shuts down an eighth of the idle connections, at least one and 32 at most, because their descriptors are needed: those first that
    /// have sent no request yet, and then those that would be closed first anyway. Returns how many.
    pub fn give_up_idle(&self) -> usize {
        let mut entries = self.entries.borrow_mut();
        let due = |entry: &Entry| if entry.deadline == 0 { u64::MAX } else { entry.deadline };
        let idle = |entry: &&mut Entry| entry.waits.is_idle() && entry.sock.is_some() && !entry.expired;
        let mut idle: Vec<&mut Entry> = entries.iter_mut().filter(idle).collect();
        let most = idle.len().div_ceil(8).min(32);
        idle.sort_unstable_by_key(|entry| (entry.waits == Waits::Idle, due(entry)));
        idle.truncate(most);
        let socks: Vec<_> = idle
            .into_iter()
            .filter_map(|entry| {
                entry.deadline = 0;
                entry.expired = true;
                entry.sock.clone()
            })
            .collect();
        drop(entries);
        for sock in &socks {
            sock.shutdown(Shutdown::Both);
        }
        socks.len()
    }

    /// Gives every idle connection this deadline at the latest (a draining gateway).
    pub fn hurry_idle(&self, deadline: u64) {
        for entry in self.entries.borrow_mut().iter_mut() {
            if entry.waits.is_idle() && (entry.deadline == 0 || entry.deadline > deadline) {
                entry.deadline = deadline;
            }
        }
    }
}
