//! A socket as the data plane uses it: shared, non-blocking, with one deadline.
use crate::error::{Error, Kind, Result};
use crate::io::deadlines::Waits;
use crate::io::local::Local;
use bytes::BytesMut;
use rustix::net::{RecvFlags, SendFlags};
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

/// Bytes asked for in one read of a head or a small body.
pub const READ_SIZE: usize = 8 << 10;

/// A connected stream socket.
pub enum Sock {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix stream socket.
    Unix(UnixStream),
}

macro_rules! each {
    ($self:expr, $s:ident => $e:expr) => {
        match $self {
            Sock::Tcp($s) => $e,
            Sock::Unix($s) => $e,
        }
    };
}

impl Sock {
    /// Reads what is there into the spare room of `buf` (which must have some). `Ok(0)` is the end.
    pub fn poll_read(&self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        let room = buf.capacity() - buf.len();
        loop {
            match each!(self, s => s.try_read_buf(buf)) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    ready!(each!(self, s => s.poll_read_ready(cx)))?;
                }
                Ok(n) => {
                    if n != 0 && n < room {
                        self.forget_readiness();
                    }
                    return Poll::Ready(Ok(n));
                }
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }

    /// Who waits next to read waits for more than there is now. After a short read the socket is empty, and this spares the
    /// read that would only say so. A hang-up is kept by tokio.
    pub fn forget_readiness(&self) {
        let empty = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = each!(self, s => s.try_io(Interest::READABLE, empty));
    }

    /// Waits until there is something to read, or the end.
    pub async fn readable(&self) -> io::Result<()> {
        each!(self, s => s.readable().await)
    }

    /// Registers for what there is to read, at the cost of no system call.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        each!(self, s => s.poll_read_ready(cx)).map(drop)
    }

    /// Waits until there is something to read, or the end; true at the end.
    pub async fn readable_or_ended(&self) -> io::Result<bool> {
        Ok(each!(self, s => s.ready(Interest::READABLE).await)?.is_read_closed())
    }

    /// Copies what there is to read and leaves it there. 0: nothing.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        match rustix::net::recv(self.as_fd(), buf, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((length, _)) => Ok(length),
            Err(rustix::io::Errno::AGAIN) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads bytes that were seen with [`Sock::peek`].
    pub fn consume(&self, seen: &mut [u8]) -> io::Result<()> {
        let (length, _) = rustix::net::recv(self.as_fd(), &mut *seen, RecvFlags::DONTWAIT)?;
        if length == seen.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// The last turn of the loop reported something to read (or the end); costs no system call.
    pub fn has_event(&self) -> bool {
        each!(self, s => s.try_io(Interest::READABLE, || Ok(()))).is_ok()
    }

    /// Asks the kernel whether an idle connection ended, or has bytes nobody asked for.
    pub fn peek_dead(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        !matches!(rustix::net::recv(self.as_fd(), &mut [0u8; 1][..], flags), Err(rustix::io::Errno::AGAIN))
    }

    /// Asks the kernel whether there are bytes to read.
    pub fn has_bytes(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        matches!(rustix::net::recv(self.as_fd(), &mut [0u8; 1][..], flags), Ok((1.., _)))
    }

    /// Sends a few bytes if there is room. False: the socket has failed.
    pub fn send_now(&self, data: &[u8]) -> bool {
        let sent = rustix::net::send(self.as_fd(), data, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        matches!(sent, Ok(_) | Err(rustix::io::Errno::AGAIN))
    }

    /// Sends what fits now; returns how many bytes did.
    pub fn send_some(&self, data: &[u8]) -> usize {
        rustix::net::send(self.as_fd(), data, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).unwrap_or(0)
    }

    /// The other side has reset the connection; told once.
    pub fn has_failed(&self) -> bool {
        !matches!(rustix::net::sockopt::socket_error(self.as_fd()), Ok(Ok(())))
    }

    /// Sends with flags (`MSG_MORE`).
    pub fn poll_send(&self, cx: &mut Context<'_>, data: &[u8], flags: SendFlags) -> Poll<io::Result<usize>> {
        loop {
            let sent = each!(self, s => s.try_io(Interest::WRITABLE, || {
                rustix::net::send(s.as_fd(), data, flags | SendFlags::NOSIGNAL).map_err(io::Error::from)
            }));
            match sent {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    ready!(each!(self, s => s.poll_write_ready(cx)))?;
                }
                other => return Poll::Ready(other),
            }
        }
    }

    /// Sends from several buffers in one call.
    pub fn poll_send_vectored(&self, cx: &mut Context<'_>, data: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            match each!(self, s => s.try_write_vectored(data)) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    ready!(each!(self, s => s.poll_write_ready(cx)))?;
                }
                other => return Poll::Ready(other),
            }
        }
    }

    /// Sends part of a file without copying it (sendfile(2)). `offset` moves on by what was sent.
    pub fn poll_sendfile(
        &self,
        cx: &mut Context<'_>,
        file: BorrowedFd<'_>,
        offset: &mut u64,
        count: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            let sent = each!(self, s => s.try_io(Interest::WRITABLE, || {
                rustix::fs::sendfile(s.as_fd(), file, Some(offset), count).map_err(io::Error::from)
            }));
            match sent {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    ready!(each!(self, s => s.poll_write_ready(cx)))?;
                }
                other => return Poll::Ready(other),
            }
        }
    }

    /// The other end's address; Unix sockets have none.
    pub fn peer(&self) -> Option<std::net::SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// Closing the socket resets the connection, and what the kernel still has to send is dropped.
    pub fn reset_when_closed(&self) {
        let _ = rustix::net::sockopt::set_socket_linger(self.as_fd(), Some(std::time::Duration::ZERO));
    }

    /// The kernel asks a silent peer every few seconds whether it is still there (TCP keep-alive).
    pub fn ask_often(&self) {
        let every = std::time::Duration::from_secs(5);
        let _ = rustix::net::sockopt::set_tcp_keepidle(self.as_fd(), every);
        let _ = rustix::net::sockopt::set_tcp_keepintvl(self.as_fd(), every);
        let _ = rustix::net::sockopt::set_socket_keepalive(self.as_fd(), true);
    }

    /// shutdown(2); a socket that is already gone is fine.
    pub fn shutdown(&self, how: Shutdown) {
        let how = match how {
            Shutdown::Read => rustix::net::Shutdown::Read,
            Shutdown::Write => rustix::net::Shutdown::Write,
            Shutdown::Both => rustix::net::Shutdown::Both,
        };
        let _ = rustix::net::shutdown(self.as_fd(), how);
    }
}

