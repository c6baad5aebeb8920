//! Interim responses (RFC 9110 section 15.2) that go to the client while the final one is waited for.
use crate::exchange::Interim;
use crate::http::h1::Conn;
use buchner_wire::h1::reason;
use buchner_wire::headers::Headers;

/// The one that asks for a body, and whether somebody listens.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// More than this is not kept for a client that takes nothing: it can do without hints.
const MOST_UNSENT: usize = 16 << 10;

impl Conn {
    /// Sends what the client takes now of an interim response; the rest goes ahead of what is sent next. False: the
    /// connection has failed.
    pub(super) fn send_interim(&self, bytes: &[u8]) -> bool {
        let mut unsent = self.unsent.borrow_mut();
        let data = if unsent.is_empty() { bytes } else { &unsent };
        let Ok(sent) = self.io.stream.try_send(data) else { return false };
        if unsent.is_empty() {
            unsent.extend_from_slice(&bytes[sent..]);
        } else {
            unsent.drain(..sent);
            unsent.extend_from_slice(bytes);
        }
        true
    }
}

impl Interim for Conn {
    fn send(&self, status: u16, headers: &Headers) {
        if self.unsent.borrow().len() > MOST_UNSENT {
            return;
        }
        let mut out = format!("HTTP/1.1 {status} {}\r\n", reason(status)).into_bytes();
        headers.write_to(&mut out);
        out.extend_from_slice(b"\r\n");
        self.send_interim(&out);
    }
}
