//! A socket as the data plane uses it: shared and non-blocking. Rooms ask it for what the kernel knows of it; bytes go through
//! [`crate::io::stream::Stream`].
use bytes::BytesMut;
use rustix::net::{RecvFlags, SendFlags};
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
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
    pub(super) fn poll_read(&self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        // A peer that always has more may not keep the thread from the others.
        let turn = ready!(tokio::task::coop::poll_proceed(cx));
        let room = buf.capacity() - buf.len();
        loop {
            match each!(self, s => s.try_read_buf(buf)) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    ready!(each!(self, s => s.poll_read_ready(cx)))?;
                }
                Ok(n) => {
                    turn.made_progress();
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

    /// Registers for what there is to read, at the cost of no system call.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
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

    /// Sends what fits now, which may be nothing; returns how many bytes did.
    pub(super) fn try_send(&self, data: &[u8]) -> io::Result<usize> {
        match rustix::net::send(self.as_fd(), data, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => Ok(sent),
            Err(rustix::io::Errno::AGAIN) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// The other side has reset the connection; told once.
    pub fn has_failed(&self) -> bool {
        !matches!(rustix::net::sockopt::socket_error(self.as_fd()), Ok(Ok(())))
    }

    /// Sends with flags (`MSG_MORE`).
    pub(super) fn poll_send(&self, cx: &mut Context<'_>, data: &[u8], flags: SendFlags) -> Poll<io::Result<usize>> {
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
    pub(super) fn poll_send_vectored(&self, cx: &mut Context<'_>, data: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
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
    pub(super) fn poll_sendfile(
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