impl AsFd for Sock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        each!(self, s => s.as_fd())
    }
}

/// A socket with its deadline on this thread. Dropping it closes the socket once nobody else holds it.
pub struct Io {
    /// The socket.
    pub sock: Rc<Sock>,
    thread: Rc<Local>,
    key: u32,
}

impl Io {
    /// Registers a socket with the thread's deadlines.
    pub fn new(thread: Rc<Local>, sock: Sock) -> Self {
        let sock = Rc::new(sock);
        let key = thread.timeouts.insert(sock.clone());
        Self { sock, thread, key }
    }

    /// The thread it belongs to.
    pub fn thread(&self) -> &Rc<Local> {
        &self.thread
    }

    /// What the socket reads next must be there within `after_ms`; 0: no deadline.
    pub fn deadline(&self, after_ms: u64) {
        self.thread.timeouts.set(self.key, self.thread.clock.now(), after_ms, Waits::Read);
    }

    /// What is written next must be taken within `after_ms`, or a part of it, which renews the deadline; 0: none.
    pub fn write_deadline(&self, after_ms: u64) {
        self.thread.timeouts.set(self.key, self.thread.clock.now(), after_ms, Waits::Write);
    }

    /// The connection is idle, for at most `after_ms`.
    pub fn idle(&self, after_ms: u64) {
        self.thread.timeouts.set(self.key, self.thread.clock.now(), after_ms, Waits::Idle);
    }

    /// The connection is new: its first request may take `after_ms` to begin.
    pub fn fresh(&self, after_ms: u64) {
        self.thread.timeouts.set(self.key, self.thread.clock.now(), after_ms, Waits::Fresh);
    }

    /// No deadline.
    pub fn no_deadline(&self) {
        self.thread.timeouts.clear(self.key);
    }

    /// The deadline passed.
    pub fn expired(&self) -> bool {
        self.thread.timeouts.expired(self.key)
    }

    /// Reads into `buf`, making room for `size` bytes first. `Ok(0)` is the end, or an expired deadline (ask [`Io::expired`]).
    pub async fn read(&self, buf: &mut BytesMut, size: usize) -> io::Result<usize> {
        if buf.capacity() - buf.len() < size / 2 {
            buf.reserve(size);
        }
        std::future::poll_fn(|cx| self.sock.poll_read(cx, buf)).await
    }

    /// Writes all of `data`; `more` says that more follows at once (`MSG_MORE`).
    pub async fn write_all(&self, mut data: &[u8], more: bool) -> io::Result<()> {
        let flags = if more { SendFlags::MORE } else { SendFlags::empty() };
        while !data.is_empty() {
            let n = std::future::poll_fn(|cx| self.sock.poll_send(cx, data, flags)).await?;
            data = &data[n..];
            if !data.is_empty() {
                self.thread.timeouts.renew(self.key, self.thread.clock.now());
            }
        }
        Ok(())
    }

    /// Writes two buffers, in one call where the kernel takes them.
    pub async fn write_both(&self, head: &[u8], body: &[u8]) -> io::Result<()> {
        let slices = [IoSlice::new(head), IoSlice::new(body)];
        let n = std::future::poll_fn(|cx| self.sock.poll_send_vectored(cx, &slices)).await?;
        if n < head.len() {
            self.write_all(&head[n..], true).await?;
            return self.write_all(body, false).await;
        }
        self.write_all(&body[n - head.len()..], false).await
    }

    /// Writes what the kernel takes of two buffers now; returns how many bytes that is.
    pub async fn send_once(&self, head: &[u8], body: &[u8], flags: SendFlags) -> io::Result<usize> {
        let slices = [IoSlice::new(head), IoSlice::new(body)];
        std::future::poll_fn(|cx| {
            let sent = if body.is_empty() {
                self.sock.poll_send(cx, head, flags)
            } else {
                self.sock.poll_send_vectored(cx, &slices)
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
            let sent = std::future::poll_fn(|cx| self.sock.poll_sendfile(cx, file, &mut offset, count)).await;
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
        self.thread.timeouts.remove(self.key);
    }
}
