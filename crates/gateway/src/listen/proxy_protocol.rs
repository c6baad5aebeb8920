//! What a proxy of connections says ahead of them (the PROXY protocol), read before anything else of the connection.
use crate::io::stream::Io;
use buchner_wire::proxy_protocol::{MAX_HEADER, ProxyHeader, parse};

/// Reads the header, and of the connection nothing behind it, within so many milliseconds. The error says why there is none; it is
/// `None` for a connection that ended before it sent anything, as those of health checks do.
pub async fn read(io: &Io, timeout_ms: u64) -> Result<ProxyHeader, Option<String>> {
    io.deadline(timeout_ms);
    let mut seen = [0; MAX_HEADER];
    loop {
        let ended = io.sock().readable_or_ended().await.map_err(|_| None)?;
        let length = io.sock().peek(&mut seen).map_err(|_| None)?;
        if let Some((header, length)) = parse(&seen[..length]).map_err(|error| Some(error.to_string()))? {
            io.sock().consume(&mut seen[..length]).map_err(|_| None)?;
            io.no_deadline();
            return Ok(header);
        }
        if io.expired() {
            return Err(Some(format!("no complete PROXY protocol header within {timeout_ms} ms (header_timeout)")));
        }
        if ended {
            let inside = "the connection ended inside its PROXY protocol header";
            return Err((length != 0).then(|| inside.to_owned()));
        }
        io.sock().forget_readiness();
    }
}
