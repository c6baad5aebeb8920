//! HTTP/1 towards the client: one task per connection, whose idle state is a socket and a few numbers. The state of
//! a request lives in a box ([`crate::http::h1::busy`]) that the connection has only while it is served.
pub mod busy;
mod conn_body;
pub mod departure;
mod interim;
pub mod linger;
pub mod refuse;
pub mod tunnel;
pub mod write;

use crate::config::HeadLimits;
use crate::error::{Error, Kind, Result};
use crate::exchange::{self, Client, Exchange, Unsent};
use crate::http::h1::linger::linger;
use crate::http::h1::refuse::{Refusal, refuse};
use crate::http::h1::write::{Delivery, Written};
use crate::http::port::{Arrival, Port};
use crate::http::request::{Connection, exchange};
use crate::http::service::Service;
use crate::io::sock::READ_SIZE;
use crate::io::stream::Io;
use crate::observe::access_log;
use crate::observe::level::Level;
use crate::pipeline;
use crate::plan::{Listener, Plan, PlanRef};
use crate::scope::ScopeRef;
use crate::settings::connection;
use crate::settings::connection::Lingering;
use crate::vars::Sent;
use buchner_wire::h1::{self, H1Error, RequestHead};
use buchner_wire::headers::Headers;
use bytes::BytesMut;
use conn_body::{BodyState, DRAIN_BYTES, can_drain, drain, request_body};
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

/// A client connection.
pub struct Conn {
    /// Its bytes.
    pub io: Io,
    /// What it is served with.
    service: Rc<Service>,
    port: Rc<Port>,
    arrival: Arrival,
    buf: RefCell<BytesMut>,
    /// What the client has not taken yet of interim responses; it goes ahead of whatever is sent next.
    unsent: RefCell<Vec<u8>>,
    body: RefCell<BodyState>,
    requests: Cell<u32>,
    number: u64,
    since: u64,
    /// The next request was there before the last answer.
    pipelined: Cell<bool>,
    /// Milliseconds it is kept idle behind the last request: what that request's route says.
    kept_ms: Cell<u64>,
}

/// Connections accepted so far.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// Serves a connection until it closes.
pub async fn serve(io: Io, service: Rc<Service>, port: Rc<Port>, arrival: Arrival) {
    let since = io.thread().clock.now();
    let conn = Rc::new(Conn {
        io,
        service,
        port,
        arrival,
        buf: RefCell::new(BytesMut::new()),
        unsent: RefCell::default(),
        body: RefCell::new(BodyState::Done),
        requests: Cell::new(0),
        number: CONNECTIONS.fetch_add(1, Ordering::Relaxed) + 1,
        since,
        pipelined: Cell::new(false),
        kept_ms: Cell::new(0),
    });
    conn.io.fresh(conn.with_listener(|listener| listener.head.header_timeout.0));
    while conn.io.stream.readable().await.is_ok() {
        let bufs = &conn.io.thread().bufs;
        conn.buf.replace(bufs.take_read());
        let before = conn.requests.get();
        let more = conn.service.spare.serve(&conn).await;
        bufs.give_read(conn.buf.take());
        if !more {
            return;
        }
        // A wake-up for nothing, which every new socket has, leaves the deadline as it is.
        if conn.requests.get() != before {
            conn.io.idle(conn.kept_ms.get());
        }
    }
}

/// Serves requests until the connection is idle (true) or done (false).
pub(super) async fn busy(conn: &Rc<Conn>) -> bool {
    let thread = conn.io.thread().clone();
    // Whatever woke us may be nothing: then the connection goes on idling without buffers.
    match std::future::poll_fn(|cx| Poll::Ready(conn.poll_fill(cx, READ_SIZE))).await {
        Poll::Pending => return true,
        Poll::Ready(0) => return false,
        Poll::Ready(_) => {}
    }
    loop {
        thread.clock.tick();
        let (head, head_bytes) = match conn.read_head().await {
            Ok(Some(read)) => read,
            Ok(None) => return false,
            Err(error) => {
                let refusal = Refusal::unread(error, &conn.buf.borrow());
                refuse(conn, &refusal).await;
                if refusal.lingers() {
                    let plan = conn.plan();
                    linger(conn, plan.scope.settings[conn.default_settings(&plan) as usize].get()).await;
                }
                return false;
            }
        };
        match request(conn, head, head_bytes).await {
            Next::Keep => {}
            Next::Close => return false,
            Next::Linger(scope, settings) => {
                linger(conn, scope.settings[settings as usize].get()).await;
                return false;
            }
        }
        if conn.buf.borrow().is_empty() {
            conn.pipelined.set(false);
            return true;
        }
        conn.pipelined.set(true);
    }
}

