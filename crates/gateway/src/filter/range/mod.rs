//! Ranges of answers (nginx: the range filter, `max_ranges`, `proxy_force_ranges`): it comes behind all filters that change
//! a body, and cuts what these made, where its length is known.
mod parse;

use crate::body::{Body, Part, Source};
use crate::error::Result;
use crate::exchange::conditions::Dialect;
use crate::exchange::{Exchange, Response};
use crate::filter::conditional::{Validators, counts, range_applies};
use crate::kept;
use crate::page;
use crate::scope::{self, Compiling, Filter, Filtered, Room};
use buchner_wire::headers::{HeaderId, Headers};
use buchner_wire::method::Method;
use bytes::Bytes;
use parse::{Ranges, parse};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;
use std::task::{Context, Poll, ready};

/// None: the content says how many ranges it has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {}

kept!(Settings);

impl Room for Settings {
    const TITLE: &'static str = "Ranges";

    fn compile(&self, _: &Compiling<'_>, out: &mut scope::Settings) -> std::result::Result<(), String> {
        out.filters.push(Box::new(Cut));
        Ok(())
    }
}

/// Cuts ranges out of bodies.
struct Cut;

impl Filter for Cut {
    fn apply<'f>(&'f self, ex: &'f Exchange, response: &'f mut Response) -> Filtered<'f> {
        if response.max_ranges == 0 {
            return Filtered::Done;
        }
        apply(ex, response).map_or(Filtered::Done, |refusal| Filtered::Refused(Box::new(refusal)))
    }
}

/// Cuts what the client asks for out of the body of a response that has ranges. Returns the answer in its place, if there
/// is none of it (416).
fn apply(ex: &Exchange, response: &mut Response) -> Option<Response> {
    if !counts(ex, response) {
        return None;
    }
    let size = response.body.length()?;
    match asked(ex, response, size) {
        Ranges::Some(ranges) if cut(response, &ranges, size) => None,
        Ranges::Unsatisfiable => {
            let mut refusal = page::of_status(ex, 416);
            refusal.headers.push(HeaderId::ContentRange, format!("bytes */{size}").as_bytes());
            Some(refusal)
        }
        _ => {
            if !response.headers.contains(HeaderId::AcceptRanges) {
                response.headers.push(HeaderId::AcceptRanges, b"bytes");
            }
            None
        }
    }
}

fn asked(ex: &Exchange, response: &Response, size: u64) -> Ranges {
    let request = &ex.request;
    let dialect = ex.scope.gateway.conditions;
    let Some(value) = request.headers.get(HeaderId::Range) else { return Ranges::Whole };
    // RFC 9110 section 14.2: GET is the only method with ranges.
    if request.method != Method::Get && dialect == Dialect::Rfc9110 {
        return Ranges::Whole;
    }
    let now = ex.thread.clock.unix_ms() / 1000;
    if !range_applies(&request.headers, Validators::of(&response.headers), now, dialect) {
        return Ranges::Whole;
    }
    parse(value, size, response.max_ranges, dialect)
}

/// Makes a response of `size` bytes one of parts of it, if its body can be cut like that.
fn cut(response: &mut Response, ranges: &[Range<u64>], size: u64) -> bool {
    if ranges.len() > 1 && matches!(response.body, Body::Stream(_) | Body::Upgraded(_)) {
        return false;
    }
    response.status = 206;
    // Whoever got a part knows that there are parts.
    response.headers.remove(HeaderId::AcceptRanges);
    let pieces = match ranges {
        [range] => {
            response.headers.set(HeaderId::ContentRange, content_range(range, size).as_bytes());
            vec![Piece::Range(range.clone())]
        }
        ranges => multipart(ranges, size, &mut response.headers),
    };
    let length = pieces.iter().map(Piece::len).sum();
    response.body = match std::mem::replace(&mut response.body, Body::EMPTY) {
        Body::Full(bytes) => parts_of(&[Part::Bytes(bytes)], pieces),
        Body::Parts(parts) => parts_of(&parts, pieces),
        Body::Stream(source) => {
            let skip = ranges.first().map_or(0, |range| range.start);
            Body::Stream(Box::new(Section { source, skip, left: length }))
        }
        Body::None { .. } => Body::None { length: Some(length) },
        upgraded @ Body::Upgraded(_) => upgraded,
    };
    true
}

