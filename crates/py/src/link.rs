//! The way from a running request back to the gateway.
//!
//! A slot's thread has one [`Link`]. While a request runs, it holds the slot's sockets, and the Python objects of the request
//! (`start_response`, `write`, `wsgi.input`, the upgrade socket) reach them through it. Each request has a serial: an object that
//! an app keeps and uses later is refused rather than writing into another request's answer.
//!
//! Law: no Python code runs while the state is locked (a finaliser could come back here), and whoever waits for the
//! lock or for the kernel does so with the GIL released.
use crate::conn::{self, Conn, Filled, HOLD, SlotSet, wait_for};
use crate::environ::Parts;
use crate::fork::GatewaySocket;
use crate::guard::Guard;
use crate::joined::{Joined, header};
use buchner_wire::slot::{self, Header, Kind};
use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use rustix::event::PollFlags;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How far an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// `start_response` was not called.
    Silent,
    /// The head is in the buffer, nothing was sent.
    Head,
    /// The head was sent, the body goes on.
    Open,
    /// The connection left HTTP.
    Upgraded,
    /// Nothing more may be sent.
    Done,
}

/// Why nothing more can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// The body of the request, where it comes as frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// There is no streamed body, or it is complete.
    Ended,
    /// More is to come.
    Open,
    /// The client went away.
    Aborted,
}

/// State of the running request.
pub struct State {
    /// The request this state belongs to.
    pub serial: u64,
    /// The slot's sockets, unless the answer has left the slot.
    pub set: Option<Box<SlotSet>>,
    /// The answer's own socket once it has left the slot.
    pub own: Option<GatewaySocket>,
    /// Frames that wait to be sent.
    pub out: Vec<u8>,
    /// Bytes at the front of `out` that are answers of earlier requests.
    earlier: usize,
    /// The method is one that the gateway asks again when this process dies (RFC 9110 section 9.2.1): the answer may wait.
    safe: bool,
    /// How far the answer is.
    pub phase: Phase,
    /// HEAD, 204, 304: no body is sent.
    pub bodiless: bool,
    /// The request's method is HEAD.
    pub head_method: bool,
    /// Bytes that Content-Length still promises.
    pub remaining: Option<u64>,
    /// It keeps its slot although it may have no end: see [`crate::worker::Worker::may_keep_slot`].
    pub keeps_slot: bool,
    /// The head says text/event-stream.
    pub event_stream: bool,
    /// Body bytes behind the head in `out` that were not sent.
    pub held: usize,
    /// The streamed request body.
    pub incoming: Incoming,
    /// The gateway or the client is gone, or nobody waits any more.
    pub gone: bool,
    last_look: Option<Instant>,
    joined: Joined,
}

