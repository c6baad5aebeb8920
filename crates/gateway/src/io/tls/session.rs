//! TLS over a socket. A session that idles holds no buffer: records are read into the thread's, and what can be sent at once
//! never leaves them.
use crate::io::local::Local;
use crate::io::sock::Sock;
use crate::io::tls::engine::{Engine, Phase, RECORD};
use bytes::{Buf, BytesMut};
use rustix::net::SendFlags;
use std::cell::{Cell, RefCell};
use std::io;
use std::net::Shutdown;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

/// Plain text that is encrypted and sent at a time.
const BATCH: usize = 4 * RECORD;
/// Bytes that are read at a time: two records.
const READ: usize = 2 * RECORD + 512;
/// Less than this of a record that is incomplete does not keep a whole buffer.
const SMALL: usize = 1 << 10;
/// Buffers for reading that are kept.
const KEPT: usize = 16;

/// What the sessions of one I/O thread lend one another.
#[derive(Default)]
struct Scratch {
    read: Vec<BytesMut>,
    cipher: Vec<u8>,
    plain: Vec<u8>,
}

impl Scratch {
    fn take(&mut self) -> BytesMut {
        let mut buf = self.read.pop().unwrap_or_default();
        if buf.try_reclaim(READ) { buf } else { BytesMut::with_capacity(READ) }
    }

    fn give(&mut self, mut buf: BytesMut) {
        if self.read.len() < KEPT && buf.capacity() > 0 {
            buf.clear();
            self.read.push(buf);
        }
    }
}

/// A connection that is encrypted.
pub struct Session {
    sock: Rc<Sock>,
    scratch: Rc<RefCell<Scratch>>,
    engine: RefCell<Engine>,
    /// Records that were read and are not complete.
    incoming: RefCell<BytesMut>,
    /// Plain text that came with the handshake.
    early: RefCell<BytesMut>,
    /// Records that the socket has not taken.
    outgoing: RefCell<BytesMut>,
    /// Bytes of what is sent next that are in `outgoing`, or were.
    accepted: Cell<usize>,
    /// Closing says nothing to the other end, which then sees that something is missing.
    silent: Cell<bool>,
}

impl Session {
    /// Encrypts what goes through this socket.
    pub fn new(thread: &Local, sock: Rc<Sock>, engine: Engine) -> Self {
        Self {
            sock,
            scratch: thread.rooms.get(),
            engine: RefCell::new(engine),
            incoming: RefCell::default(),
            early: RefCell::default(),
            outgoing: RefCell::default(),
            accepted: Cell::new(0),
            silent: Cell::new(false),
        }
    }

    /// Its socket.
    pub fn sock(&self) -> &Rc<Sock> {
        &self.sock
    }

    /// Asks what was agreed on.
    pub fn with_engine<T>(&self, f: impl FnOnce(&Engine) -> T) -> T {
        f(&self.engine.borrow())
    }

    /// Does the handshake; `read` was read ahead of it. What the other end sends behind it is kept for the first read.
    ///
    /// # Errors
    /// The other end left, or the two cannot agree; it was told why.
    pub async fn handshake(&self, read: BytesMut) -> io::Result<()> {
        self.incoming.replace(read);
        let mut plain = BytesMut::new();
        loop {
            let phase = self.advance(&mut plain);
            std::future::poll_fn(|cx| self.poll_flush(cx)).await?;
            match phase? {
                Phase::Handshake => {}
                Phase::Open => break,
                Phase::Closed => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
            if std::future::poll_fn(|cx| self.poll_fill(cx)).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.early.replace(plain);
        Ok(())
    }

    /// Reads what is there and appends it to `buf`. `Ok(0)` is the end.
    pub fn poll_read(&self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        let before = buf.len();
        loop {
            if !self.early.borrow().is_empty() {
                buf.extend_from_slice(&self.early.take());
            }
            if buf.len() > before {
                return Poll::Ready(Ok(buf.len() - before));
            }
            if self.engine.borrow().has_ended() {
                return Poll::Ready(Ok(0));
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Ok(0));
            }
            let phase = self.advance(buf);
            // What the protocol has to say needs no room that reading would wait for.
            if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
                return Poll::Ready(Err(error));
            }
            phase?;
        }
    }

    /// There is plain text that the socket knows nothing of.
    pub fn has_early(&self) -> bool {
        !self.early.borrow().is_empty()
    }

    /// Nothing has come that is not the protocol's own, and the other end has not ended.
    pub fn is_quiet(&self) -> bool {
        let mut seen = [0; SMALL];
        while let Ok(length @ 1..) = self.sock.peek(&mut seen) {
            if self.sock.consume(&mut seen[..length]).is_err() {
                return false;
            }
            self.incoming.borrow_mut().extend_from_slice(&seen[..length]);
            let mut plain = BytesMut::new();
            if !matches!(self.advance(&mut plain), Ok(Phase::Open)) || !plain.is_empty() {
                return false;
            }
            self.sock.forget_readiness();
        }
        !self.has_early() && !self.engine.borrow().has_ended() && !self.sock.peek_dead()
    }

    /// Sends some of `data`. Where it is pending, what is sent next must begin with the same bytes.
    pub fn poll_send(&self, cx: &mut Context<'_>, data: &[u8], more: bool) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(cx))?;
        match self.accepted.take() {
            0 => self.poll_batch(cx, &data[..data.len().min(BATCH)], more),
            accepted => Poll::Ready(Ok(accepted)),
        }
    }

