//! Unpacks gzip answers for clients that do not take them (nginx: the gunzip module).
use crate::error::{Error, Kind, Result};
use crate::exchange::{Exchange, Response};
use crate::filter::body::{self, Transform};
use crate::filter::{vary, weaken};
use buchner_wire::headers::HeaderId;
use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use std::io::Write;

/// Whether [`apply`] would change the body.
pub fn applies(ex: &Exchange, response: &Response) -> bool {
    let filters = &ex.settings().filters;
    let Some(accepting) = filters.accepting.as_ref().filter(|_| ex.settings().gunzip) else { return false };
    is_gzip(response) && !accepting.accepts(ex, &response.headers)
}

/// Unpacks the body.
pub fn apply(ex: &Exchange, response: &mut Response) {
    if !ex.settings().gunzip || !is_gzip(response) {
        return;
    }
    vary(ex, response);
    if !applies(ex, response) {
        return;
    }
    response.headers.remove(HeaderId::ContentEncoding);
    weaken(response);
    body::wrap(response, Unpacker(MultiGzDecoder::new(Vec::new())));
}

fn is_gzip(response: &Response) -> bool {
    response.headers.get(HeaderId::ContentEncoding).is_some_and(|coding| coding.eq_ignore_ascii_case(b"gzip"))
}

struct Unpacker(MultiGzDecoder<Vec<u8>>);

fn failed(error: &std::io::Error) -> Error {
    Error::new(Kind::UpstreamInvalid, format!("an answer with Content-Encoding: gzip cannot be unpacked: {error}"))
        .closing()
}

impl Transform for Unpacker {
    fn push(&mut self, chunk: Bytes, out: &mut Vec<u8>) -> Result<()> {
        self.0.write_all(&chunk).map_err(|e| failed(&e))?;
        out.append(self.0.get_mut());
        Ok(())
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.0.flush().map_err(|e| failed(&e))?;
        out.append(self.0.get_mut());
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.0.try_finish().map_err(|e| failed(&e))?;
        out.append(self.0.get_mut());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn members_and_pieces_of_any_size() {
        let bytes = [packed(b"one "), packed(b"two")].concat();
        for size in [1, 7, 1000] {
            let mut unpacker = Unpacker(MultiGzDecoder::new(Vec::new()));
            let mut out = Vec::new();
            for piece in bytes.chunks(size) {
                unpacker.push(Bytes::copy_from_slice(piece), &mut out).unwrap();
            }
            unpacker.finish(&mut out).unwrap();
            assert_eq!(out, b"one two", "pieces of {size}");
        }
    }

    #[test]
    fn what_is_not_gzip_is_an_error() {
        let mut unpacker = Unpacker(MultiGzDecoder::new(Vec::new()));
        let mut out = Vec::new();
        let failed = unpacker.push(Bytes::from_static(b"plain text, no gzip"), &mut out).is_err();
        assert!(failed || unpacker.finish(&mut out).is_err());
    }
}
