//! The bytes of a connection, and its one deadline. What is sent goes through [`Stream`] and nowhere else, so that a session
//! (TLS) can stand between it and the socket; the socket itself is asked for what the kernel knows of it.
use crate::error::{Error, Kind, Result};
use crate::io::deadlines::Waits;
use crate::io::local::Local;
use crate::io::sock::Sock;
use crate::io::tls::session::Session;
use bytes::BytesMut;
use rustix::net::SendFlags;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::task::{Context, Poll};

/// How bytes get to the other end and back.
pub enum Stream {
    /// As they are.
    Plain(Rc<Sock>),
    /// Encrypted.
    Tls(Box<Session>),
}

impl Stream {
    /// The socket, for what the kernel knows of it.
    pub fn sock(&self) -> &Rc<Sock> {
        match self {
            Self::Plain(sock) => sock,
            Self::Tls(session) => session.sock(),
        }
    }

    /// Reads what is there into the spare room of `buf` (which must have some). `Ok(0)` is the end.
    pub fn poll_read(&self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(sock) => sock.poll_read(cx, buf),
            Self::Tls(session) => session.poll_read(cx, buf),
        }
    }

    /// Registers for what there is to read, at the cost of no system call.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Plain(sock) => sock.poll_readable(cx),
            Self::Tls(session) if session.has_early() => Poll::Ready(()),
            Self::Tls(session) => session.sock().poll_readable(cx),
        }
    }

    /// Sends some of `data`; `more` says that more follows at once (`MSG_MORE`).
    pub fn poll_send(&self, cx: &mut Context<'_>, data: &[u8], more: bool) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(sock) => sock.poll_send(cx, data, if more { SendFlags::MORE } else { SendFlags::empty() }),
            Self::Tls(session) => session.poll_send(cx, data, more),
        }
    }

    /// Sends some of two buffers in one call.
    pub fn poll_send_both(&self, cx: &mut Context<'_>, head: &[u8], body: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send_parts(cx, [head, body])
    }

    /// Sends some of several buffers in one call.
    fn poll_send_parts<const N: usize>(&self, cx: &mut Context<'_>, parts: [&[u8]; N]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(sock) => sock.poll_send_vectored(cx, &parts.map(IoSlice::new)),
            Self::Tls(session) => session.poll_send_parts(cx, &parts),
        }
    }

    /// Sends part of a file, without copying it where nothing stands before the socket (sendfile(2)). `offset` moves on by
    /// what was sent.
    pub fn poll_send_file(
        &self,
        cx: &mut Context<'_>,
        file: BorrowedFd<'_>,
        offset: &mut u64,
        count: usize,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(sock) => sock.poll_sendfile(cx, file, offset, count),
            Self::Tls(session) => session.poll_send_file(cx, file, offset, count),
        }
    }

    /// Sends what fits now, which may be nothing, and waits for no room; returns how many bytes did.
    pub fn try_send(&self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(sock) => sock.try_send(data),
            Self::Tls(session) => session.try_send(data),
        }
    }

    /// Nothing more is sent.
    pub fn end(&self) {
        match self {
            Self::Plain(sock) => sock.shutdown(Shutdown::Write),
            Self::Tls(session) => session.end(),
        }
    }

    /// An idle connection goes on: it has not ended, and nothing has come that nobody asked for. What TLS has to say for itself
    /// (tickets) is taken.
    pub fn is_quiet(&self) -> bool {
        match self {
            Self::Plain(sock) => !sock.peek_dead(),
            Self::Tls(session) => session.is_quiet(),
        }
    }

    /// As [`Stream::is_quiet`], at the cost of no system call where nothing has happened.
    pub fn seems_quiet(&self) -> bool {
        match self {
            Self::Plain(sock) => !sock.has_event(),
            Self::Tls(session) => !session.sock().has_event() || session.is_quiet(),
        }
    }

    /// Closing the connection resets it: its other end sees that what it got was not all.
    pub fn reset_when_closed(&self) {
        match self {
            Self::Plain(sock) => sock.reset_when_closed(),
            Self::Tls(session) => session.reset_when_closed(),
        }
    }
}

/// A stream with its deadline on this thread. Dropping it closes the socket once nobody else holds it.
pub struct Io {
    /// The stream.
    pub stream: Stream,
    thread: Rc<Local>,
    key: u32,
}

impl Io {
    /// Registers a socket with the thread's deadlines.
    pub fn new(thread: Rc<Local>, sock: Sock) -> Self {
        let sock = Rc::new(sock);
        let key = thread.deadlines.insert(sock.clone());
        Self { stream: Stream::Plain(sock), thread, key }
    }

