//! A head that cannot be served: its answer, and its lines in the logs.
use crate::body::RequestBody;
use crate::error::{Error, Kind};
use crate::error_page::Pages;
use crate::exchange::id::RequestId;
use crate::exchange::{Exchange, Request, Response};
use crate::http::h1::Conn;
use crate::http::h1::write::{self, Delivery};
use crate::observe::access_log;
use crate::observe::level::Level;
use crate::page;
use crate::pipeline;
use crate::vars::{Sent, protocol};
use buchner_wire::Version;
use buchner_wire::headers::Headers;
use buchner_wire::method::Method;
use bytes::Bytes;
use std::rc::Rc;

/// Bytes of a request line that are logged; a longer one was refused for its length.
const MAX_LINE: usize = 8 << 10;

/// Why a head is not served, and its first line, as far as it came.
pub struct Refusal {
    error: Error,
    line: Bytes,
}

impl Refusal {
    /// Of a head that could not be read from `received`.
    pub fn unread(error: Error, received: &[u8]) -> Self {
        let start = received.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(received.len());
        let rest = &received[start..];
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len()).min(MAX_LINE);
        let line = &rest[..end];
        Self { error, line: Bytes::copy_from_slice(line.strip_suffix(b"\r").unwrap_or(line)) }
    }

    /// Of a head that was read, yet asks for what is not done here.
    pub fn read(error: Error, method: &Method, target: &[u8], version: Version) -> Self {
        Self { error, line: [method.as_bytes(), b" ", target, b" ", protocol(version)].concat().into() }
    }

    /// The client still sends, so closing at once could take the answer from it.
    pub fn lingers(&self) -> bool {
        self.error.kind != Kind::ClientTimeout
    }
}

/// Responds, with a line in the access log of the address's default server, as nginx has it; the connection closes after it.
pub async fn refuse(conn: &Rc<Conn>, refusal: &Refusal) {
    let mut ex = exchange(conn, refusal);
    ex.thread.metrics.bad_heads.add(1);
    let response = match own_page(&mut ex, &refusal.error).await {
        Some(response) => response,
        None => page::of_bad_head(&ex, &refusal.error),
    };
    let status = response.status;
    ex.log(Level::Notice, &format!("{status}: {}", refusal.error.cause));
    let delivery = Delivery::new(&ex, &response, false);
    let (headers, written, _) = write::response(conn, &ex, response, delivery).await;
    let (body_bytes, bytes) = (written.body, written.total);
    access_log::write(&ex, Sent { status, body_bytes, bytes, complete: true, headers: Some(&headers), trailers: None });
}

/// The `error_page` of the default server for this refusal: asked for by a GET of its own that has nothing of the refused
/// request, and only where this process itself responds. What could not be read reaches no app and no other server.
async fn own_page(ex: &mut Exchange, error: &Error) -> Option<Response> {
    let status = error.kind.status();
    let page = ex.settings().get::<Pages>().0.get(&status)?;
    let uri = page.to.value(ex, Sent { status, ..Sent::default() });
    if !uri.starts_with(b"/") {
        return None;
    }
    let shown = if status == 494 { 400 } else { status };
    let wanted = match page.status {
        Some(0) => None,
        Some(status) => Some(status),
        None => Some(shown),
    };
    let request = ex.request.method.clone();
    ex.request.method = Method::Get;
    ex.set_uri(&uri);
    (ex.internal, ex.in_error_page, ex.local_only, ex.error_status) = (true, true, true, wanted);
    let failure = ex.failure.take();
    let response = pipeline::run(ex).await;
    ex.failure = failure;
    ex.request.method = request;
    (!response.own_error && response.unsent.is_none()).then_some(response)
}

/// What logs can know of such a request.
fn exchange(conn: &Conn, refusal: &Refusal) -> Exchange {
    let thread = conn.io.thread().clone();
    let scope = conn.plan().scope;
    let words: Vec<&[u8]> = refusal.line.split(|byte| *byte == b' ').collect();
    let (method, target, version) = match words[..] {
        [method, target, b"HTTP/1.0"] => (method, target, Version::H10),
        [method, target, _] => (method, target, Version::H11),
        _ => (&b""[..], &b""[..], Version::H11),
    };
    let request = Request {
        method: Method::Other(Bytes::copy_from_slice(method)),
        target: Bytes::copy_from_slice(target),
        path: Bytes::new(),
        query: None,
        version,
        headers: Headers::default(),
        host: Bytes::new(),
        body: RequestBody::Empty,
        upgrade: false,
        upgrade_to: Bytes::new(),
        head_bytes: refusal.line.len() as u64,
    };
    let mut ex = Exchange::new(thread, scope, conn.client(), request, conn.default_server(), RequestId::default());
    ex.line = Some(refusal.line.clone());
    ex.failure = Some(refusal.error.cause.to_string());
    ex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_what_came_of_it() {
        let line = |received: &[u8]| Refusal::unread(Error::client_gone(), received).line;
        assert_eq!(line(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"), "GET / HTTP/1.1");
        assert_eq!(line(b"\r\nGET /\n\n"), "GET /");
        assert_eq!(line(b"GET /half"), "GET /half");
        assert_eq!(line(b"\x16\x03\x01"), &b"\x16\x03\x01"[..]);
        assert_eq!(line(b"\r\n"), "");
        assert_eq!(line(&vec![b'x'; 20_000]).len(), MAX_LINE);
    }
}
