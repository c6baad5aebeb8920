//! A head that cannot be served: its answer, and its lines in the logs.
use crate::body::RequestBody;
use crate::error::Error;
use crate::error_page::Pages;
use crate::exchange::id::RequestId;
use crate::exchange::{Exchange, Request, Response};
use crate::http::connection::Connection;
use crate::http::send;
use crate::http::transaction::Transaction;
use crate::observe::access_log;
use crate::observe::level::Level;
use crate::page;
use crate::pipeline;
use crate::vars::{Sent, protocol};
use buchner_wire::Version;
use buchner_wire::headers::Headers;
use buchner_wire::method::Method;
use bytes::Bytes;

/// Why a head is not served, and its first line, as far as it came.
pub struct Refusal {
    error: Error,
    line: Bytes,
    version: Version,
}

impl Refusal {
    /// Of a head that could not be read: its first line, as far as it came.
    pub fn unread(error: Error, line: Bytes, version: Version) -> Self {
        Self { error, line, version }
    }

    /// Of a head that was read, yet asks for what is not done here.
    pub fn read(error: Error, method: &Method, target: &[u8], version: Version) -> Self {
        let line = [method.as_bytes(), b" ", target, b" ", protocol(version)].concat();
        Self { error, line: line.into(), version }
    }
}

/// Responds, with a line in the access log of the address's default server, as nginx has it; the connection closes after it.
pub(crate) async fn refuse<T: Transaction>(transaction: &mut T, refusal: &Refusal) {
    let mut ex = exchange(transaction.connection(), refusal);
    ex.thread.metrics.bad_heads.add(1);
    let mut response = match own_page(&mut ex, &refusal.error).await {
        Some(response) => response,
        None => page::of_bad_head(&ex, &refusal.error),
    };
    response.close = true;
    let status = response.status;
    ex.log(Level::Notice, &format!("{status}: {}", refusal.error.cause));
    let (headers, written, _) = send::response(transaction, &ex, response).await;
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
fn exchange(connection: &Connection, refusal: &Refusal) -> Exchange {
    let thread = connection.thread().clone();
    let scope = connection.plan().scope;
    let words: Vec<&[u8]> = refusal.line.split(|byte| *byte == b' ').collect();
    let (method, target) = match words[..] {
        [method, target, _] => (method, target),
        _ => (&b""[..], &b""[..]),
    };
    let request = Request {
        method: Method::Other(Bytes::copy_from_slice(method)),
        target: Bytes::copy_from_slice(target),
        path: Bytes::new(),
        query: None,
        version: refusal.version,
        headers: Headers::default(),
        host: Bytes::new(),
        body: RequestBody::Empty,
        upgrade: false,
        upgrade_to: Bytes::new(),
        head_bytes: refusal.line.len() as u64,
    };
    let mut ex =
        Exchange::new(thread, scope, connection.client(), request, connection.default_server(), RequestId::default());
    ex.line = Some(refusal.line.clone());
    ex.failure = Some(refusal.error.cause.to_string());
    ex
}
