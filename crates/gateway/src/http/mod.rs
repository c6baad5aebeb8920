//! HTTP towards the client: every version ends as one [`crate::exchange::Request`] and one [`crate::exchange::Response`].
//!
//! A version reads heads ([`head::Head`]) and is a [`transaction::Transaction`] for each; [`serve`] and [`send`] do the rest.
pub mod connection;
pub mod h1;
pub(crate) mod h2;
pub mod head;
mod linger;
pub mod port;
pub mod refuse;
pub mod request;
pub mod send;
pub mod serve;
pub mod service;
pub mod transaction;
pub mod tunnel;

use crate::http::connection::Connection;
use crate::http::port::{Arrival, Port};
use crate::http::service::Service;
use crate::io::stream::Io;
use crate::tls::policy::HTTP_2;
use bytes::BytesMut;
use std::rc::Rc;

/// Serves a connection until it closes, in the version that its client speaks.
pub async fn serve(io: Io, service: Rc<Service>, port: Rc<Port>, arrival: Arrival) {
    let connection = Connection::new(service, port, arrival);
    // Without a protocol that was agreed on in a handshake its first bytes tell.
    let http2 = match connection.tls() {
        Some(secure) if *secure.alpn == *HTTP_2 => Some((io, connection, BytesMut::new())),
        _ => h1::serve(io, connection).await,
    };
    if let Some((io, connection, early)) = http2 {
        // In a box of its own, so that connections of HTTP/1 have no room for it.
        Box::pin(h2::serve(io, connection, early)).await;
    }
}

#[cfg(test)]
mod tests;
