//! HTTP/1 towards the client: one task per connection, whose idle state is a socket and a few numbers. The state of
//! a request lives in a box (`busy`) that the connection has only while it is served.
mod busy;
mod conn_body;
mod departure;
mod interim;
mod line;
mod turn;
mod write;

use crate::config::HeadLimits;
use crate::error::{Error, Kind, Result};
use crate::http::connection::Connection;
use crate::http::head::Head;
use crate::http::linger::linger;
use crate::http::refuse::refuse;
use crate::http::serve::serve_request;
use crate::io::sock::READ_SIZE;
use crate::io::stream::Io;
use buchner_wire::h1::{self, H1Error, RequestHead};
use buchner_wire::h2::PREFACE;
use buchner_wire::headers::HeaderId;
use buchner_wire::method::Method;
use bytes::{Bytes, BytesMut};
use conn_body::{BodyState, DRAIN_BYTES};
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use turn::{Next, Turn};

/// A client connection.
pub struct Conn {
    /// Its bytes.
    io: Io,
    /// What every version knows of it.
    connection: Connection,
    buf: RefCell<BytesMut>,
    /// What the client has not taken yet of interim responses; it goes ahead of whatever is sent next.
    unsent: RefCell<Vec<u8>>,
    body: RefCell<BodyState>,
    /// Milliseconds it is kept idle after the last request: what that request's route says.
    kept_ms: Cell<u64>,
}

/// Why serving has stopped for now.
pub(super) enum Served {
    /// The connection is idle.
    Idle,
    /// It is done.
    Done,
    /// Its client speaks HTTP/2: that is what was read begins with.
    Http2,
}

/// Serves a connection until it closes, or until it turns out that its client speaks HTTP/2: then it is returned, with what was
/// read of it.
pub async fn serve(io: Io, connection: Connection) -> Option<(Io, Connection, BytesMut)> {
    let conn = Rc::new(Conn {
        io,
        connection,
        buf: RefCell::new(BytesMut::new()),
        unsent: RefCell::default(),
        body: RefCell::new(BodyState::Done),
        kept_ms: Cell::new(0),
    });
    let spare = conn.io.thread().rooms.get::<busy::Spare>();
    conn.io.fresh(conn.connection.with_listener(|listener| listener.head.header_timeout.0));
    loop {
        // A socket that has failed is readable, and reading tells.
        std::future::poll_fn(|cx| conn.io.stream.poll_readable(cx)).await;
        let bufs = &conn.io.thread().bufs;
        conn.buf.replace(bufs.take_read());
        let before = conn.connection.requests();
        match spare.serve(&conn).await {
            Served::Idle => bufs.give_read(conn.buf.take()),
            Served::Done => {
                bufs.give_read(conn.buf.take());
                return None;
            }
            Served::Http2 => {
                let conn = Rc::into_inner(conn)?;
                return Some((conn.io, conn.connection, conn.buf.into_inner()));
            }
        }
        // A wake-up for nothing, which every new socket has, leaves the deadline as it is.
        if conn.connection.requests() != before {
            conn.io.idle(conn.kept_ms.get());
        }
    }
}

/// Serves requests until the connection is idle or done.
pub(super) async fn busy(conn: &Rc<Conn>) -> Served {
    let thread = conn.io.thread().clone();
    // Whatever woke us may be nothing: then the connection goes on idling without buffers.
    match std::future::poll_fn(|cx| Poll::Ready(conn.poll_fill(cx, READ_SIZE))).await {
        Poll::Pending => return Served::Idle,
        Poll::Ready(0) => return Served::Done,
        Poll::Ready(_) => {}
    }
    if conn.connection.requests() == 0 && conn.begins_http2() && conn.speaks_http2().await {
        return Served::Http2;
    }
    loop {
        thread.clock.tick();
        let (read, head_bytes) = match conn.read_head().await {
            Ok(Some(read)) => read,
            Ok(None) => return Served::Done,
            Err(error) => {
                let lingers = error.kind != Kind::ClientTimeout;
                let refusal = line::refusal(error, &conn.buf.borrow());
                refuse(&mut Turn::unread(conn), &refusal).await;
                // The client still sends, so closing at once could take the response from it.
                if lingers {
                    let plan = conn.connection.plan();
                    let settings = conn.connection.default_settings(&plan);
                    linger(&conn.io, plan.scope.settings[settings as usize].get()).await;
                }
                return Served::Done;
            }
        };
        let mut turn = Turn::new(conn, read.framing, read.expect_continue, read.keep_alive);
        match serve_request(&mut turn, head(read, head_bytes)).await {
            Next::Keep => {}
            Next::Close => return Served::Done,
            Next::Linger(scope, settings) => {
                drop(turn);
                linger(&conn.io, scope.settings[settings as usize].get()).await;
                return Served::Done;
            }
        }
        drop(turn);
        if conn.buf.borrow().is_empty() {
            conn.connection.pipelined.set(false);
            return Served::Idle;
        }
        conn.connection.pipelined.set(true);
    }
}