/// What an answer in parts is made of.
enum Piece {
    /// Bytes between the parts.
    Text(String),
    /// A part of the whole.
    Range(Range<u64>),
}

impl Piece {
    fn len(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Range(range) => range.end - range.start,
        }
    }
}

fn content_range(range: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", range.start, range.end - 1)
}

/// `multipart/byteranges` (RFC 9110 section 14.6): the content's own type moves into the parts.
fn multipart(ranges: &[Range<u64>], size: u64, headers: &mut Headers) -> Vec<Piece> {
    let boundary = boundary();
    let content_type = match headers.get(HeaderId::ContentType) {
        Some(value) => format!("Content-Type: {}\r\n", String::from_utf8_lossy(value)),
        None => String::new(),
    };
    let mut pieces = Vec::with_capacity(ranges.len() * 2 + 1);
    for range in ranges {
        let place = content_range(range, size);
        pieces.push(Piece::Text(format!("\r\n--{boundary}\r\n{content_type}Content-Range: {place}\r\n\r\n")));
        pieces.push(Piece::Range(range.clone()));
    }
    pieces.push(Piece::Text(format!("\r\n--{boundary}--\r\n")));
    headers.set(HeaderId::ContentType, format!("multipart/byteranges; boundary={boundary}").as_bytes());
    pieces
}

/// A line that no file contains, for nobody can guess it: twenty digits, as nginx has them, so that lengths are the same.
fn boundary() -> String {
    format!("{:020}", RandomState::new().build_hasher().finish())
}

fn parts_of(whole: &[Part], pieces: Vec<Piece>) -> Body {
    let mut parts = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match piece {
            Piece::Text(text) => parts.push(Part::Bytes(text.into())),
            Piece::Range(range) => slice(whole, &range, &mut parts),
        }
    }
    Body::Parts(parts)
}

/// Appends the bytes of a range that lies within the parts.
fn slice(whole: &[Part], range: &Range<u64>, out: &mut Vec<Part>) {
    let mut begin = 0;
    for part in whole {
        let end = begin + part.len();
        let (from, to) = (range.start.max(begin), range.end.min(end));
        if from < to {
            out.push(match part {
                Part::Bytes(bytes) => Part::Bytes(bytes.slice((from - begin) as usize..(to - begin) as usize)),
                Part::File { file, offset, .. } => {
                    Part::File { file: file.clone(), offset: offset + (from - begin), length: to - from }
                }
            });
        }
        begin = end;
    }
}

/// A part of a body. What lies behind it is not read.
struct Section {
    source: Box<dyn Source>,
    skip: u64,
    left: u64,
}

impl Source for Section {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::files::testing::TempDir;
    use crate::testing::{Answer, Site, response};
    use serde_json::json;
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::rc::Rc;

    /// Twenty bytes: half of them in memory, half of them in a file.
    fn whole(temp: &TempDir) -> Response {
        temp.write("f", b"..klmnopqrst..");
        let file = Rc::new(File::open(temp.path().join("f")).unwrap());
        let parts = vec![Part::Bytes(Bytes::from_static(b"abcdefghij")), Part::File { file, offset: 2, length: 10 }];
        let mut response = Response::new(200, Body::Parts(parts));
        response.headers.push(HeaderId::ContentType, b"text/plain");
        response.headers.push(HeaderId::AcceptRanges, b"bytes");
        response
    }

    fn content(body: &Body) -> String {
        let Body::Parts(parts) = body else { unreachable!() };
        let part = |part: &Part| match part {
            Part::Bytes(bytes) => bytes.to_vec(),
            Part::File { file, offset, length } => {
                let mut bytes = vec![0; *length as usize];
                file.read_exact_at(&mut bytes, *offset).unwrap();
                bytes
            }
        };
        String::from_utf8(parts.iter().flat_map(part).collect()).unwrap()
    }

    fn get(response: &Response, id: HeaderId) -> String {
        String::from_utf8_lossy(response.headers.get(id).unwrap_or_default()).into_owned()
    }

