//! A stream as one end of a tunnel (RFC 8441): its DATA frames are the bytes.
use crate::http::h2::frames::CREDIT;
use crate::http::h2::stream::Stream;
use crate::http::tunnel::Duplex;
use crate::io::deadlines::Deadline;
use bytes::{Bytes, BytesMut};
use std::io;
use std::task::{Context, Poll};

impl Stream {
    fn poll_silent(&self, cx: &Context<'_>) -> Poll<io::Result<usize>> {
        match &*self.idle.borrow() {
            Some(idle) => idle.poll_expired(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
            None => Poll::Pending,
        }
    }
}

impl Duplex for Stream {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        let mut receive = self.receive.borrow_mut();
        let Some(receive) = receive.as_mut() else { return Poll::Ready(Ok(0)) };
        loop {
            match receive.poll_data(cx) {
                Poll::Ready(Some(Ok(bytes))) => {
                    let _ = receive.flow_control().release_capacity(bytes.len());
                    if !bytes.is_empty() {
                        self.session.wire.credit(CREDIT);
                        buf.extend_from_slice(&bytes);
                        return Poll::Ready(Ok(bytes.len()));
                    }
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                Poll::Ready(None) => return Poll::Ready(Ok(0)),
                Poll::Pending => return self.poll_silent(cx),
            }
        }
    }

    fn poll_send(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let gone = |_| io::Error::from(io::ErrorKind::ConnectionReset);
        self.reserve(data.len()).map_err(gone)?;
        let Poll::Ready(room) = self.poll_room(cx) else { return self.poll_silent(cx) };
        let sent = room.map_err(gone)?.min(data.len());
        if let Some(send) = &mut *self.send.borrow_mut() {
            let bytes = Bytes::copy_from_slice(&data[..sent]);
            send.send_data(bytes, false).map_err(|_| io::ErrorKind::ConnectionReset)?;
        }
        self.session.wire.credit(CREDIT);
        Poll::Ready(Ok(sent))
    }

    fn end(&self) {
        if let Some(send) = &mut *self.send.borrow_mut() {
            let _ = send.send_data(Bytes::new(), true);
        }
    }

    fn allow(&self, ms: u64) {
        let mut idle = self.idle.borrow_mut();
        let idle = idle.get_or_insert_with(|| Deadline::new(self.session.connection.thread().clone()));
        idle.set(ms);
    }
}
