//! Interim answers (RFC 9110 section 15.2) that go to the client while the final one is waited for.
use crate::exchange;
use crate::http::h1::Conn;
use buchner_wire::h1::reason;
use buchner_wire::headers::Headers;
use std::cell::RefCell;
use std::rc::Rc;

/// More than this is not kept for a client that takes nothing: it can do without hints.
const MOST_UNSENT: usize = 16 << 10;

/// The way to the client for interim answers.
pub struct Interim {
    conn: Rc<Conn>,
    /// What the socket has not taken yet; it goes in front of the final answer.
    unsent: RefCell<Vec<u8>>,
}

impl Interim {
    /// The way to the client of a connection.
    pub fn new(conn: Rc<Conn>) -> Self {
        Self { conn, unsent: RefCell::default() }
    }
}

impl exchange::Interim for Interim {
    fn send(&self, status: u16, headers: &Headers) {
        let mut unsent = self.unsent.borrow_mut();
        if unsent.len() > MOST_UNSENT {
            return;
        }
        unsent.extend_from_slice(format!("HTTP/1.1 {status} {}\r\n", reason(status)).as_bytes());
        headers.write_to(&mut unsent);
        unsent.extend_from_slice(b"\r\n");
        let sent = self.conn.io.sock.send_some(&unsent);
        unsent.drain(..sent);
    }

    fn rest(&self) -> Vec<u8> {
        self.unsent.take()
    }
}