/// How often a streamed answer looks whether anybody still wants it.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl State {
    fn new() -> Self {
        Self {
            serial: 0,
            set: None,
            own: None,
            out: Vec::with_capacity(4096),
            earlier: 0,
            safe: false,
            phase: Phase::Done,
            bodiless: false,
            head_method: false,
            remaining: None,
            keeps_slot: false,
            event_stream: false,
            held: 0,
            incoming: Incoming::Ended,
            gone: false,
            last_look: None,
            joined: Joined::default(),
        }
    }

    /// The socket of the slot that the request came over.
    pub fn conn(&mut self) -> Option<&mut Conn> {
        let set = self.set.as_mut()?;
        let current = set.current;
        set.conns.get_mut(current)
    }

    /// Sends everything in `out` and then `tail`, without waiting where possible. `Ok(false)`: the kernel's buffer is full, go on
    /// with [`State::send_waiting`].
    fn send_now(
        &mut self,
        sent: &mut usize,
        tail: &[u8],
        mut descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<bool, Gone> {
        let (set, own, out, earlier) = (&self.set, &self.own, &mut self.out, self.earlier);
        let sock = match (own, set) {
            (Some(own), _) => own.as_fd(),
            (None, Some(set)) => match set.conns.get(set.current) {
                Some(conn) => conn.sock(),
                None => return Err(Gone),
            },
            (None, None) => return Err(Gone),
        };
        while *sent < out.len() + tail.len() {
            let first = descriptor.take().filter(|_| *sent == 0 && !slot::is_unsent(&out[earlier..]));
            let rest = &tail[sent.saturating_sub(out.len())..];
            let done = match out.get(*sent..) {
                Some(frames) if rest.is_empty() => conn::send(sock, frames, first),
                Some(frames) if !frames.is_empty() => conn::send_both(sock, [frames, rest], first),
                _ => conn::send(sock, rest, first),
            };
            match done {
                Ok(count) => *sent += count,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(false),
                // Too many descriptors are in flight (ETOOMANYREFS), or there is no memory for one: this response alone fails.
                Err(_) if first.is_some() => slot::set_unsent(&mut out[earlier..]),
                Err(_) => return Err(Gone),
            }
        }
        Ok(true)
    }

    /// As [`State::send_now`], waiting for room; watches for word that nobody needs the answer.
    fn send_waiting(
        &mut self,
        sent: &mut usize,
        mut tail: &[u8],
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<(), Gone> {
        // The frame that ends a stopped answer goes out whatever was said before: the gateway waits for it.
        let ending = self.gone;
        let mut unwanted = false;
        while !self.send_now(sent, tail, descriptor)? {
            if let Some(own) = &self.own {
                wait_for(own.as_fd(), PollFlags::OUT);
            } else if let Some(conn) = self.conn() {
                match conn.fill() {
                    // The end of the stream shows in the next send.
                    Filled::Some if !ending && conn.stop_received() => {
                        // A frame that is partly out is finished: what follows would be read as its rest.
                        if *sent <= self.earlier && !self.joined.cut {
                            self.out.truncate(self.earlier);
                            tail = &[];
                        }
                        unwanted = true;
                    }
                    Filled::Some => {}
                    Filled::End => return Err(Gone),
                    Filled::Nothing => wait_for(conn.sock(), PollFlags::OUT | PollFlags::IN),
                }
            }
        }
        if unwanted { Err(Gone) } else { Ok(()) }
    }

    /// Sends joined pieces that have waited, as far as the kernel takes them. Returns whether some are waiting.
    fn send_overdue(&mut self) -> bool {
        let Some(since) = self.joined.since() else { return false };
        if since.elapsed() < HOLD {
            return true;
        }
        self.joined.close_frame(&mut self.out);
        let mut sent = 0;
        match self.send_now(&mut sent, &[], None) {
            Ok(true) => self.sent_all(),
            Ok(false) => {
                self.out.drain(..sent);
                self.joined.cut |= sent > 0;
            }
            Err(Gone) => {
                self.sent_all();
                self.gone = true;
            }
        }
        self.joined.since().is_some()
    }

    /// Nothing waits in `out`.
    fn sent_all(&mut self) {
        self.out.clear();
        self.joined.sent();
    }

    /// Keeps a complete answer back to leave with the next one, whose request is here already, where `guard` watches over
    /// it. False: it must be sent.
    pub fn hold(&mut self, guard: &Arc<Guard>) -> bool {
        let conn = self.set.as_mut().filter(|_| self.safe).and_then(|set| set.conns.get_mut(set.current));
        match conn.filter(|conn| conn.may_hold(self.out.len()) && guard.arm()) {
            Some(conn) => conn.hold(&self.out),
            None => return false,
        }
        self.out.clear();
        true
    }

    /// Every now and then: does anybody still wait for this answer?
    fn look(&mut self, now: Instant) {
        if self.own.is_some() || self.last_look.is_some_and(|last| now - last < LOOK_EVERY) {
            return;
        }
        self.last_look = Some(now);
        if let Some(conn) = self.conn() {
            if conn.fill() == Filled::End || conn.stop_received() {
                self.gone = true;
            }
        }
    }

    /// The next frame of the streamed body, waiting for it; appended to `into`.
    pub fn read_body(&mut self, into: &mut Vec<u8>) {
        while self.incoming == Incoming::Open {
            let Some(conn) = self.conn() else {
                self.incoming = Incoming::Aborted;
                return;
            };
            let Some(header) = conn.peek() else {
                if conn.fill_waiting() == Filled::End {
                    self.incoming = Incoming::Aborted;
                }
                continue;
            };
            match header.kind {
                Kind::RequestBody => {
                    into.extend_from_slice(conn.payload(header));
                    conn.consume(header);
                    if header.length > 0 {
                        return;
                    }
                }
                Kind::RequestEnd | Kind::RequestAbort => {
                    conn.consume(header);
                    let aborted = header.kind == Kind::RequestAbort;
                    self.incoming = if aborted { Incoming::Aborted } else { Incoming::Ended };
                }
                Kind::Stop => {
                    conn.consume(header);
                    self.gone = true;
                }
                kind => {
                    conn.fail(slot::Error::Kind(kind as u8));
                    self.incoming = Incoming::Aborted;
                }
            }
        }
    }
}

/// A slot thread's way back to the gateway.
pub struct Link {
    state: Mutex<State>,
}

impl Link {
    /// Without a request.
    pub fn new() -> Self {
        Self { state: Mutex::new(State::new()) }
    }

    /// Locks the state; waits with the GIL released.
    pub fn lock(&self, py: Python<'_>) -> MutexGuard<'_, State> {
        match self.state.try_lock() {
            Ok(state) => state,
            Err(_) => self.state.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Locks the state for an object of request `serial`.
    pub fn of(&self, py: Python<'_>, serial: u64) -> PyResult<MutexGuard<'_, State>> {
        let state = self.lock(py);
        if state.serial == serial { Ok(state) } else { Err(PyRuntimeError::new_err("this request is over")) }
    }

    /// Sends answers that wait for a request which takes its time. Returns whether some are waiting; without the GIL.
    pub fn send_overdue(&self) -> bool {
        let Ok(mut state) = self.state.try_lock() else { return false };
        let joined = state.send_overdue();
        let Some(set) = &mut state.set else { return joined };
        set.conns.iter_mut().filter(|conn| conn.held_for(HOLD)).for_each(Conn::send_held);
        joined | set.holds()
    }

    /// Begins a request; returns its serial.
    pub fn begin(&self, py: Python<'_>, set: Box<SlotSet>, streamed: bool, parts: &Parts<'_>) -> u64 {
        let mut state = self.lock(py);
        state.serial += 1;
        state.set = Some(set);
        state.own = None;
        state.out.clear();
        state.phase = Phase::Silent;
        state.bodiless = parts.head;
        state.head_method = parts.head;
        state.safe = parts.safe;
        state.remaining = None;
        state.keeps_slot = false;
        state.event_stream = false;
        state.held = 0;
        state.incoming = if streamed { Incoming::Open } else { Incoming::Ended };
        state.gone = false;
        state.last_look = None;
        state.joined = Joined::default();
        state.serial
    }

    /// Ends the request; returns the slot's sockets unless the answer had left the slot.
    pub fn finish(&self, py: Python<'_>) -> Option<Box<SlotSet>> {
        let mut state = self.lock(py);
        state.serial += 1;
        state.phase = Phase::Done;
        state.own = None;
        if state.out.capacity() > 4 * slot::MAX_CHUNK {
            state.out = Vec::new();
        }
        if state.incoming == Incoming::Open {
            if let Some(conn) = state.conn() {
                conn.discard_body = true;
            }
        }
        state.set.take()
    }

    /// Sends what is in the buffer, and empties it. The GIL is released only where the kernel's buffer is full.
    pub fn flush(py: Python<'_>, state: &mut State, descriptor: Option<BorrowedFd<'_>>) -> Result<(), Gone> {
        Self::flush_with(py, state, &[], descriptor)
    }

    /// As [`Link::flush`], and sends `tail` behind it from where it is.
    fn flush_with(
        py: Python<'_>,
        state: &mut State,
        tail: &[u8],
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<(), Gone> {
        let (mut sent, out) = (0, &mut state.out);
        let conn = state.set.as_mut().filter(|_| state.own.is_none()).and_then(|set| set.conns.get_mut(set.current));
        state.earlier = conn.map_or(0, |conn| conn.join_held(out));
        let result = match state.send_now(&mut sent, tail, descriptor) {
            Ok(true) => Ok(()),
            Ok(false) => py.detach(|| state.send_waiting(&mut sent, tail, descriptor)),
            Err(gone) => Err(gone),
        };
        state.sent_all();
        if result.is_err() {
            state.gone = true;
        }
        result
    }

    /// Sends a piece of the body as BODY frames, or lets it wait for the next ones where `guard` watches over it.
    pub fn send_body(
        py: Python<'_>,
        state: &mut State,
        mut bytes: &[u8],
        guard: Option<&Arc<Guard>>,
    ) -> Result<(), Gone> {
        let now = Instant::now();
        state.look(now);
        let plain = state.own.is_none() && !state.event_stream;
        let joins = state.joined.count(bytes.len(), now) && plain && guard.is_some_and(Guard::arm);
        while joins && !state.gone {
            if state.joined.join(&mut state.out, bytes, now) {
                return Ok(());
            }
            state.joined.close_frame(&mut state.out);
            Self::flush(py, state, None)?;
        }
        state.joined.close_frame(&mut state.out);
        while !bytes.is_empty() {
            if state.gone {
                return Err(Gone);
            }
            let (piece, rest) = bytes.split_at(bytes.len().min(slot::MAX_CHUNK));
            state.out.extend_from_slice(&header(piece.len()));
            Self::flush_with(py, state, piece, None)?;
            bytes = rest;
        }
        Ok(())
    }

    /// Sends the head with the first piece of the body, or all of it.
    pub fn send_head(
        py: Python<'_>,
        state: &mut State,
        flags: u16,
        bytes: &[u8],
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<(), Gone> {
        let (piece, rest) = bytes.split_at(bytes.len().min(slot::MAX_CHUNK));
        let flags = if rest.is_empty() { flags } else { flags & !slot::COMPLETE };
        slot::finish_response(&mut state.out, flags, piece.len());
        state.out.extend_from_slice(piece);
        state.held = 0;
        state.phase = if flags & slot::COMPLETE != 0 { Phase::Done } else { Phase::Open };
        Self::flush(py, state, descriptor)?;
        Self::send_body(py, state, rest, None)
    }

    /// Sends END or ABORT.
    pub fn send_end(py: Python<'_>, state: &mut State, kind: Kind, words: &str) {
        state.joined.close_frame(&mut state.out);
        slot::write_frame(&mut state.out, kind, 0, words.as_bytes());
        state.phase = Phase::Done;
        let _ = Self::flush(py, state, None);
    }
}

/// The error an app sees when it writes to a client that is gone.
pub fn gone_error(_: Gone) -> PyErr {
    PyOSError::new_err((rustix::io::Errno::PIPE.raw_os_error(), "the client closed the connection"))
}

/// Answers a request that had been taken back. At once: the next request may be here already and run for long, and until
/// this is told the gateway takes it for the one that waits behind, which has no time to keep.
pub fn skip(conn: &mut Conn) {
    conn.hold(&Header { length: 0, kind: Kind::Skipped, flags: 0 }.to_bytes());
    conn.send_held();
}
