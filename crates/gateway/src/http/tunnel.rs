//! Raw bytes both ways after an upgrade: WebSocket and whatever else two ends agree on.
use crate::io::stream::Io;
use bytes::{Bytes, BytesMut};
use std::io;
use std::task::{Context, Poll, ready};

const SIZE: usize = 16 << 10;

/// After one direction has ended, the other may be silent for so long.
const HALF_CLOSED_MS: u64 = 5_000;

/// One end of a tunnel: a duplex of bytes.
pub(crate) trait Duplex {
    /// Reads what is there into the spare room of `buf`. `Ok(0)` is the end.
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>>;

    /// Sends some of `data`.
    fn poll_send(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>>;

    /// Nothing more is sent.
    fn end(&self);

    /// Something must move within `ms`; 0: it need not.
    fn allow(&self, ms: u64);
}

impl Duplex for Io {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        self.stream.poll_read(cx, buf)
    }

    fn poll_send(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.poll_send(cx, data, false)
    }

    fn end(&self) {
        self.stream.end();
    }

    fn allow(&self, ms: u64) {
        self.write_deadline(ms);
    }
}

/// One direction.
struct Pipe<'a, F, T> {
    from: &'a F,
    to: &'a T,
    buf: BytesMut,
    sent: u64,
    /// Bytes moved since this was last set to false.
    moved: bool,
    ended: bool,
    /// One end is gone, so nothing of the tunnel is of use any more.
    broken: bool,
}

impl<'a, F: Duplex, T: Duplex> Pipe<'a, F, T> {
    fn new(from: &'a F, to: &'a T, buf: BytesMut) -> Self {
        Self { from, to, buf, sent: 0, moved: false, ended: false, broken: false }
    }

    /// Moves bytes until it must wait. Ready at the end of input, or when an end is gone.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.ended {
            while !self.buf.is_empty() {
                let Ok(n) = ready!(self.to.poll_send(cx, &self.buf)) else {
                    self.broken = true;
                    self.end();
                    return Poll::Ready(());
                };
                self.sent += n as u64;
                self.moved = true;
                drop(self.buf.split_to(n));
            }
            // An idle tunnel keeps no buffer.
            let mut buf = std::mem::take(&mut self.buf);
            buf.reserve(SIZE);
            match self.from.poll_read(cx, &mut buf) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(n)) if n > 0 => {
                    self.moved = true;
                    self.buf = buf;
                }
                Poll::Ready(read) => {
                    self.broken |= read.is_err();
                    self.end();
                }
            }
        }
        Poll::Ready(())
    }

    fn end(&mut self) {
        self.ended = true;
        self.buf = BytesMut::new();
        self.to.end();
    }
}

/// Copies both ways until both directions have ended, one end is gone, or no byte has moved for `idle_ms` (0: no limit).
/// `early` was read behind the heads, from the client and from the peer. Returns the bytes sent to the client.
pub(crate) async fn run<C: Duplex>(client: &C, peer: &Io, early: (BytesMut, Bytes), idle_ms: u64) -> u64 {
    let mut up = Pipe::new(client, peer, early.0);
    let mut down = Pipe::new(peer, client, BytesMut::from(&early.1[..]));
    // Both ends have the deadline: a client that takes nothing may be all that is waited for.
    let allow = |ms| {
        client.allow(ms);
        peer.allow(ms);
    };
    allow(idle_ms);
    let mut halved = false;
    std::future::poll_fn(|cx| {
        let (a, b) = (up.poll(cx), down.poll(cx));
        if (a.is_ready() && b.is_ready()) || up.broken || down.broken {
            return Poll::Ready(());
        }
        let now_halved = a.is_ready() || b.is_ready();
        let moved = [std::mem::take(&mut up.moved), std::mem::take(&mut down.moved)];
        if moved.contains(&true) || now_halved != halved {
            halved = now_halved;
            let short = if idle_ms == 0 { HALF_CLOSED_MS } else { idle_ms.min(HALF_CLOSED_MS) };
            allow(if halved { short } else { idle_ms });
        }
        Poll::Pending
    })
    .await;
    down.sent
}
