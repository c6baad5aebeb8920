//! Ranges cut out of answers whose upstream does not do so itself (nginx: proxy_force_ranges).
use crate::backend::files::conditional::{Validators, range_applies};
use crate::backend::files::range::{Ranges, parse};
use crate::clock::parse_http_date;
use crate::error::Result;
use crate::exchange::{Exchange, Response};
use crate::http::body::{Body, Source};
use crate::http::page;
use buchner_wire::headers::HeaderId;
use buchner_wire::method::Method;
use bytes::Bytes;
use std::task::{Context, Poll, ready};

/// Answers with the one range the client asks for, where it does. Several are answered whole, as nginx does.
pub fn cut(ex: &Exchange, mut response: Response) -> Response {
    if response.status != 200 || !matches!(ex.request.method, Method::Get | Method::Head) {
        return response;
    }
    let Some(size) = response.body.length() else { return response };
    let headers = &response.headers;
    let validators = Validators {
        etag: headers.get(HeaderId::Etag),
        modified: headers.get(HeaderId::LastModified).and_then(parse_http_date),
        ..Validators::default()
    };
    let asked = ex.request.headers.get(HeaderId::Range);
    let now = ex.thread.clock.unix_ms() / 1000;
    let Some(range) = asked.filter(|_| range_applies(&ex.request.headers, validators, now)) else {
        response.headers.set(HeaderId::AcceptRanges, b"bytes");
        return response;
    };
    let ranges = match parse(range, size, 1) {
        Ranges::Some(ranges) => ranges,
        Ranges::Unsatisfiable => {
            let mut refusal = page::of_status(ex, 416);
            refusal.headers.set(HeaderId::ContentRange, format!("bytes */{size}").as_bytes());
            return refusal;
        }
        Ranges::Whole => Vec::new(),
    };
    let [range] = ranges.as_slice() else {
        response.headers.set(HeaderId::AcceptRanges, b"bytes");
        return response;
    };
    response.status = 206;
    response.headers.remove(HeaderId::AcceptRanges);
    let place = format!("bytes {}-{}/{size}", range.start, range.end - 1);
    response.headers.set(HeaderId::ContentRange, place.as_bytes());
    let length = range.end - range.start;
    response.body = match response.body {
        Body::Full(bytes) => Body::Full(bytes.slice(range.start as usize..range.end as usize)),
        Body::Stream(source) => Body::Stream(Box::new(Part { source, skip: range.start, left: length })),
        Body::None { .. } => Body::None { length: Some(length) },
        other => other,
    };
    response
}

/// A part of a body. What lies behind it is not read.
struct Part {
    source: Box<dyn Source>,
    skip: u64,
    left: u64,
}

impl Source for Part {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        while self.left > 0 {
            let Some(mut chunk) = ready!(self.source.poll_chunk(cx))? else { break };
            let skipped = self.skip.min(chunk.len() as u64);
            self.skip -= skipped;
            let _ = chunk.split_to(skipped as usize);
            chunk.truncate(chunk.len().min(usize::try_from(self.left).unwrap_or(usize::MAX)));
            self.left -= chunk.len() as u64;
            if !chunk.is_empty() {
                return Poll::Ready(Ok(Some(chunk)));
            }
        }
        Poll::Ready(Ok(None))
    }

    fn length(&self) -> Option<u64> {
        Some(self.left)
    }

    fn flush_each(&self) -> bool {
        self.source.flush_each()
    }
}
