//! The handshakes under way on an I/O thread, and the most that there may be: each takes memory before anything is known of its
//! client.
use crate::io::sock::Sock;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::Shutdown;
use std::rc::Rc;

/// Milliseconds between two lines of the log about handshakes given up.
const SILENCE_MS: u64 = 10_000;

/// The handshakes under way, in the order they began.
#[derive(Default)]
pub struct Shaking {
    open: RefCell<BTreeMap<u64, Rc<Sock>>>,
    next: Cell<u64>,
    /// When some were last said to be given up.
    told: Cell<Option<u64>>,
}

/// One of them, until this is dropped.
pub struct Under {
    all: Rc<Shaking>,
    number: u64,
}

impl Shaking {
    /// A handshake begins. If there are `most` already (0: any number), the one that has lasted longest is given up: an honest
    /// client needs a few round trips. Returns whether the log should hear of that.
    pub fn begin(self: &Rc<Self>, sock: &Rc<Sock>, most: usize, now: u64) -> (Under, bool) {
        let number = self.next.get();
        self.next.set(number + 1);
        let mut open = self.open.borrow_mut();
        let oldest = if most != 0 && open.len() >= most { open.pop_first() } else { None };
        open.insert(number, sock.clone());
        let tell = oldest.is_some() && self.told.get().is_none_or(|told| now.saturating_sub(told) >= SILENCE_MS);
        if tell {
            self.told.set(Some(now));
        }
        if let Some((_, sock)) = oldest {
            sock.shutdown(Shutdown::Both); // its task sees the end
        }
        (Under { all: self.clone(), number }, tell)
    }
}

impl Drop for Under {
    fn drop(&mut self) {
        self.all.open.borrow_mut().remove(&self.number);
    }
}
