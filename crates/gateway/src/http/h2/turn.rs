//! What a stream is to the request on it: its body, and what becomes of it.
use crate::body::RequestBody;
use crate::error::{Kind, Result};
use crate::exchange::{Exchange, Interim};
use crate::http::connection::Connection;
use crate::http::h2::body;
use crate::http::h2::stream::Stream;
use crate::http::head::Head;
use crate::http::send::Written;
use crate::http::transaction::Transaction;
use crate::io::deadlines::Deadline;
use crate::io::sock::Sock;
use ::h2::Reason;
use buchner_wire::Version;
use buchner_wire::headers::HeaderId;
use bytes::Bytes;
use http::Response;
use std::cell::Cell;
use std::rc::{Rc, Weak};

/// A request and the response to it.
pub(super) struct Turn {
    pub(super) stream: Rc<Stream>,
    /// Content-Length, where it was told.
    length: Option<u64>,
    expect_continue: bool,
    tunnel: bool,
    /// The head of the response, until something of its body or its end shows whether it has one.
    pub(super) head: Option<Response<()>>,
    /// Bytes of the body that wait for more, or for the end, so that the last of them can say that they are.
    pub(super) held: Bytes,
    /// The end was sent.
    pub(super) ended: bool,
    /// Most bytes of one frame.
    pub(super) chunk: usize,
    pub(super) timeout_ms: u64,
    /// There once the client has kept something waiting.
    pub(super) deadline: Option<Deadline>,
    pub(super) expired: Cell<bool>,
    /// Bytes sent in all, and those of the body.
    pub(super) total: u64,
    pub(super) body: u64,
}

impl Turn {
    /// One of which nothing was said.
    pub(super) fn new(stream: Rc<Stream>) -> Self {
        Self {
            stream,
            length: None,
            expect_continue: false,
            tunnel: false,
            head: None,
            held: Bytes::new(),
            ended: false,
            chunk: 0,
            timeout_ms: 0,
            deadline: None,
            expired: Cell::new(false),
            total: 0,
            body: 0,
        }
    }

    /// Notes what a head says about the body behind it.
    pub(super) fn expects(&mut self, head: &Head) {
        self.tunnel = head.upgrade.is_some();
        self.expect_continue = head.expect_continue;
        let length = head.headers.get(HeaderId::ContentLength);
        self.length = length.and_then(|length| std::str::from_utf8(length).ok()?.parse().ok());
    }
}

impl Transaction for Turn {
    type Next = ();

    fn connection(&self) -> &Connection {
        &self.stream.session.connection
    }

    fn body(&self, timeout_ms: u64) -> RequestBody {
        let ended = self.stream.receive.borrow().as_ref().is_none_or(::h2::RecvStream::is_end_stream);
        // What comes after CONNECT is the tunnel's.
        if ended || self.tunnel {
            return RequestBody::Empty;
        }
        RequestBody::Stream(body::source(&self.stream, self.length, self.expect_continue, timeout_ms))
    }

    fn begun(&self) {}

    fn sock(&self) -> Weak<Sock> {
        Rc::downgrade(self.stream.session.wire.io.sock())
    }

    fn interim(&self) -> Option<Rc<dyn Interim>> {
        Some(self.stream.clone())
    }

    async fn left(&self, _: Version) {
        self.stream.given_up().await;
    }

    fn expired(&self) -> bool {
        self.expired.get()
    }

    fn drop_unsent(&self, _: bool) {
        self.stream.reset(Reason::INTERNAL_ERROR);
    }

    fn refused(&self) {}

    async fn done(&mut self, _: &Exchange, _: &Written, sent: Result<()>) {
        let Err(error) = sent else {
            if !self.tunnel && !self.expect_continue {
                body::drain(&self.stream, self.length).await;
            }
            return;
        };
        let reason = match error.kind {
            _ if self.expired.get() => Reason::CANCEL,
            // It was ended with a reason already.
            Kind::ClientGone => return,
            _ => Reason::INTERNAL_ERROR,
        };
        // What came before it broke off is on its way with this turn of the connection.
        tokio::task::yield_now().await;
        self.stream.reset(reason);
    }
}