/// Why a head is refused, with the status that the listener has for large fields.
fn refused(mut error: H1Error, head: &HeadLimits) -> Error {
    if error.status == 431 {
        error.status = head.large_fields_status;
    }
    error.into()
}

/// What becomes of the connection.
enum Next {
    Keep,
    Close,
    /// As these settings say.
    Linger(ScopeRef, u32),
}

impl Conn {
    /// What listens where its client connected to.
    pub fn listener<'p>(&self, plan: &'p Plan) -> &'p Listener {
        self.port.listener(plan, self.arrival.local)
    }

    fn with_listener<T>(&self, f: impl FnOnce(&Listener) -> T) -> T {
        let plan = self.plan();
        f(self.listener(&plan))
    }

    /// The plan its requests are served by: the one in force, unless its address is not listened on any more.
    pub fn plan(&self) -> PlanRef {
        self.port.plan(|| self.service.plan())
    }

    /// What it says about its client.
    pub fn client(&self) -> Client {
        Client {
            peer: self.arrival.peer,
            addr: self.arrival.peer,
            local: self.arrival.local,
            proxied: self.arrival.proxied.clone(),
            secure: false,
            trusted: false,
            found: false,
            requests: self.requests.get(),
            connection: self.number,
            since: self.since,
            pipelined: self.pipelined.get(),
        }
    }

    /// The settings of what has no route: those of its address's default server.
    fn default_settings(&self, plan: &Plan) -> u32 {
        plan.scope.servers[self.listener(plan).default_server as usize].settings
    }

    /// The server of its address for names that nobody has.
    pub fn default_server(&self) -> u32 {
        self.with_listener(|listener| listener.default_server)
    }

    /// Reads what is there; 0 is the end (or a reset, or a deadline).
    fn poll_fill(&self, cx: &mut Context<'_>, size: usize) -> Poll<usize> {
        let mut buf = self.buf.borrow_mut();
        if buf.capacity() - buf.len() < size / 2 {
            buf.reserve(size);
        }
        self.io.stream.poll_read(cx, &mut buf).map(|read| read.unwrap_or(0))
    }

    /// Reads until a head is complete. `None`: the client closed, or let its time pass, between requests.
    async fn read_head(&self) -> Result<Option<(RequestHead, u64)>> {
        let plan = self.plan();
        let listener = self.listener(&plan);
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

    /// Reads and drops what is there; 0 is the end.
    pub(super) async fn skip(&self, size: usize) -> usize {
        self.buf.borrow_mut().clear();
        std::future::poll_fn(|cx| self.poll_fill(cx, size)).await
    }

    /// Nothing of the request's body is left in the socket.
    fn body_done(&self) -> bool {
        matches!(*self.body.borrow(), BodyState::Done)
    }
}

/// The exchange of a head that came on a connection.
fn begin(conn: &Rc<Conn>, head: RequestHead, head_bytes: u64) -> std::result::Result<Exchange, Refusal> {
    let plan = conn.plan();
    let on =
        Connection { thread: conn.io.thread(), plan: &plan, listener: conn.listener(&plan), client: conn.client() };
    let (framing, continues) = (head.framing, head.expect_continue);
    exchange(on, head, head_bytes, |timeout_ms| request_body(conn, framing, continues, timeout_ms))
}