    /// What goes through its socket from here on goes through a session.
    pub fn encrypt(&mut self, session: Session) {
        self.stream = Stream::Tls(Box::new(session));
    }

    /// Its socket, for what the kernel knows of it.
    pub fn sock(&self) -> &Rc<Sock> {
        self.stream.sock()
    }

    /// The thread it belongs to.
    pub fn thread(&self) -> &Rc<Local> {
        &self.thread
    }

    /// What is read next must be there within `after_ms`; 0: no deadline.
    pub fn deadline(&self, after_ms: u64) {
        self.thread.deadlines.set(self.key, self.thread.clock.now(), after_ms, Waits::Read);
    }

    /// What is written next must be taken within `after_ms`, or a part of it, which renews the deadline; 0: none.
    pub fn write_deadline(&self, after_ms: u64) {
        self.thread.deadlines.set(self.key, self.thread.clock.now(), after_ms, Waits::Write);
    }

    /// The connection is idle, for at most `after_ms`.
    pub fn idle(&self, after_ms: u64) {
        self.thread.deadlines.set(self.key, self.thread.clock.now(), after_ms, Waits::Idle);
    }

    /// The connection is new: its first request may take `after_ms` to begin.
    pub fn fresh(&self, after_ms: u64) {
        self.thread.deadlines.set(self.key, self.thread.clock.now(), after_ms, Waits::Fresh);
    }

    /// No deadline.
    pub fn no_deadline(&self) {
        self.thread.deadlines.clear(self.key);
    }

    /// The deadline passed.
    pub fn expired(&self) -> bool {
        self.thread.deadlines.expired(self.key)
    }

    /// Reads into `buf`, making room for `size` bytes first. `Ok(0)` is the end, or an expired deadline (ask [`Io::expired`]).
    pub async fn read(&self, buf: &mut BytesMut, size: usize) -> io::Result<usize> {
        if buf.capacity() - buf.len() < size / 2 {
            buf.reserve(size);
        }
        std::future::poll_fn(|cx| self.stream.poll_read(cx, buf)).await
    }

    /// Writes all of `data`; `more` says that more follows at once (`MSG_MORE`).
    pub async fn write_all(&self, mut data: &[u8], more: bool) -> io::Result<()> {
        while !data.is_empty() {
            let n = std::future::poll_fn(|cx| self.stream.poll_send(cx, data, more)).await?;
            data = &data[n..];
            if !data.is_empty() {
                self.thread.deadlines.renew(self.key, self.thread.clock.now());
            }
        }
        Ok(())
    }

    /// Writes several buffers, in one call where the kernel takes them.
    pub async fn write_parts<const N: usize>(&self, parts: [&[u8]; N]) -> io::Result<()> {
        let mut sent = std::future::poll_fn(|cx| self.stream.poll_send_parts(cx, parts)).await?;
        for (index, part) in parts.iter().enumerate() {
            let of_this = sent.min(part.len());
            sent -= of_this;
            self.write_all(&part[of_this..], index + 1 < N).await?;
        }
        Ok(())
    }

    /// Writes what is taken of two buffers now; returns how many bytes that is. `more` as for [`Io::write_all`].
    pub async fn send_once(&self, head: &[u8], body: &[u8], more: bool) -> io::Result<usize> {
        std::future::poll_fn(|cx| {
            let sent = if body.is_empty() {
                self.stream.poll_send(cx, head, more)
            } else {
                self.stream.poll_send_both(cx, head, body)
            };
            Poll::Ready(if let Poll::Ready(sent) = sent { sent } else { Ok(0) })
        })
        .await
    }

    /// Sends `length` bytes of a file from `offset`. `deadline_ms` bounds the time between two writes.
    pub async fn send_file(&self, file: BorrowedFd<'_>, mut offset: u64, length: u64, deadline_ms: u64) -> Result<()> {
        let end = offset + length;
        while offset < end {
            self.write_deadline(deadline_ms);
            let count = (end - offset).min(1 << 30) as usize;
            let sent = std::future::poll_fn(|cx| self.stream.poll_send_file(cx, file, &mut offset, count)).await;
            match sent {
                Ok(0) => {
                    return Err(Error::new(Kind::Internal, "the file became shorter while it was sent").closing());
                }
                Ok(_) => {}
                Err(_) => return Err(Error::client_gone()),
            }
        }
        Ok(())
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        self.thread.deadlines.remove(self.key);
    }
}
