//! The head of a CGI response (RFC 3875 section 6), as applications send it over FastCGI, SCGI and uwsgi.
//!
//! Laws:
//! - `Status` says the status; without it a `Location` means 302 and anything else 200, as nginx has it.
//! - A head that begins with `HTTP/` is one of HTTP/1 (uWSGI sends those, and scripts of the "no parsed headers" kind).
//! - Lines end with CR LF or with LF alone, all of them with the same.
use crate::Version;
use crate::h1::{self, FirstLine, Framing, H1Error, H1ErrorKind, Limits, ResponseHead};
use crate::headers::HeaderId;
use crate::malformed::Malformed;
use crate::method::Method;
use bytes::{Bytes, BytesMut};

/// Fields of a head at most.
const MAX_FIELDS: usize = 256;

/// Takes the head of a response to a `request_method` request off the front of `buf`.
///
/// `Ok(None)`: more bytes are needed. `scanned` is where the search for the end goes on, 0 at first; it is the caller's to keep.
/// The connection never carries another response behind this one, as far as the head can tell.
pub fn parse_response(
    buf: &mut BytesMut,
    limits: &Limits,
    scanned: &mut usize,
    request_method: &Method,
) -> Result<Option<ResponseHead>, Malformed> {
    let known = buf.len().min(5);
    if buf[..known] == b"HTTP/"[..known] {
        if known < 5 {
            return Ok(None);
        }
        let head = h1::parse_response(buf, limits, scanned, request_method)?;
        return Ok(head.map(|head| ResponseHead { keep_alive: false, ..head }));
    }
    let end = h1::scan::find_end(buf, 0, scanned, limits, FirstLine::Field)?;
    let Some(end) = end else { return Ok(None) };
    *scanned = 0;
    let (fields, declared) = read(&buf[..end], limits)?;
    let mut headers = fields.over(buf.split_to(end).freeze());
    let (status, reason) = match headers.get_name(b"status") {
        Some(value) => status(value)?,
        None if headers.contains(HeaderId::Location) => (302, Bytes::new()),
        None => (200, Bytes::new()),
    };
    headers.remove_name(b"status");
    let bodiless = *request_method == Method::Head || matches!(status, 100..=199 | 204 | 304);
    let framing = if bodiless { Framing::None } else { declared.unwrap_or(Framing::UntilClose) };
    Ok(Some(ResponseHead { status, reason, version: Version::H11, headers, framing, keep_alive: false }))
}

/// The fields of a section, and the framing they say.
fn read(section: &[u8], limits: &Limits) -> Result<(crate::headers::Received, Option<Framing>), H1Error> {
    let mut slots = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let limit = limits.max_fields.min(MAX_FIELDS);
    let (fields, notes) = h1::read_fields(section, &mut slots[..limit], limits)?;
    if notes.transfer_encodings > 0 {
        let message = "Transfer-Encoding in a CGI response, whose framing is not the application's to say";
        return Err(H1Error::bad(H1ErrorKind::TransferEncoding, message));
    }
    Ok((fields, notes.body()?))
}

/// The status and the reason of `404 Not Found`.
fn status(value: &[u8]) -> Result<(u16, Bytes), Malformed> {
    let (digits, rest) = value.split_at_checked(3).unwrap_or((value, b""));
    let number =
        digits.iter().try_fold(0u16, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u16::from(digit - b'0')));
    match number.filter(|status| digits.len() == 3 && *status >= 100) {
        Some(status) if rest.is_empty() || rest[0] == b' ' => Ok((status, Bytes::copy_from_slice(rest.trim_ascii()))),
        _ => Err(Malformed::new(format!(
            "Status is {:?}, not three digits and a reason",
            String::from_utf8_lossy(value)
        ))),
    }
}

#[cfg(test)]
mod tests;