/// Why a head is refused, with the status that the listener has for large fields.
fn refused(mut error: H1Error, head: &HeadLimits) -> Error {
    if error.status == 431 {
        error.status = head.large_fields_status;
    }
    error.into()
}

/// The head of a request, as every version has it.
pub(crate) fn head(read: RequestHead, bytes: u64) -> Head {
    // What CONNECT would upgrade is the tunnel that it does not get.
    let upgrade = (read.upgrade && read.method != Method::Connect)
        .then(|| read.headers.get(HeaderId::Upgrade).map_or(Bytes::new(), Bytes::copy_from_slice));
    Head {
        method: read.method,
        target: read.target,
        authority: None,
        version: read.version,
        headers: read.headers,
        upgrade,
        expect_continue: read.expect_continue,
        bytes,
    }
}

impl Conn {
    /// Reads what is there; 0 is the end (or a reset, or a deadline).
    fn poll_fill(&self, cx: &mut Context<'_>, size: usize) -> Poll<usize> {
        let mut buf = self.buf.borrow_mut();
        if buf.capacity() - buf.len() < size / 2 {
            buf.reserve(size);
        }
        self.io.stream.poll_read(cx, &mut buf).map(|read| read.unwrap_or(0))
    }

    /// What was read is the start of HTTP/2's preface, or begins with it.
    fn begins_http2(&self) -> bool {
        let buf = self.buf.borrow();
        let length = buf.len().min(PREFACE.len());
        buf[..length] == PREFACE[..length]
    }

    /// The whole preface is there, and whoever listens takes it.
    async fn speaks_http2(&self) -> bool {
        if !self.connection.takes_http2() {
            return false;
        }
        while self.buf.borrow().len() < PREFACE.len() {
            if std::future::poll_fn(|cx| self.poll_fill(cx, READ_SIZE)).await == 0 || !self.begins_http2() {
                return false;
            }
        }
        true
    }

    /// Reads until a head is complete. `None`: the client closed, or let its time pass, between requests.
    async fn read_head(&self) -> Result<Option<(RequestHead, u64)>> {
        let plan = self.connection.plan();
        let listener = self.connection.listener(&plan);
        let (mut scanned, mut waiting) = (0, None);
        loop {
            let before = self.buf.borrow().len();
            let parsed = h1::parse_request(&mut self.buf.borrow_mut(), &listener.limits, &mut scanned)
                .map_err(|error| refused(error, &listener.head))?;
            if let Some(head) = parsed {
                let head_bytes = before - self.buf.borrow().len();
                return Ok(Some((head, head_bytes as u64)));
            }
            if waiting.is_none() {
                // One deadline for the whole head, not one per byte.
                self.io.deadline(listener.head.header_timeout.0);
                waiting = Some(self.io.thread().metrics.reading.hold());
            }
            if std::future::poll_fn(|cx| self.poll_fill(cx, READ_SIZE)).await == 0 {
                if self.buf.borrow().iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
                    return Ok(None);
                }
                let (kind, cause) = if self.io.expired() {
                    let limit = listener.head.header_timeout.0;
                    (Kind::ClientTimeout, format!("no complete request head within {limit} ms (header_timeout)"))
                } else {
                    (Kind::BadRequest(400), "the connection ended inside a request head".to_owned())
                };
                return Err(Error::new(kind, cause).closing());
            }
        }
    }

    /// Reads what the client sends ahead of its answer. Pending for as long as its body is unread, and when so much has
    /// come that it is not read any more.
    pub fn poll_ahead(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if !self.body_done() || self.buf.borrow().len() > DRAIN_BYTES as usize {
            return Poll::Pending;
        }
        ready!(self.io.stream.poll_readable(cx));
        let mut buf = self.buf.borrow_mut();
        buf.reserve(READ_SIZE / 2);
        self.io.stream.poll_read(cx, &mut buf)
    }

    /// What was read behind the last head; for a tunnel.
    pub fn take_early(&self) -> BytesMut {
        self.buf.borrow_mut().split()
    }

    /// Nothing of the request's body is left in the socket.
    fn body_done(&self) -> bool {
        matches!(*self.body.borrow(), BodyState::Done)
    }

    /// The client has sent nothing that was not read.
    fn nothing_left(&self) -> bool {
        self.body_done() && self.buf.borrow().is_empty()
    }
}
