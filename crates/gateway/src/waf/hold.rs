//! Responses before the firewall: held until they were judged where they may be blocked, looked at as they pass otherwise.
use crate::body::{Body, Source, next_chunk};
use crate::error::Result;
use crate::exchange::{Exchange, Response};
use crate::page;
use crate::scope::{Filter, Filtered};
use crate::vars;
use crate::waf::inspection::{Firewall, Inspection, block};
use buchner_waf::{Intervention, ResponseHead};
use buchner_wire::headers::{HeaderId, Headers};
use bytes::Bytes;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

impl Filter for Firewall {
    fn apply<'f>(&'f self, ex: &'f Exchange, response: &'f mut Response) -> Filtered<'f> {
        let Some(inspection) = Inspection::of(ex).filter(|inspection| ex.is_main() && !inspection.responded.get())
        else {
            return Filtered::Done;
        };
        inspection.responded.set(true);
        if let Some(found) = head(ex, &inspection, response) {
            return refused(ex, &found);
        }
        let streams =
            response.headers.get(HeaderId::ContentType).is_some_and(|kind| kind.starts_with(b"text/event-stream"));
        if streams || !inspection.transaction.borrow().wants_response_body() {
            let found = inspection.transaction.borrow_mut().process_response_body(b"");
            return found.map_or(Filtered::Done, |found| refused(ex, &found));
        }
        if inspection.may_block() {
            return Filtered::Wait(Box::pin(hold(ex, inspection, response)));
        }
        match std::mem::replace(&mut response.body, Body::EMPTY).into_source() {
            Ok(inner) => {
                response.body =
                    Body::Stream(Box::new(Watched { inner, seen: Vec::new(), inspection: Some(inspection) }));
            }
            Err(body) => {
                response.body = body;
                inspection.transaction.borrow_mut().process_response_body(b"");
            }
        }
        Filtered::Done
    }
}

fn refused<'f>(ex: &Exchange, found: &Intervention) -> Filtered<'f> {
    match block(ex, found) {
        Ok(response) => Filtered::Refused(Box::new(response)),
        Err(error) => Filtered::Refused(Box::new(page::of_status(ex, error.kind.status()))),
    }
}

/// Phase 3.
fn head(ex: &Exchange, inspection: &Inspection, response: &Response) -> Option<Intervention> {
    let headers: Vec<(&[u8], &[u8])> = response.headers.iter().map(|header| (header.name, header.value)).collect();
    let words = if response.reason().is_empty() {
        page::words(ex.scope.gateway.wording, response.status).as_bytes()
    } else {
        response.reason()
    };
    let head = ResponseHead {
        status: response.status,
        protocol: vars::protocol(ex.request.version),
        reason: words,
        headers: &headers,
    };
    inspection.transaction.borrow_mut().process_response_head(&head)
}

/// Reads as much of the body as rules look at, and lets it go or puts another response in its place.
async fn hold(ex: &Exchange, inspection: Rc<Inspection>, response: &mut Response) {
    let limit = inspection.transaction.borrow().response_body_limit().saturating_add(1);
    let mut source = match std::mem::replace(&mut response.body, Body::EMPTY).into_source() {
        Ok(source) => source,
        Err(body) => {
            response.body = body;
            let found = inspection.transaction.borrow_mut().process_response_body(b"");
            return replace(ex, found, response);
        }
    };
    let (mut pieces, mut length, mut whole) = (VecDeque::new(), 0, false);
    while length < limit {
        match next_chunk(&mut *source).await {
            Ok(Some(piece)) => {
                length += piece.len() as u64;
                pieces.push_back(piece);
            }
            Ok(None) => {
                whole = true;
                break;
            }
            Err(error) => {
                *response = page::of_status(ex, error.kind.status());
                return;
            }
        }
    }
    let seen: Vec<u8> = pieces.iter().flat_map(|piece: &Bytes| piece.iter().copied()).collect();
    let found = inspection.transaction.borrow_mut().process_response_body(&seen);
    response.body = if whole && source.trailers().is_none() {
        Body::Full(seen.into())
    } else {
        Body::Stream(Box::new(Held { pieces, inner: source }))
    };
    replace(ex, found, response);
}

fn replace(ex: &Exchange, found: Option<Intervention>, response: &mut Response) {
    if let Some(found) = found {
        *response = block(ex, &found).unwrap_or_else(|error| page::of_status(ex, error.kind.status()));
    }
}

/// A body whose beginning was held.
struct Held {
    pieces: VecDeque<Bytes>,
    inner: Box<dyn Source>,
}

impl Source for Held {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        match self.pieces.pop_front() {
            Some(piece) => Poll::Ready(Ok(Some(piece))),
            None => self.inner.poll_chunk(cx),
        }
    }

    fn length(&self) -> Option<u64> {
        let held: usize = self.pieces.iter().map(Bytes::len).sum();
        self.inner.length().map(|length| length + held as u64)
    }

    fn trailers(&self) -> Option<&Headers> {
        self.inner.trailers()
    }

    fn poll_ahead(&mut self, cx: &mut Context<'_>) {
        self.inner.poll_ahead(cx);
    }

    fn flush_each(&self) -> bool {
        self.inner.flush_each()
    }
}

/// A body that is looked at as it passes.
struct Watched {
    inner: Box<dyn Source>,
    seen: Vec<u8>,
    /// Until it was judged.
    inspection: Option<Rc<Inspection>>,
}

impl Watched {
    fn judge(&mut self) {
        if let Some(inspection) = self.inspection.take() {
            inspection.transaction.borrow_mut().process_response_body(&self.seen);
            self.seen = Vec::new();
        }
    }
}

impl Source for Watched {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        let piece = ready!(self.inner.poll_chunk(cx));
        let Some(inspection) = &self.inspection else { return Poll::Ready(piece) };
        let limit = inspection.transaction.borrow().response_body_limit().saturating_add(1) as usize;
        match &piece {
            Ok(Some(bytes)) if self.seen.len() + bytes.len() < limit => self.seen.extend_from_slice(bytes),
            Ok(Some(bytes)) => {
                self.seen.extend_from_slice(&bytes[..limit - self.seen.len()]);
                self.judge();
            }
            Ok(None) | Err(_) => self.judge(),
        }
        Poll::Ready(piece)
    }

    fn length(&self) -> Option<u64> {
        self.inner.length()
    }

    fn trailers(&self) -> Option<&Headers> {
        self.inner.trailers()
    }

    fn poll_ahead(&mut self, cx: &mut Context<'_>) {
        self.inner.poll_ahead(cx);
    }

    fn flush_each(&self) -> bool {
        self.inner.flush_each()
    }
}
