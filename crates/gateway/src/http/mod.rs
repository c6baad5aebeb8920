//! HTTP towards the client: every version ends as one [`crate::exchange::Request`] and one [`crate::exchange::Response`].
//!
//! A version reads heads ([`head::Head`]) and is a [`transaction::Transaction`] for each; [`serve`] and [`send`] do the rest.
pub mod connection;
pub mod h1;
pub mod head;
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
use std::rc::Rc;

/// Serves a connection until it closes, in the version that its client speaks.
pub fn serve(io: Io, service: Rc<Service>, port: Rc<Port>, arrival: Arrival) -> impl Future<Output = ()> {
    h1::serve(io, Connection::new(service, port, arrival))
}

#[cfg(test)]
mod tests;
