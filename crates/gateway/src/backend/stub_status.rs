//! Numbers of connections and requests as text (nginx: stub_status), and the variables with the same numbers.
use crate::backend::outcome::Outcome;
use crate::backend::{Handler, Place};
use crate::body::Body;
use crate::error::{Error, Kind, Result};
use crate::exchange::conditions::IfModifiedSince;
use crate::exchange::{Exchange, Response};
use crate::text::write_number;
use crate::vars::{Sent, Variable};
use buchner_wire::headers::HeaderId;
use buchner_wire::method::Method;
use std::sync::PoisonError;

/// What all I/O threads count together.
#[derive(Debug, Default)]
struct Sums {
    active: u64,
    accepts: u64,
    handled: u64,
    requests: u64,
    reading: u64,
    writing: u64,
}

impl Sums {
    fn of(ex: &Exchange) -> Self {
        let mut sums = Self::default();
        for thread in ex.thread.shared.metrics.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            sums.active += thread.connections.get();
            sums.accepts += thread.accepted.get() + thread.refused.get();
            sums.handled += thread.accepted.get();
            sums.requests += thread.begun.get();
            sums.reading += thread.reading.get();
            sums.writing += thread.writing.get();
        }
        sums
    }

    fn waiting(&self) -> u64 {
        self.active.saturating_sub(self.reading + self.writing)
    }
}

/// The numbers.
pub struct StubStatus;

impl Handler for StubStatus {
    type Config = bool;

    const VARIABLES: &'static [Variable] = &[
        Variable::new("connections_active", write_active, "Client connections, idle ones included."),
        Variable::new("connections_reading", write_reading, "Connections whose header section is being read."),
        Variable::new("connections_waiting", write_waiting, "Idle connections."),
        Variable::new("connections_writing", write_writing, "Connections being responded to."),
    ];

    fn compile(_: &bool, _: &Place<'_>) -> std::result::Result<Self, String> {
        Ok(Self)
    }

    async fn handle(&self, ex: &mut Exchange) -> Result<Outcome> {
        if !matches!(ex.request.method, Method::Get | Method::Head) {
            return Err(Error::new(Kind::MethodNotAllowed, "the numbers can only be read"));
        }
        let sums = Sums::of(ex);
        let text = format!(
            "Active connections: {} \nserver accepts handled requests\n {} {} {} \nReading: {} Writing: {} Waiting: {} \n",
            sums.active,
            sums.accepts,
            sums.handled,
            sums.requests,
            sums.reading,
            sums.writing,
            sums.waiting()
        );
        let mut response = Response::new(200, Body::Full(text.into()));
        response.headers.push(HeaderId::ContentType, b"text/plain");
        response.conditions = Some(IfModifiedSince::Exact);
        Ok(Outcome::Respond(response))
    }
}

/// Writes `$connections_active`.
fn write_active(ex: &Exchange, _sent: Sent<'_>, out: &mut Vec<u8>) {
    write_number(Sums::of(ex).active, out);
}

/// Writes `$connections_reading`.
fn write_reading(ex: &Exchange, _sent: Sent<'_>, out: &mut Vec<u8>) {
    write_number(Sums::of(ex).reading, out);
}

/// Writes `$connections_writing`.
fn write_writing(ex: &Exchange, _sent: Sent<'_>, out: &mut Vec<u8>) {
    write_number(Sums::of(ex).writing, out);
}

/// Writes `$connections_waiting`.
fn write_waiting(ex: &Exchange, _sent: Sent<'_>, out: &mut Vec<u8>) {
    write_number(Sums::of(ex).waiting(), out);
}
