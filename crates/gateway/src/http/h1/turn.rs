//! One turn of a connection: a request, and the response to it. What it says of the connection is decided once, so that what
//! is said and what is done are one.
use crate::body::RequestBody;
use crate::error::{Error, Kind, Result};
use crate::exchange::{Exchange, Interim};
use crate::http::connection::Connection;
use crate::http::h1::conn_body::{can_drain, drain, request_body};
use crate::http::h1::{Conn, departure};
use crate::http::send::Written;
use crate::http::transaction::Transaction;
use crate::io::sock::Sock;
use crate::scope::ScopeRef;
use crate::settings::connection::{Lingering, Settings};
use buchner_wire::Version;
use buchner_wire::h1::Framing;
use std::cell::Cell;
use std::rc::{Rc, Weak};

/// What becomes of the connection.
pub enum Next {
    /// It has served a request and is kept for another.
    Keep,
    /// It closes at once.
    Close,
    /// It closes as these settings say.
    Linger(ScopeRef, u32),
}

/// How the end of a response's body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// There is no body.
    NoBody,
    /// Its length was told.
    Length,
    /// By the last chunk.
    Chunked,
    /// By the end of the connection.
    Close,
}

/// A turn.
pub struct Turn<'c> {
    pub(super) conn: &'c Rc<Conn>,
    /// How the body of the request ends, and whether the client waits for 100 before it sends it.
    framing: (Framing, bool),
    /// The client would send another request.
    pub(super) could_stay: bool,
    /// The connection is kept for the next request.
    pub(super) keep: bool,
    pub(super) end: End,
    /// What is kept back; a buffer of the thread once there is a response.
    pub(super) out: Vec<u8>,
    /// Bytes sent, those of the head among them.
    pub(super) total: u64,
    pub(super) head: u64,
    /// Bytes that were sent to see whether the client is there.
    pub(super) probes: Cell<u64>,
    pub(super) timeout_ms: u64,
}

impl<'c> Turn<'c> {
    /// The turn of a request whose body is framed so. `could_stay`: its client would send another.
    pub fn new(conn: &'c Rc<Conn>, framing: Framing, expect_continue: bool, could_stay: bool) -> Self {
        Self {
            conn,
            framing: (framing, expect_continue),
            could_stay,
            keep: false,
            end: End::NoBody,
            out: Vec::new(),
            total: 0,
            head: 0,
            probes: Cell::new(0),
            timeout_ms: 0,
        }
    }

    /// The turn of a head that was not understood.
    pub fn unread(conn: &'c Rc<Conn>) -> Self {
        Self::new(conn, Framing::None, false, false)
    }

    /// The connection may stay for another request.
    pub(super) fn may_stay(&self, ex: &Exchange) -> bool {
        let settings = ex.settings().get::<Settings>();
        let request = &ex.request;
        settings.keepalive_timeout.0 > 0
            && self.conn.connection.may_stay(settings.keepalive_requests, settings.keepalive_time.0)
            && !settings.keepalive_disable.iter().any(|old| old.sent(&request.method, &request.headers))
            && can_drain(self.conn)
    }

    /// The connection's end after a response.
    fn close(&self, ex: &Exchange) -> Next {
        if self.conn.nothing_left() && ex.settings().get::<Settings>().lingering_close != Lingering::Always {
            return Next::Close;
        }
        Next::Linger(ex.scope.clone(), ex.settings_index())
    }

    /// A response that could not be sent whole: its client must see that it is not.
    fn broken_off(&self, ex: &Exchange, error: &Error) -> Next {
        let expired = self.conn.io.expired();
        if self.end == End::Close || (expired && ex.settings().get::<Settings>().reset_timedout_connection) {
            self.conn.io.stream.reset_when_closed();
            return Next::Close;
        }
        if expired || error.kind == Kind::ClientGone { Next::Close } else { self.close(ex) }
    }
}

impl Transaction for Turn<'_> {
    type Next = Next;

    fn connection(&self) -> &Connection {
        &self.conn.connection
    }

    fn body(&self, timeout_ms: u64) -> RequestBody {
        request_body(self.conn, self.framing.0, self.framing.1, timeout_ms)
    }

    fn begun(&self) {
        self.conn.io.no_deadline();
    }

    fn sock(&self) -> Weak<Sock> {
        Rc::downgrade(self.conn.io.sock())
    }

    fn interim(&self) -> Option<Rc<dyn Interim>> {
        Some(self.conn.clone())
    }

    async fn left(&self, version: Version) {
        departure::left(self.conn, version.has_interim()).await;
    }

    fn expired(&self) -> bool {
        self.conn.io.expired()
    }

    fn drop_unsent(&self, reset: bool) -> Next {
        if reset {
            self.conn.io.stream.reset_when_closed();
        }
        Next::Close
    }

    fn refused(&self) -> Next {
        let plan = self.conn.connection.plan();
        let settings = self.conn.connection.default_settings(&plan);
        Next::Linger(plan.scope, settings)
    }

    async fn done(&mut self, ex: &Exchange, written: &Written, sent: Result<()>) -> Next {
        match sent {
            Err(error) => self.broken_off(ex, &error),
            Ok(()) if written.upgraded => Next::Close,
            Ok(()) if self.keep && drain(self.conn).await => Next::Keep,
            Ok(()) => self.close(ex),
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.out.capacity() > 0 {
            self.conn.io.thread().bufs.give_write(std::mem::take(&mut self.out));
        }
    }
}
