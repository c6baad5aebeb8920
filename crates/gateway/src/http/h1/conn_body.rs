//! The body of a request as it comes from a connection, and what is done with one that nobody reads.
use crate::body::{RequestBody, Source, next_chunk};
use crate::error::{Error, Kind, RAISE_LIMIT, Result};
use crate::http::h1::Conn;
use crate::http::h1::interim::CONTINUE;
use crate::io::sock::READ_SIZE;
use buchner_wire::chunked::{BodyDecoder, Decoded};
use buchner_wire::h1::Framing;
use bytes::Bytes;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

/// An unread body up to this size is read and dropped to keep the connection.
pub(super) const DRAIN_BYTES: u64 = 64 << 10;
/// Time between two reads of such a body.
const DRAIN_MS: u64 = 5_000;
/// Bytes read at a time of a large body.
const BODY_SIZE: usize = 64 << 10;

/// The request body still to be read.
pub(super) enum BodyState {
    /// Nothing.
    Done,
    /// What the decoder has not read, and what is known of its length.
    Unread { decoder: BodyDecoder, continue_due: bool, left: u64 },
}

/// A request body read from the connection.
struct ConnBody {
    conn: Rc<Conn>,
    limit: u64,
    timeout_ms: u64,
    received: u64,
}

impl Source for ConnBody {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        loop {
            let mut state = self.conn.body.borrow_mut();
            let BodyState::Unread { decoder, continue_due, left } = &mut *state else { return Poll::Ready(Ok(None)) };
            match decoder.decode(&mut self.conn.buf.borrow_mut(), false) {
                Err(e) => return Poll::Ready(Err(e.into())),
                Ok(Decoded::End) => {
                    *state = BodyState::Done;
                    return Poll::Ready(Ok(None));
                }
                Ok(Decoded::Data(bytes)) => {
                    self.received += bytes.len() as u64;
                    *left = left.saturating_sub(bytes.len() as u64);
                    if decoder.is_done() {
                        *state = BodyState::Done;
                    }
                    if self.limit != 0 && self.received > self.limit {
                        return Poll::Ready(Err(too_large(self.limit)));
                    }
                    return Poll::Ready(Ok(Some(bytes)));
                }
                Ok(Decoded::NeedMore) => {}
            }
            if self.limit != 0 && self.received.saturating_add(decoder.chunk_left()) > self.limit {
                return Poll::Ready(Err(too_large(self.limit)));
            }
            if std::mem::take(continue_due) {
                // A client that is gone shows at the next read.
                self.conn.send_interim(CONTINUE);
            }
            drop(state);
            self.conn.io.deadline(self.timeout_ms);
            let read = ready!(self.conn.poll_fill(cx, BODY_SIZE));
            if read == 0 {
                return Poll::Ready(Err(if self.conn.io.expired() {
                    let cause = format!("no more of the body within {} ms (body_timeout)", self.timeout_ms);
                    Error::new(Kind::ClientTimeout, cause).closing()
                } else {
                    Error::client_gone()
                }));
            }
            // Whoever takes the body may be slow: that is not the client's time.
            self.conn.io.no_deadline();
        }
    }

    fn set_limit(&mut self, bytes: u64) {
        self.limit = bytes;
    }

    fn length(&self) -> Option<u64> {
        match &*self.conn.body.borrow() {
            BodyState::Done => Some(0),
            BodyState::Unread { decoder, .. } => decoder.remaining(),
        }
    }

    fn skip_ready(&mut self) -> Result<()> {
        let mut skipped = 0;
        while skipped <= DRAIN_BYTES {
            let mut state = self.conn.body.borrow_mut();
            // What Content-Length frames has no framing of its own to be wrong.
            let BodyState::Unread { decoder: decoder @ BodyDecoder::Chunked(_), continue_due, .. } = &mut *state else {
                return Ok(());
            };
            let decoded = decoder.decode(&mut self.conn.buf.borrow_mut(), false)?;
            match decoded {
                Decoded::End => *state = BodyState::Done,
                Decoded::Data(bytes) => skipped += bytes.len() as u64,
                Decoded::NeedMore if *continue_due => return Ok(()),
                Decoded::NeedMore => {
                    drop(state);
                    let read = self.conn.poll_fill(&mut Context::from_waker(Waker::noop()), READ_SIZE);
                    if !matches!(read, Poll::Ready(1..)) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

fn too_large(limit: u64) -> Error {
    let cause = format!("the body is larger than {limit} bytes{RAISE_LIMIT}");
    Error::new(Kind::BodyTooLarge, cause).closing()
}

/// The body of a request, as its head frames it.
pub(super) fn request_body(conn: &Rc<Conn>, framing: Framing, expect: bool, timeout_ms: u64) -> RequestBody {
    let left = match framing {
        Framing::None | Framing::Length(0) => {
            *conn.body.borrow_mut() = BodyState::Done;
            return RequestBody::Empty;
        }
        Framing::Length(length) => length,
        Framing::Chunked | Framing::UntilClose => u64::MAX,
    };
    let decoder = conn.connection.with_listener(|listener| BodyDecoder::new(framing, &listener.limits));
    // A client that already sends its body needs no permission.
    let continue_due = expect && conn.buf.borrow().is_empty();
    *conn.body.borrow_mut() = BodyState::Unread { decoder, continue_due, left };
    RequestBody::Stream(Box::new(ConnBody { conn: conn.clone(), limit: 0, timeout_ms, received: 0 }))
}

/// The unread rest of the body is small enough to keep the connection.
pub(super) fn can_drain(conn: &Conn) -> bool {
    match &*conn.body.borrow() {
        BodyState::Done => true,
        BodyState::Unread { continue_due: true, .. } => false,
        // How long it is shows as it comes.
        BodyState::Unread { decoder: decoder @ BodyDecoder::Chunked(_), .. } => decoder.chunk_left() <= DRAIN_BYTES,
        BodyState::Unread { left, .. } => *left <= DRAIN_BYTES,
    }
}

/// Reads and drops the rest of a request's body.
pub(super) async fn drain(conn: &Rc<Conn>) -> bool {
    if conn.body_done() {
        return true;
    }
    let mut body = ConnBody { conn: conn.clone(), limit: DRAIN_BYTES, timeout_ms: DRAIN_MS, received: 0 };
    loop {
        match next_chunk(&mut body).await {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}
