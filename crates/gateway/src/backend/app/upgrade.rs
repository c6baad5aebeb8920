//! An answer that leaves HTTP: the app's socket speaks for itself, its own 101 first.
use super::call::Waiter;
use super::stream;
use crate::body::{Body, Upgraded};
use crate::error::{Error, Kind, Result};
use crate::exchange::{Exchange, Response};
use crate::io::sock::{READ_SIZE, Sock};
use crate::settings::connection;
use buchner_wire::h1::{self, Limits};
use bytes::BytesMut;
use std::os::fd::OwnedFd;

/// Limits of the app's 101.
const LIMITS: Limits =
    Limits { max_head: 64 << 10, max_target: 0, max_field: 32 << 10, max_fields: 100, bare_lf: false };

/// Time a silent tunnel is kept unless `tunnel_timeout` says otherwise.
const IDLE_MS: u64 = 3_600_000;

/// Reads the 101 that the app wrote into its socket.
pub async fn respond(ex: &mut Exchange, waiter: Waiter, socket: OwnedFd) -> Result<Response> {
    let io = ex.thread.io(Sock::Unix(stream(socket.into())?));
    io.deadline(ex.settings().get::<crate::backend::app::Settings>().app_timeout.0);
    let (mut buf, mut scanned) = (BytesMut::new(), 0);
    let head = loop {
        match io.read(&mut buf, READ_SIZE).await {
            Ok(read) if read > 0 => {}
            _ => return Err(invalid("it closed the socket before it had sent a 101 response")),
        }
        match h1::parse_response(&mut buf, &LIMITS, &mut scanned, &ex.request.method) {
            Ok(Some(head)) if head.status == 101 => break head,
            Ok(Some(head)) => {
                return Err(invalid(&format!("it sent a {} through the socket instead of a 101", head.status)));
            }
            Ok(None) => {}
            Err(error) => return Err(invalid(&error.to_string())),
        }
    };
    ex.upstream.status = 101;
    let idle_ms = ex.settings().get::<connection::Settings>().tunnel_timeout.map_or(IDLE_MS, |timeout| timeout.0);
    io.no_deadline();
    // A slot that is held stays this request's until its END: dropping the waiter at the tunnel's end tells it to stop.
    let guard: Option<Box<dyn std::any::Any>> = Some(Box::new(waiter));
    let mut response =
        Response::new(101, Body::Upgraded(Box::new(Upgraded { io, received: buf.freeze(), idle_ms, guard })));
    response.headers = head.headers;
    Ok(response)
}

fn invalid(words: &str) -> Error {
    Error::new(Kind::WorkerInvalid, format!("the app took the connection for an upgrade: {words}"))
}
