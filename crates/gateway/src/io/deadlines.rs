//! Deadlines without a timer per operation.
//!
//! Everything that waits has one entry here: a deadline in milliseconds, 0 for none. Setting it is one store. A sweep ten times a
//! second ends what is late: the socket of a connection is shut down, which wakes the task that waits on it, and what shares its
//! connection with others (a stream of HTTP/2) is only woken ([`Deadline`]). The task then sees `expired` and knows why.
use crate::io::local::Local;
use crate::io::scarcity::NONE;
use crate::io::sock::Sock;
use std::cell::{Cell, RefCell};
use std::net::Shutdown;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Time between two sweeps, in milliseconds; deadlines are this precise.
pub const SWEEP_MS: u64 = 100;
/// A connection that was used so many milliseconds ago is given up last; a new one may take as long for its first request.
const JUST_MS: u64 = 1000;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    /// The half of the socket whose end wakes who waits for it.
    fn half(self) -> Shutdown {
        match self {
            Self::Read => Shutdown::Read,
            Self::Write | Self::Idle | Self::Fresh => Shutdown::Both,
        }
    }
}

/// What is done to whoever is late.
#[derive(Clone)]
enum Ends {
    /// Nobody: the entry is free.
    Free,
    /// The socket is shut down.
    Shutdown(Rc<Sock>),
    /// The task that waits is woken.
    Wake(Waker),
}

impl Ends {
    fn end(&self, waits: Waits) {
        match self {
            Self::Free => {}
            Self::Shutdown(sock) => sock.shutdown(waits.half()),
            Self::Wake(waker) => waker.wake_by_ref(),
        }
    }
}

struct Entry {
    ends: Ends,
    deadline: u64,
    after_ms: u64,
    expired: bool,
    waits: Waits,
    /// When it came to wait for that.
    since: u64,
}

impl Entry {
    fn is_idle(&self) -> bool {
        self.waits.is_idle() && !self.expired
    }
}

/// The deadlines of one I/O thread.
#[derive(Default)]
pub struct Deadlines {
    entries: RefCell<Vec<Entry>>,
    free: RefCell<Vec<u32>>,
    now: Cell<u64>,
}

impl Deadlines {
    /// Registers a socket; the key is given back with [`Deadlines::remove`].
    pub fn insert(&self, sock: Rc<Sock>) -> u32 {
        self.register(Ends::Shutdown(sock))
    }

    fn register(&self, ends: Ends) -> u32 {
        let entry = Entry { ends, deadline: 0, after_ms: 0, expired: false, waits: Waits::Read, since: 0 };
        let mut entries = self.entries.borrow_mut();
        if let Some(key) = self.free.borrow_mut().pop() {
            entries[key as usize] = entry;
            return key;
        }
        entries.push(entry);
        entries.len() as u32 - 1
    }

    /// Forgets an entry.
    pub fn remove(&self, key: u32) {
        let ends = self.entry(key, |entry| {
            (entry.deadline, entry.waits) = (0, Waits::Read);
            std::mem::replace(&mut entry.ends, Ends::Free)
        });
        self.free.borrow_mut().push(key);
        drop(ends);
    }

    /// Sets the time by which what is waited for must happen, in milliseconds from now; 0: no deadline.
    pub fn set(&self, key: u32, now: u64, after_ms: u64, waits: Waits) {
        let entry = &mut self.entries.borrow_mut()[key as usize];
        entry.since = now.max(self.now.get());
        entry.deadline = if after_ms == 0 { 0 } else { entry.since + after_ms };
        entry.after_ms = after_ms;
        entry.waits = waits;
    }

    /// A part of what is waited for has happened: the rest has as long again.
    pub fn renew(&self, key: u32, now: u64) {
        let entry = &mut self.entries.borrow_mut()[key as usize];
        if entry.deadline != 0 {
            entry.deadline = now.max(self.now.get()) + entry.after_ms;
        }
    }

    fn entry<T>(&self, key: u32, f: impl FnOnce(&mut Entry) -> T) -> T {
        f(&mut self.entries.borrow_mut()[key as usize])
    }

    /// Takes the deadline away.
    pub fn clear(&self, key: u32) {
        let entry = &mut self.entries.borrow_mut()[key as usize];
        entry.deadline = 0;
        entry.waits = Waits::Read;
    }

    /// Its deadline passed, and it was ended.
    pub fn expired(&self, key: u32) -> bool {
        self.entries.borrow()[key as usize].expired
    }

    /// Ends everything whose deadline has passed. Returns how much.
    pub fn sweep(&self, now: u64) -> usize {
        self.now.set(now);
        let mut due = Vec::new();
        for entry in self.entries.borrow_mut().iter_mut() {
            if entry.deadline != 0 && entry.deadline <= now {
                entry.deadline = 0;
                entry.expired = true;
                due.push((entry.ends.clone(), entry.waits));
            }
        }
        for (ends, waits) in &due {
            ends.end(*waits);
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
        let silent = |entry: &&mut Entry| matches!(&entry.ends, Ends::Shutdown(sock) if !sock.has_bytes());
        let given_up = spared.filter(silent).take(count);
        let given_up: Vec<_> = given_up
            .map(|entry| {
                entry.deadline = 0;
                entry.expired = true;
                (entry.ends.clone(), entry.waits)
            })
            .collect();
        drop(entries);
        for (ends, waits) in &given_up {
            ends.end(*waits);
        }
        given_up.len()
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

/// A deadline that wakes who waits for it and ends nothing else: that of one stream among those of a connection.
pub struct Deadline {
    thread: Rc<Local>,
    key: u32,
}

impl Deadline {
    /// None for now.
    pub fn new(thread: Rc<Local>) -> Self {
        let key = thread.deadlines.register(Ends::Wake(Waker::noop().clone()));
        Self { thread, key }
    }

    /// What is waited for must happen within `after_ms`; 0: no deadline.
    pub fn set(&self, after_ms: u64) {
        self.thread.deadlines.entry(self.key, |entry| entry.expired = false);
        self.thread.deadlines.set(self.key, self.thread.clock.now(), after_ms, Waits::Read);
    }

    /// Ready once the time is up; until then whoever asked last is woken by it.
    pub fn poll_expired(&self, cx: &Context<'_>) -> Poll<()> {
        let before = self.thread.deadlines.entry(self.key, |entry| match &entry.ends {
            _ if entry.expired => Err(()),
            Ends::Wake(waker) if waker.will_wake(cx.waker()) => Ok(Ends::Free),
            _ => Ok(std::mem::replace(&mut entry.ends, Ends::Wake(cx.waker().clone()))),
        });
        // A waker is dropped here, where nothing is borrowed: it may own whatever task was woken.
        before.map_or(Poll::Ready(()), |_| Poll::Pending)
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.thread.deadlines.remove(self.key);
    }
}

#[cfg(test)]
mod tests;
