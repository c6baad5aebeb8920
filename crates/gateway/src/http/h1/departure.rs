//! A client that leaves while its request is served: nobody is there to answer, so the work for it ends.
use crate::http::h1::Conn;
use crate::http::h1::interim::CONTINUE;
use std::cell::Cell;
use std::time::Duration;

/// From the end of what a client sends to the first probe. Each further wait is twice as long …
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// … up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(8);
/// Time for the reset that a probe draws from a socket that is closed.
const ECHO: Duration = Duration::from_millis(50);
/// Zeros in front of one chunk's size: with its own eight digits fewer than the 16 that readers of chunks take.
const MOST_ZEROS: u64 = 6;

/// Ends when the client has closed its connection. The body of its request is not touched: until that is read, this waits.
///
/// A FIN says only that the client sends no more: it may have closed its half and wait for the answer. A closed socket
/// answers whatever is sent to it with a reset, so a client that may get interim responses (`interim`: HTTP/1.1) is sent one.
pub async fn left(conn: &Conn, interim: bool) {
    if !ended(conn).await {
        return;
    }
    if !interim {
        return std::future::pending().await;
    }
    let mut wait = FIRST_WAIT;
    loop {
        tokio::time::sleep(wait).await;
        // A client that did not ask for it discards it (RFC 9110 section 15.2.1).
        if !conn.send_interim(CONTINUE) {
            return;
        }
        tokio::time::sleep(ECHO).await;
        if conn.io.sock().has_failed() {
            return;
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Resolves when the client has closed its connection in the middle of a response that is silent for now.
///
/// Here too a FIN says only that the client sends no more. Between two chunks the one thing that may be sent to ask is a
/// leading zero of the next chunk's size (RFC 9112 section 7.1: `1*HEXDIG`); `probes` counts them. Without chunks it is the
/// kernel that asks.
pub async fn left_midway(conn: &Conn, chunked: bool, probes: &Cell<u64>) {
    if !ended(conn).await {
        return;
    }
    if !chunked {
        conn.io.sock().ask_often();
    }
    let mut wait = FIRST_WAIT;
    loop {
        tokio::time::sleep(wait).await;
        if chunked && probes.get() < MOST_ZEROS {
            let Ok(sent) = conn.io.stream.try_send(b"0") else { return };
            probes.set(probes.get() + sent as u64);
            tokio::time::sleep(ECHO).await;
        }
        if conn.io.sock().has_failed() {
            return;
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Waits for the end of what the client sends; what it sends ahead waits in the buffer. False: it was a reset.
async fn ended(conn: &Conn) -> bool {
    loop {
        match std::future::poll_fn(|cx| conn.poll_ahead(cx)).await {
            Ok(0) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}