/// Serves one request whose head has been read.
async fn request(conn: &Rc<Conn>, head: RequestHead, head_bytes: u64) -> Next {
    conn.requests.set(conn.requests.get() + 1);
    let thread = conn.io.thread().clone();
    thread.metrics.begun.add(1);
    let _writing = thread.metrics.writing.hold();
    let keep_alive = head.keep_alive;
    let mut ex = match begin(conn, head, head_bytes) {
        Ok(ex) => ex,
        Err(refusal) => {
            refuse(conn, &refusal).await;
            let plan = conn.plan();
            let settings = conn.default_settings(&plan);
            return Next::Linger(plan.scope, settings);
        }
    };
    conn.io.no_deadline();
    if ex.scope.wants.socket {
        ex.socket = Rc::downgrade(conn.io.sock());
    }
    let interim = ex.request.version.has_interim();
    let patience = ex.scope.wants.keep_running.then(Rc::<Cell<bool>>::default);
    ex.patience.clone_from(&patience);
    ex.interim = (interim && ex.scope.wants.early_hints).then(|| conn.clone() as Rc<dyn exchange::Interim>);
    let response = tokio::select! {
        biased;
        response = pipeline::run(&mut ex) => Some(response),
        () = departure::left(conn, interim, patience) => None,
    };
    ex.thread.clock.tick();
    let Some(response) = response else {
        log(&ex, Error::client_gone().kind.status(), &Headers::default(), &Written::default(), false);
        return Next::Close;
    };
    if let Some(why) = response.unsent {
        log(&ex, response.status, &response.headers, &Written::default(), false);
        if why == Unsent::Closed && ex.settings().get::<connection::Settings>().reset_timedout_connection {
            conn.io.sock().reset_when_closed();
        }
        return Next::Close;
    }
    conn.kept_ms.set(ex.settings().get::<connection::Settings>().keepalive_timeout.0);
    let delivery = Delivery::new(&ex, &response, keep_alive && may_stay(conn, &ex));
    let status = response.status;
    let (headers, written, sent) = write::response(conn, &ex, response, delivery).await;
    log(&ex, status, &headers, &written, sent.is_ok());
    match sent {
        Err(error) => broken_off(conn, &ex, status, delivery, &error),
        Ok(()) if written.upgraded => Next::Close,
        Ok(()) if delivery.keeps() && drain(conn).await => Next::Keep,
        Ok(()) => end(conn, &ex),
    }
}

/// A response that could not be sent whole: its client must see that it is not.
fn broken_off(conn: &Conn, ex: &Exchange, status: u16, delivery: Delivery, error: &Error) -> Next {
    let expired = conn.io.expired();
    if error.kind != Kind::ClientGone {
        ex.log_error(&format!("{status}: the response broke off: {error}"));
    } else if expired {
        ex.log(Level::Info, &format!("{status}: the client did not take the response in time (send_timeout)"));
    }
    if delivery.ends_with_connection()
        || (expired && ex.settings().get::<connection::Settings>().reset_timedout_connection)
    {
        conn.io.sock().reset_when_closed();
        return Next::Close;
    }
    if expired || error.kind == Kind::ClientGone { Next::Close } else { end(conn, ex) }
}

/// The connection's end after a response.
fn end(conn: &Conn, ex: &Exchange) -> Next {
    if nothing_left(conn) && ex.settings().get::<connection::Settings>().lingering_close != Lingering::Always {
        return Next::Close;
    }
    Next::Linger(ex.scope.clone(), ex.settings_index())
}

/// The client may send another request on this connection.
fn may_stay(conn: &Conn, ex: &Exchange) -> bool {
    let settings = ex.settings().get::<connection::Settings>();
    let (most, longest) = (settings.keepalive_requests, settings.keepalive_time.0);
    let request = &ex.request;
    settings.keepalive_timeout.0 > 0
        && (most == 0 || conn.requests.get() < most)
        && (longest == 0 || ex.thread.clock.now().saturating_sub(conn.since) <= longest)
        && !ex.thread.draining.get()
        && conn.port.open()
        && !settings.keepalive_disable.iter().any(|old| old.sent(&request.method, &request.headers))
        && can_drain(conn)
}

/// The client has sent nothing that was not read.
fn nothing_left(conn: &Conn) -> bool {
    conn.body_done() && conn.buf.borrow().is_empty()
}

/// The access log's line, and the error log's where something failed.
fn log(ex: &Exchange, status: u16, headers: &Headers, written: &Written, complete: bool) {
    let sent = Sent {
        status,
        body_bytes: written.body,
        bytes: written.total,
        complete,
        headers: Some(headers),
        trailers: Some(&written.trailers),
    };
    let thread = &ex.thread;
    thread.metrics.request(status);
    access_log::write(ex, sent);
    if let Some(cause) = ex.failure.as_ref().filter(|_| status >= 500 || status == 408 || status == 413) {
        ex.log_error(&format!("{status}: {cause}"));
    }
}