    /// Sends some of several buffers, in as few records as they need.
    pub fn poll_send_parts(&self, cx: &mut Context<'_>, parts: &[&[u8]]) -> Poll<io::Result<usize>> {
        if let Some(head) = parts.first().filter(|head| head.len() >= BATCH) {
            return self.poll_send(cx, head, true);
        }
        ready!(self.poll_flush(cx))?;
        match self.accepted.take() {
            0 => {
                let mut plain = std::mem::take(&mut self.scratch.borrow_mut().plain);
                plain.clear();
                for part in parts {
                    plain.extend_from_slice(&part[..part.len().min(BATCH - plain.len())]);
                }
                let sent = self.poll_batch(cx, &plain, false);
                self.scratch.borrow_mut().plain = plain;
                sent
            }
            accepted => Poll::Ready(Ok(accepted)),
        }
    }

    /// Sends part of a file. `offset` moves on by what was sent.
    pub fn poll_send_file(
        &self,
        cx: &mut Context<'_>,
        file: BorrowedFd<'_>,
        offset: &mut u64,
        count: usize,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(cx))?;
        let sent = match self.accepted.take() {
            0 => {
                let mut plain = std::mem::take(&mut self.scratch.borrow_mut().plain);
                plain.resize(count.min(BATCH), 0);
                let sent = match rustix::io::pread(file, &mut plain, *offset) {
                    Ok(read) => self.poll_batch(cx, &plain[..read], read < count),
                    Err(error) => Poll::Ready(Err(error.into())),
                };
                self.scratch.borrow_mut().plain = plain;
                ready!(sent)?
            }
            accepted => accepted,
        };
        *offset += sent as u64;
        Poll::Ready(Ok(sent))
    }

    /// Sends what fits now, which may be nothing; returns how many bytes did.
    pub fn try_send(&self, data: &[u8]) -> io::Result<usize> {
        match self.poll_send(&mut Context::from_waker(Waker::noop()), data, false) {
            Poll::Ready(sent) => sent,
            Poll::Pending => Ok(0),
        }
    }

    /// Nothing more is sent, and the other end is told so.
    pub fn end(&self) {
        self.say_goodbye();
        self.sock.shutdown(Shutdown::Write);
    }

    /// Closing the connection looks like the fault that it is: it is reset, and nothing says that this was all.
    pub fn reset_when_closed(&self) {
        self.silent.set(true);
        self.sock.reset_when_closed();
    }

    /// Encrypts and sends `data`, which is no longer than a batch.
    fn poll_batch(&self, cx: &mut Context<'_>, data: &[u8], more: bool) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let mut cipher = std::mem::take(&mut self.scratch.borrow_mut().cipher);
        let encrypted = self.engine.borrow_mut().encrypt(&mut self.incoming.borrow_mut(), data, &mut cipher);
        let sent = match encrypted {
            Ok(length) => self.poll_records(cx, &cipher[..length], more),
            Err(error) => Poll::Ready(Err(io::Error::other(error))),
        };
        self.scratch.borrow_mut().cipher = cipher;
        match sent {
            Poll::Ready(sent) => Poll::Ready(sent.map(|()| data.len())),
            Poll::Pending => {
                self.accepted.set(data.len());
                Poll::Pending
            }
        }
    }

    /// Sends records; those that the socket has no room for are kept.
    fn poll_records(&self, cx: &mut Context<'_>, records: &[u8], more: bool) -> Poll<io::Result<()>> {
        let flags = if more { SendFlags::MORE } else { SendFlags::empty() };
        let mut sent = 0;
        while sent < records.len() {
            match self.sock.poll_send(cx, &records[sent..], flags) {
                Poll::Ready(some) => sent += some?,
                Poll::Pending => {
                    self.outgoing.borrow_mut().extend_from_slice(&records[sent..]);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what was kept.
    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outgoing = self.outgoing.borrow_mut();
        while !outgoing.is_empty() {
            let sent = ready!(self.sock.poll_send(cx, &outgoing, SendFlags::empty()))?;
            outgoing.advance(sent);
            if outgoing.is_empty() {
                *outgoing = BytesMut::new();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads records from the socket; 0 is the end.
    fn poll_fill(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut incoming = self.incoming.borrow_mut();
        if incoming.is_empty() {
            *incoming = self.scratch.borrow_mut().take();
        } else {
            incoming.reserve(RECORD + SMALL);
        }
        let read = self.sock.poll_read(cx, &mut incoming);
        if incoming.is_empty() {
            self.scratch.borrow_mut().give(std::mem::take(&mut incoming));
        }
        read
    }

    /// Takes what is complete of what was read.
    fn advance(&self, plain: &mut BytesMut) -> io::Result<Phase> {
        let mut incoming = self.incoming.borrow_mut();
        let mut words = Vec::new();
        let phase = self.engine.borrow_mut().advance(&mut incoming, plain, &mut words);
        self.outgoing.borrow_mut().extend_from_slice(&words);
        if incoming.is_empty() {
            self.scratch.borrow_mut().give(std::mem::take(&mut incoming));
        } else if incoming.len() < SMALL {
            let kept = BytesMut::from(&incoming[..]);
            self.scratch.borrow_mut().give(std::mem::replace(&mut incoming, kept));
        }
        phase.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    fn say_goodbye(&self) {
        if self.silent.get() || !self.outgoing.borrow().is_empty() {
            return;
        }
        let mut words = Vec::new();
        let length = self.engine.borrow_mut().close(&mut self.incoming.borrow_mut(), &mut words);
        if length > 0 {
            let _ = self.sock.try_send(&words[..length]);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.say_goodbye();
    }
}