    #[test]
    fn one_range_is_cut_out_of_memory_and_of_files() {
        let temp = TempDir::new();
        for (range, expected) in
            [(0..1, "a"), (8..12, "ijkl"), (10..20, "klmnopqrst"), (19..20, "t"), (0..20, "abcdefghijklmnopqrst")]
        {
            let mut response = whole(&temp);
            assert!(cut(&mut response, std::slice::from_ref(&range), 20));
            assert_eq!((response.status, content(&response.body).as_str()), (206, expected));
            assert_eq!(get(&response, HeaderId::ContentRange), format!("bytes {}-{}/20", range.start, range.end - 1));
            assert!(!response.headers.contains(HeaderId::AcceptRanges));
        }
    }

    #[test]
    fn several_ranges_are_a_multipart_of_the_length_it_has() {
        let temp = TempDir::new();
        let mut response = whole(&temp);
        assert!(cut(&mut response, &[9..11, 0..2], 20));
        let kind = get(&response, HeaderId::ContentType);
        let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
        let part = |range: &str, content: &str| {
            format!("\r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes {range}/20\r\n\r\n{content}")
        };
        let expected = [part("9-10", "jk"), part("0-1", "ab"), format!("\r\n--{boundary}--\r\n")].concat();
        assert_eq!(content(&response.body), expected);
        assert_eq!(response.body.length(), Some(expected.len() as u64));
        assert!(!response.headers.contains(HeaderId::ContentRange));
        assert_ne!(super::boundary(), super::boundary());
    }

    #[test]
    fn several_ranges_of_a_stream_are_not_cut() {
        let temp = TempDir::new();
        let mut response = whole(&temp);
        response.body = Body::Stream(response.body.into_source().ok().unwrap());
        assert!(!cut(&mut response, &[0..1, 2..3], 20));
        assert_eq!((response.status, response.body.length()), (200, Some(20)));
        assert!(cut(&mut response, std::slice::from_ref(&(2..3)), 20));
        assert_eq!((response.status, response.body.length()), (206, Some(1)));
    }

    /// What a client gets of ten bytes that have at most two ranges.
    fn ten(request: &str) -> Answer {
        let site = Site::with(json!({}));
        let mut whole = response(200, "text/plain", "0123456789");
        whole.max_ranges = 2;
        whole.headers.push(HeaderId::Etag, b"\"1\"");
        site.filter(&site.exchange(request), whole)
    }

    #[test]
    fn a_range_is_cut_out_of_a_body() {
        let answer = ten("GET /\nRange: bytes=2-4");
        assert_eq!((answer.status, answer.text(), answer.length), (206, "234", Some(3)));
        assert_eq!(
            (answer.header("Content-Range"), answer.header("Accept-Ranges")),
            ("bytes 2-4/10".into(), String::new())
        );
    }

    #[test]
    fn two_ranges_are_parts_with_the_type_of_the_whole() {
        let answer = ten("GET /\nRange: bytes=0-0,-2");
        let kind = answer.header("Content-Type");
        let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
        let part = |range: &str, text: &str| {
            format!("\r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes {range}/10\r\n\r\n{text}")
        };
        assert_eq!(answer.text(), [part("0-0", "0"), part("8-9", "89"), format!("\r\n--{boundary}--\r\n")].concat());
        assert_eq!(answer.length, Some(answer.body.len() as u64));
    }

    #[test]
    fn what_is_no_range_of_this_body_is_sent_whole_or_refused() {
        for (request, status) in [
            ("GET /", 200),
            ("GET /\nRange: lines=1-2", 200),
            ("GET /\nRange: bytes=0-1,3-4,6-7", 200),
            ("HEAD /\nRange: bytes=0-1", 200),
            ("POST /\nRange: bytes=0-1", 200),
            ("GET /\nRange: bytes=0-1\nIf-Range: \"2\"", 200),
            ("GET /\nRange: bytes=0-1\nIf-Range: \"1\"", 206),
            ("GET /\nRange: bytes=10-", 416),
        ] {
            assert_eq!(ten(request).status, status, "{request}");
        }
        assert_eq!(ten("GET /").header("Accept-Ranges"), "bytes");
        assert_eq!(ten("GET /\nRange: bytes=10-").header("Content-Range"), "bytes */10");
    }

    #[test]
    fn a_response_without_ranges_says_nothing_of_them() {
        let site = Site::with(json!({}));
        let answer = site.filter(&site.exchange("GET /\nRange: bytes=0-1"), response(200, "text/plain", "0123"));
        assert_eq!((answer.status, answer.header("Accept-Ranges")), (200, String::new()));
    }
}
