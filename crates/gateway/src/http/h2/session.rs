//! What the task of a connection and those of its streams share.
use crate::http::connection::Connection;
use crate::http::h2::send_timeout_ms;
use crate::http::h2::wire::Wire;
use crate::io::stream::Io;
use bytes::BytesMut;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

/// A connection of HTTP/2.
pub(super) struct Session {
    /// Its bytes.
    pub(super) wire: Wire,
    /// What every version knows of it.
    pub(super) connection: Connection,
    streams: Cell<usize>,
    leaving: Cell<bool>,
    kept_ms: Cell<u64>,
    driver: RefCell<Option<Waker>>,
}

impl Session {
    /// One of which `early` was read.
    pub(super) fn new(io: Io, connection: Connection, early: BytesMut) -> Rc<Self> {
        Rc::new(Self {
            wire: Wire::new(io, early, send_timeout_ms(&connection)),
            connection,
            streams: Cell::new(0),
            leaving: Cell::new(false),
            kept_ms: Cell::new(0),
            driver: RefCell::default(),
        })
    }

    /// The task that drives it.
    pub(super) fn driven_by(&self, waker: &Waker) {
        let mut driver = self.driver.borrow_mut();
        if !driver.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *driver = Some(waker.clone());
        }
    }

    fn wake(&self) {
        if let Some(driver) = &*self.driver.borrow() {
            driver.wake_by_ref();
        }
    }

    /// The client is to go after what is under way.
    pub(super) fn leave(&self) {
        if !self.leaving.replace(true) {
            self.wake();
        }
    }

    /// The client is to go.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.get()
    }

    /// Time that it is kept idle: what the route of the last request says.
    pub(super) fn kept_ms(&self) -> u64 {
        self.kept_ms.get()
    }

    /// Sets that time.
    pub(super) fn keep(&self, ms: u64) {
        self.kept_ms.set(ms);
    }

    /// Streams under way.
    pub(super) fn streams(&self) -> usize {
        self.streams.get()
    }

    /// Counts one more stream for as long as that lives.
    pub(super) fn hold(self: &Rc<Self>) -> Held {
        self.streams.set(self.streams.get() + 1);
        Held(self.clone())
    }
}

/// A stream that counts.
pub(super) struct Held(Rc<Session>);

impl Drop for Held {
    fn drop(&mut self) {
        let left = self.0.streams.get() - 1;
        self.0.streams.set(left);
        if left == 0 {
            self.0.wake();
        }
    }
}
