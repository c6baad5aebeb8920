//! The bytes of a connection as `h2` reads and writes them. What it writes in a turn is gathered, so that it leaves in one call
//! (and in one record of TLS), and what it reads comes from a buffer of the thread, so that an idle connection has none here.
use crate::http::h2::frames::Frames;
use crate::http::h2::session::Session;
use crate::io::stream::Io;
use buchner_wire::h2::PREFACE;
use bytes::{Buf, BytesMut};
use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// So much is gathered before it is sent.
const GATHERED: usize = 32 << 10;
/// So much is read in one turn, so that others have theirs.
const TURN: usize = 256 << 10;

/// The bytes of a connection.
pub(super) struct Wire {
    pub(super) io: Io,
    /// Time between two writes.
    pub(super) send_timeout_ms: u64,
    /// Read, and not taken by `h2` yet.
    held: RefCell<BytesMut>,
    out: RefCell<Vec<u8>>,
    /// Bytes of `out` that were sent.
    sent: Cell<usize>,
    /// Bytes read in this turn.
    read: Cell<usize>,
    frames: RefCell<Frames>,
}

impl Wire {
    /// Those of a connection of which `early` was read.
    pub(super) fn new(io: Io, early: BytesMut, send_timeout_ms: u64) -> Self {
        let now = io.thread().clock.now();
        let mut frames = Frames::new(PREFACE.len(), now);
        frames.take(&early, now);
        Self {
            io,
            send_timeout_ms,
            held: RefCell::new(early),
            out: RefCell::default(),
            sent: Cell::new(0),
            read: Cell::new(0),
            frames: RefCell::new(frames),
        }
    }

    /// The task of the connection runs.
    pub(super) fn begin_turn(&self) {
        self.read.set(0);
    }

    /// Of what the client sent too much.
    pub(super) fn flood(&self) -> Option<&'static str> {
        self.frames.borrow().flood()
    }

    /// Bytes of the head of a stream that is taken now.
    pub(super) fn head_of(&self, id: u32) -> u64 {
        self.frames.borrow_mut().head_of(id)
    }

    /// Frames that brought something.
    pub(super) fn credit(&self, frames: u32) {
        self.frames.borrow_mut().credit(frames);
    }

    /// The client does not take what was sent.
    pub(super) fn is_stuck(&self) -> bool {
        self.sent.get() < self.out.borrow().len()
    }

    /// Sends what was gathered.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut out = self.out.borrow_mut();
        if out.capacity() == 0 {
            return Poll::Ready(Ok(()));
        }
        while self.sent.get() < out.len() {
            let sent = ready!(self.io.stream.poll_send(cx, &out[self.sent.get()..], false))?;
            self.sent.set(self.sent.get() + sent);
            if self.sent.get() < out.len() {
                self.io.write_deadline(self.send_timeout_ms);
            }
        }
        self.sent.set(0);
        self.io.thread().bufs.give_write(std::mem::take(&mut out));
        Poll::Ready(Ok(()))
    }

    fn poll_fill(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.flood().is_some() {
            return Poll::Pending;
        }
        if self.read.get() >= TURN {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let bufs = &self.io.thread().bufs;
        let mut buf = bufs.take_read();
        match self.io.stream.poll_read(cx, &mut buf) {
            Poll::Ready(Ok(read)) if read > 0 => {
                self.read.set(self.read.get() + read);
                self.frames.borrow_mut().take(&buf, self.io.thread().clock.now());
                self.held.replace(buf);
                Poll::Ready(Ok(()))
            }
            other => {
                bufs.give_read(buf);
                other.map_ok(drop)
            }
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let bufs = &self.io.thread().bufs;
        bufs.give_read(self.held.take());
        let out = self.out.take();
        if out.capacity() > 0 {
            bufs.give_write(out);
        }
    }
}

/// A connection's bytes as `h2` takes them.
pub(super) struct Pipe(pub(super) Rc<Session>);

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = &self.0.wire;
        if wire.held.borrow().is_empty() {
            ready!(wire.poll_fill(cx))?;
        }
        let mut held = wire.held.borrow_mut();
        let taken = held.len().min(buf.remaining());
        buf.put_slice(&held[..taken]);
        held.advance(taken);
        if held.is_empty() && held.capacity() > 0 {
            wire.io.thread().bufs.give_read(std::mem::take(&mut held));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let wire = &self.0.wire;
        if wire.out.borrow().len() >= GATHERED {
            ready!(wire.poll_send(cx))?;
        }
        let mut out = wire.out.borrow_mut();
        if out.capacity() == 0 {
            *out = wire.io.thread().bufs.take_write();
        }
        out.extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }

    /// The task of the connection sends at the end of its turn.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.wire.poll_send(cx))?;
        self.0.wire.io.stream.end();
        Poll::Ready(Ok(()))
    }
}
