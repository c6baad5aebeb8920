//! Subrequests (nginx: auth_request, mirror, addition): a request the gateway makes of itself on behalf of another.
//!
//! A child walks the same phases with its own path and answer. It has the parent's headers, client and server, and shares the
//! values of variables with it. Its body goes wherever the caller puts it; the access phase and the log are the main request's.
use crate::body::{Body, RequestBody, next_chunk};
use crate::error::{Error, Kind, Result};
use crate::exchange::{Exchange, Request, Response};
use crate::limit::zone::Zones;
use crate::observe::access_log;
use crate::vars::Sent;
use buchner_wire::headers::HeaderId;
use buchner_wire::method::Method;
use std::future::Future;
use std::pin::Pin;

/// How deep subrequests may lie in one another (nginx has the same number).
const MAX_DEPTH: u8 = 50;
/// Bytes of an unwanted answer that are read to keep its connection.
const MAX_DISCARDED: u64 = 64 << 10;

/// Makes a subrequest of `parent` for `uri`, a decoded path with a query behind `?` where there is one. Without a body its method is GET.
pub fn make(parent: &Exchange, uri: &[u8], method: Method, body: RequestBody) -> Result<Exchange> {
    if parent.depth == MAX_DEPTH {
        let cause =
            format!("subrequests lie {MAX_DEPTH} deep in one another, the last for {}", String::from_utf8_lossy(uri));
        return Err(Error::new(Kind::RedirectCycle, cause));
    }
    let request = &parent.request;
    let mut headers = request.headers.clone();
    if body.is_empty() {
        // The length is that of a body that stays with the main request.
        headers.remove(HeaderId::ContentLength);
    }
    let request = Request {
        method,
        target: request.target.clone(),
        path: request.path.clone(),
        query: None,
        version: request.version,
        headers,
        host: request.host.clone(),
        body,
        upgrade: false,
        upgrade_to: bytes::Bytes::new(),
        head_bytes: 0,
    };
    let (thread, plan) = (parent.thread.clone(), parent.scope.clone());
    let mut child = Exchange::new(thread, plan, parent.client.clone(), request, parent.server, parent.id.clone());
    child.local_only = parent.local_only;
    child.set_uri(uri);
    child.values = parent.values.clone();
    child.socket = parent.socket.clone();
    if parent.scope.get::<Zones>().is_some() {
        child.share_limits(parent);
    }
    child.internal = true;
    child.depth = parent.depth + 1;
    Ok(child)
}

/// Walks a subrequest through the phases. Boxed, as it runs within the phases of its parent.
pub fn run(child: &mut Exchange) -> Pin<Box<dyn Future<Output = Response> + '_>> {
    Box::pin(async {
        let walk = child.scope.walk;
        let response = walk(child).await;
        if child.settings().get::<crate::observe::access_log::Settings>().log_subrequest {
            let body_bytes = response.body.length().unwrap_or(0);
            let sent =
                Sent { status: response.status, body_bytes, headers: Some(&response.headers), ..Sent::default() };
            access_log::write(child, sent);
        }
        response
    })
}

/// Reads what is left of an answer that nobody wants, if it is little: then its connection can be used again.
pub async fn discard(response: Response) {
    let Body::Stream(mut source) = response.body else { return };
    if source.length().is_some_and(|length| length <= MAX_DISCARDED) {
        while let Ok(Some(_)) = next_chunk(source.as_mut()).await {}
    }
}
