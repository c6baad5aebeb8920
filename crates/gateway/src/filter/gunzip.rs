//! Unpacks gzip answers for clients that do not take them (nginx: the gunzip module).
use crate::error::{Error, Kind, Result};
use crate::exchange::{Exchange, Response};
use crate::filter::body::{self, Transform};
use crate::filter::gzip::{Accepting, vary};
use crate::filter::weaken;
use crate::kept;
use crate::scope::{self, Compiling, Filter, Filtered, Room};
use buchner_wire::headers::HeaderId;
use bytes::{Buf, Bytes};
use flate2::{Decompress, FlushDecompress, Status};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Decompression.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Compressed answers are unpacked for clients that don't take gzip (nginx: `gunzip`). Default: false.
    pub gunzip: bool,
}

kept!(Settings);

/// Decompresses for clients that do not take gzip.
struct Gunzip {
    accepting: Accepting,
}

impl Room for Settings {
    const TITLE: &'static str = "Decompression";

    fn compile(&self, cx: &Compiling<'_>, out: &mut scope::Settings) -> std::result::Result<(), String> {
        if self.gunzip {
            let accepting = Accepting::compile(out.get(), cx.names)?;
            out.filters.push(Box::new(Gunzip { accepting }));
        }
        Ok(())
    }
}

/// The largest window there is.
const WINDOW_BITS: u8 = 15;

impl Gunzip {
    fn change(&self, ex: &Exchange, response: &mut Response) {
        if !is_gzip(response) {
            return;
        }
        vary(ex, response);
        if self.accepting.accepts(ex, &response.headers) {
            return;
        }
        response.headers.remove(HeaderId::ContentEncoding);
        weaken(response);
        body::wrap(response, Unpacker::new());
    }
}

impl Filter for Gunzip {
    fn apply<'f>(&'f self, ex: &'f Exchange, response: &'f mut Response) -> Filtered<'f> {
        self.change(ex, response);
        Filtered::Done
    }
}

fn is_gzip(response: &Response) -> bool {
    response.headers.get(HeaderId::ContentEncoding).is_some_and(|coding| coding.eq_ignore_ascii_case(b"gzip"))
}

/// Bytes unpacked at a time; a client takes them before there are more.
const PIECE: usize = 64 << 10;

/// Unpacks members one after the other.
struct Unpacker {
    inflate: Decompress,
    input: Bytes,
    /// A member has begun, and not ended.
    within: bool,
    /// The last piece filled its room, so there may be more of the same input.
    full: bool,
}

impl Unpacker {
    fn new() -> Self {
        Self { inflate: Decompress::new_gzip(WINDOW_BITS), input: Bytes::new(), within: false, full: false }
    }
}

fn failed(how: impl std::fmt::Display) -> Error {
    Error::new(Kind::UpstreamInvalid, format!("a response with Content-Encoding: gzip cannot be unpacked: {how}"))
        .closing()
}

impl Transform for Unpacker {
    fn push(&mut self, chunk: Bytes, out: &mut Vec<u8>) -> Result<()> {
        self.input = chunk;
        self.more(out)
    }

    fn more(&mut self, out: &mut Vec<u8>) -> Result<()> {
        while out.is_empty() && (self.full || !self.input.is_empty()) {
            if !self.within {
                self.inflate = Decompress::new_gzip(WINDOW_BITS);
                self.within = true;
            }
            out.reserve(if self.full { PIECE } else { (self.input.len() * 4).clamp(1024, PIECE) });
            let before = self.inflate.total_in();
            let status = self.inflate.decompress_vec(&self.input, out, FlushDecompress::Sync).map_err(failed)?;
            let taken = (self.inflate.total_in() - before) as usize;
            self.input.advance(taken);
            self.within = status != Status::StreamEnd;
            self.full = self.within && out.len() == out.capacity();
            if taken == 0 && out.is_empty() && self.within {
                break;
            }
        }
        Ok(())
    }

    fn finish(&mut self, _out: &mut Vec<u8>) -> Result<()> {
        if self.within { Err(failed("it ends too early")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Body;
    use crate::testing::Site;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use serde_json::json;
    use std::io::Write;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn members_and_pieces_of_any_size() {
        let many = vec![b'x'; 300_000];
        let bytes = [packed(b"one "), packed(&many), packed(b""), packed(b"two")].concat();
        let expected = [b"one ".as_slice(), &many, b"two"].concat();
        for size in [1, 7, 1000] {
            let mut unpacker = Unpacker::new();
            let mut all = Vec::new();
            for piece in bytes.chunks(size) {
                let mut out = Vec::new();
                unpacker.push(Bytes::copy_from_slice(piece), &mut out).unwrap();
                while !out.is_empty() {
                    all.append(&mut out);
                    unpacker.more(&mut out).unwrap();
                }
            }
            unpacker.finish(&mut all).unwrap();
            assert!(all == expected, "pieces of {size}");
        }
    }

    #[test]
    fn much_is_unpacked_piece_by_piece() {
        let bytes = packed(&vec![0; 20_000_000]);
        let mut unpacker = Unpacker::new();
        let (mut out, mut all) = (Vec::new(), 0);
        unpacker.push(bytes.into(), &mut out).unwrap();
        while !out.is_empty() {
            assert!(out.capacity() <= 2 * PIECE);
            all += out.len();
            out = Vec::new();
            unpacker.more(&mut out).unwrap();
        }
        unpacker.finish(&mut out).unwrap();
        assert_eq!(all, 20_000_000);
    }

    #[test]
    fn what_is_not_gzip_or_ends_early_is_an_error() {
        let mut unpacker = Unpacker::new();
        let mut out = Vec::new();
        assert!(unpacker.push(Bytes::from_static(b"plain text, no gzip"), &mut out).is_err());
        let bytes = packed(b"one");
        let mut unpacker = Unpacker::new();
        unpacker.push(bytes[..bytes.len() - 1].to_vec().into(), &mut out).unwrap();
        assert!(unpacker.finish(&mut out).is_err());
    }

    fn packed_response(text: &str) -> Response {
        let mut answer = Response::new(200, Body::Full(packed(text.as_bytes()).into()));
        answer.headers.push(HeaderId::ContentEncoding, b"gzip");
        answer.headers.push(HeaderId::Etag, b"\"1\"");
        answer
    }

    #[test]
    fn a_client_that_does_not_take_gzip_gets_it_unpacked() {
        let site = Site::with(json!({"gunzip": true, "gzip_vary": true}));
        let answer = site.filter(&site.exchange("GET /"), packed_response("text"));
        assert_eq!((answer.text(), answer.length), ("text", None));
        assert_eq!((answer.header("Content-Encoding"), answer.header("ETag")), (String::new(), "W/\"1\"".into()));
        assert_eq!(answer.header("Vary"), "Accept-Encoding");
    }

    #[test]
    fn a_client_that_takes_gzip_gets_it_as_it_is() {
        let site = Site::with(json!({"gunzip": true}));
        let answer = site.filter(&site.exchange("GET /\nAccept-Encoding: gzip"), packed_response("text"));
        assert_eq!((answer.header("Content-Encoding"), answer.header("ETag")), ("gzip".into(), "\"1\"".into()));
        assert_eq!(answer.body, packed(b"text"));
    }

    #[test]
    fn a_body_that_is_not_what_it_says_breaks_off() {
        let site = Site::with(json!({"gunzip": true}));
        let mut answer = packed_response("text");
        answer.body = Body::Full("plain".into());
        let answer = site.filter(&site.exchange("GET /"), answer);
        assert_eq!(answer.broken.unwrap().kind, Kind::UpstreamInvalid);
    }
}
