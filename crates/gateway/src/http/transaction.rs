//! What a version has to bring for one request and its response; all else is in [`crate::http::serve`] and [`crate::http::send`].
use crate::body::RequestBody;
use crate::error::Result;
use crate::exchange::{Exchange, Interim};
use crate::http::connection::Connection;
use crate::http::send::{Sink, Written};
use crate::io::sock::Sock;
use buchner_wire::Version;
use std::rc::{Rc, Weak};

/// One request and the response to it on a connection of some version: a stream of HTTP/2, a turn of HTTP/1.
pub(crate) trait Transaction: Sink {
    /// What becomes of the connection, or of the stream.
    type Next;

    /// The connection it is on.
    fn connection(&self) -> &Connection;

    /// The body of its request; `timeout_ms` is the time between two reads.
    fn body(&self, timeout_ms: u64) -> RequestBody;

    /// Its request is understood: how long it takes now is not the client's time.
    fn begun(&self);

    /// The client's socket, where the kernel is asked about it.
    fn sock(&self) -> Weak<Sock>;

    /// The way for interim responses.
    fn interim(&self) -> Option<Rc<dyn Interim>>;

    /// Resolves when the client has gone while its response is awaited.
    async fn left(&self, version: Version);

    /// A deadline of its passed.
    fn expired(&self) -> bool;

    /// Nothing is sent; with `reset` the client sees that the connection broke.
    fn drop_unsent(&self, reset: bool) -> Self::Next;

    /// Its request was refused, and that is sent.
    fn refused(&self) -> Self::Next;

    /// Its response is sent, or as much of it as the client took.
    async fn done(&mut self, ex: &Exchange, written: &Written, sent: Result<()>) -> Self::Next;
}
