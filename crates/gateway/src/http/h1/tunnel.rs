//! Raw bytes both ways after an upgrade (101): WebSocket and whatever else two ends agree on.
use crate::io::sock::Io;
use bytes::{Bytes, BytesMut};
use rustix::net::SendFlags;
use std::net::Shutdown;
use std::task::{Context, Poll, ready};

const SIZE: usize = 16 << 10;

/// One direction.
struct Pipe<'a> {
    from: &'a Io,
    to: &'a Io,
    buf: BytesMut,
    sent: u64,
    ended: bool,
}

impl Pipe<'_> {
    /// Moves bytes until it must wait. Ready at the end of input, or when the other side takes no more.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.ended {
            while !self.buf.is_empty() {
                match ready!(self.to.sock.poll_send(cx, &self.buf, SendFlags::empty())) {
                    Ok(n) => {
                        self.sent += n as u64;
                        drop(self.buf.split_to(n));
                    }
                    Err(_) => self.end(),
                }
                if self.ended {
                    return Poll::Ready(());
                }
            }
            // An idle tunnel keeps no buffer.
            let mut buf = std::mem::take(&mut self.buf);
            buf.reserve(SIZE);
            match self.from.sock.poll_read(cx, &mut buf) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(n)) if n > 0 => self.buf = buf,
                Poll::Ready(_) => self.end(),
            }
        }
        Poll::Ready(())
    }

    fn end(&mut self) {
        self.ended = true;
        self.buf = BytesMut::new();
        self.to.sock.shutdown(Shutdown::Write);
    }
}

/// Copies both ways until both directions have ended. `early_client` and `early_peer` were read behind the heads.
/// Returns the bytes sent to the client.
pub async fn run(client: &Io, peer: &Io, early_client: BytesMut, early_peer: Bytes) -> u64 {
    client.no_deadline();
    peer.no_deadline();
    let mut up = Pipe { from: client, to: peer, buf: early_client, sent: 0, ended: false };
    let mut down = Pipe { from: peer, to: client, buf: BytesMut::from(&early_peer[..]), sent: 0, ended: false };
    std::future::poll_fn(|cx| {
        let (a, b) = (up.poll(cx), down.poll(cx));
        if a.is_ready() && b.is_ready() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    down.sent
}
