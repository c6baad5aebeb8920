//! Deadlines without a timer per operation.
//!
//! Every socket has one entry here: a deadline in milliseconds, 0 for none. Setting it is one store. A sweep ten times a second
//! shuts down the sockets whose time is up, which wakes the task that waits on them; the task then sees `expired` and knows why.
use crate::io::scarcity::NONE;
use crate::io::sock::Sock;
use std::cell::{Cell, RefCell};
use std::net::Shutdown;
use std::rc::Rc;

/// Time between two sweeps, in milliseconds; deadlines are this precise.
pub const SWEEP_MS: u64 = 100;
/// A connection that was used so many milliseconds ago is given up last; a new one may take as long for its first request.
const JUST_MS: u64 = 1000;

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

    /// The order in which connections that have been idle since then are given up, the lowest first: those that have taken
    /// their time for a first request, those that were just used last, and in between the longest idle.
    fn rank(self, since: u64, now: u64) -> u64 {
        let class: u64 = match (self, since + JUST_MS > now) {
            (Self::Fresh, false) => 0,
            (Self::Idle, true) => 2,
            _ => 1,
        };
        class << 60 | since
    }
}

struct Entry {
    sock: Option<Rc<Sock>>,
    deadline: u64,
    after_ms: u64,
    expired: bool,
    waits: Waits,
    /// When it came to wait for that.
    since: u64,
}

impl Entry {
    fn is_idle(&self) -> bool {
        self.waits.is_idle() && self.sock.is_some() && !self.expired
    }
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
        let entry = Entry { sock: Some(sock), deadline: 0, after_ms: 0, expired: false, waits: Waits::Read, since: 0 };
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
        entry.since = now.max(self.now.get());
        entry.deadline = if after_ms == 0 { 0 } else { entry.since + after_ms };
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

    /// The rank of the idle connection that would be given up first.
    pub fn first_idle(&self, now: u64) -> u64 {
        let entries = self.entries.borrow();
        let idle = entries.iter().filter(|entry| entry.is_idle());
        idle.map(|entry| entry.waits.rank(entry.since, now)).min().unwrap_or(NONE)
    }

    /// Shuts down an eighth of the idle connections, at least one and 32 at most, because their descriptors are needed: those of
    /// the lowest rank, and of none above `most`. One with a request on its way is not idle. Returns how many.
    pub fn give_up_idle(&self, now: u64, most: u64) -> usize {
        let mut entries = self.entries.borrow_mut();
        let mut idle: Vec<_> = entries.iter_mut().filter(|entry| entry.is_idle()).collect();
        let count = idle.len().div_ceil(8).min(32);
        idle.sort_by_cached_key(|entry| entry.waits.rank(entry.since, now));
        let spared = idle.into_iter().take_while(|entry| entry.waits.rank(entry.since, now) <= most);
        let silent = |entry: &&mut Entry| entry.sock.as_ref().is_some_and(|sock| !sock.has_bytes());
        let given_up = spared.filter(silent).take(count);
        let socks: Vec<_> = given_up
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_idle_goes_first_and_one_that_was_just_used_last() {
        let rank = |waits: Waits, ago: u64| waits.rank(100_000 - ago, 100_000);
        let order = [
            (Waits::Fresh, 9000),
            (Waits::Fresh, 2000),
            (Waits::Idle, 60_000),
            (Waits::Idle, 1500),
            (Waits::Fresh, 500),
            (Waits::Fresh, 0),
            (Waits::Idle, 999),
            (Waits::Idle, 0),
        ];
        assert!(order.is_sorted_by_key(|(waits, ago)| rank(*waits, *ago)));
    }
}
