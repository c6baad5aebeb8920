//! The body of a request as it comes on a stream. Its windows open as it is taken.
use crate::body::{Source, next_chunk};
use crate::error::{Error, Kind, RAISE_LIMIT, Result};
use crate::http::h2::frames::CREDIT;
use crate::http::h2::stream::Stream;
use crate::io::deadlines::Deadline;
use ::h2::RecvStream;
use buchner_wire::headers::Headers;
use bytes::Bytes;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// An unread body up to this size is read and dropped, rather than its stream reset.
const DRAIN_BYTES: u64 = 64 << 10;
/// Time for that …
const DRAIN: Duration = Duration::from_secs(5);
/// … and where the client does not say how much is to come.
const DRAIN_UNKNOWN: Duration = Duration::from_millis(500);

/// The body of a stream's request.
struct StreamBody {
    stream: Rc<Stream>,
    /// Bytes still to come, where known.
    left: Option<u64>,
    received: u64,
    limit: u64,
    timeout_ms: u64,
    continue_due: bool,
    /// There while the client keeps us waiting.
    deadline: Option<Deadline>,
}

/// The body of a request, of which so many bytes are to come.
pub(super) fn source(stream: &Rc<Stream>, left: Option<u64>, continue_due: bool, timeout_ms: u64) -> Box<dyn Source> {
    let stream = stream.clone();
    Box::new(StreamBody { stream, left, received: 0, limit: 0, timeout_ms, continue_due, deadline: None })
}

/// Reads and drops the rest of a small body whose response has been sent: what is wrong with it shows, and clients that take a reset
/// for a failure see none.
pub(super) async fn drain(stream: &Rc<Stream>, length: Option<u64>) {
    let most = match length {
        None => DRAIN_UNKNOWN,
        Some(length) if length <= DRAIN_BYTES => DRAIN,
        Some(_) => return,
    };
    if stream.receive.borrow().as_ref().is_none_or(RecvStream::is_end_stream) {
        return;
    }
    let mut rest = source(stream, None, false, 0);
    rest.set_limit(DRAIN_BYTES);
    let dropped = async { while let Ok(Some(_)) = next_chunk(rest.as_mut()).await {} };
    let _ = tokio::time::timeout(most, dropped).await;
}

impl StreamBody {
    fn take(&mut self, bytes: Bytes) -> Result<Bytes> {
        self.deadline = None;
        self.continue_due = false;
        self.received += bytes.len() as u64;
        self.left = self.left.map(|left| left.saturating_sub(bytes.len() as u64));
        self.stream.session.wire.credit(CREDIT);
        if self.limit != 0 && self.received > self.limit { Err(self.too_large()) } else { Ok(bytes) }
    }

    fn too_large(&self) -> Error {
        let cause = format!("the body is larger than {} bytes{RAISE_LIMIT}", self.limit);
        Error::new(Kind::BodyTooLarge, cause)
    }

    fn poll_late(&mut self, cx: &Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if self.timeout_ms == 0 {
            return Poll::Pending;
        }
        let thread = self.stream.session.connection.thread();
        let deadline = self.deadline.get_or_insert_with(|| {
            let deadline = Deadline::new(thread.clone());
            deadline.set(self.timeout_ms);
            deadline
        });
        deadline.poll_expired(cx).map(|()| {
            let cause = format!("no more of the body within {} ms (body_timeout)", self.timeout_ms);
            Err(Error::new(Kind::ClientTimeout, cause))
        })
    }
}

impl Source for StreamBody {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        loop {
            if self.limit != 0 && self.left.is_some_and(|left| self.received.saturating_add(left) > self.limit) {
                return Poll::Ready(Err(self.too_large()));
            }
            let data = match &mut *self.stream.receive.borrow_mut() {
                None => return Poll::Ready(Ok(None)),
                Some(receive) => {
                    let data = receive.poll_data(cx);
                    if let Poll::Ready(Some(Ok(bytes))) = &data {
                        let _ = receive.flow_control().release_capacity(bytes.len());
                    }
                    data
                }
            };
            match data {
                Poll::Ready(Some(Ok(bytes))) if bytes.is_empty() => {}
                Poll::Ready(Some(Ok(bytes))) => return Poll::Ready(self.take(bytes).map(Some)),
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(Error::client_gone())),
                Poll::Ready(None) => {
                    self.left = Some(0);
                    return Poll::Ready(Ok(None));
                }
                Poll::Pending => {
                    if std::mem::take(&mut self.continue_due) {
                        self.stream.send_interim(100, &Headers::default());
                    }
                    return self.poll_late(cx);
                }
            }
        }
    }

    fn set_limit(&mut self, bytes: u64) {
        self.limit = bytes;
    }

    fn skip_ready(&mut self) -> Result<()> {
        let mut skipped = 0;
        while skipped <= DRAIN_BYTES && !self.continue_due {
            match self.poll_chunk(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(Some(bytes))) => skipped += bytes.len() as u64,
                Poll::Ready(Ok(None)) | Poll::Pending => break,
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
        Ok(())
    }

    fn length(&self) -> Option<u64> {
        self.left
    }
}
