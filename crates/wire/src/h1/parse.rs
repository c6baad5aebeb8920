//! Heads from bytes.
use super::framing::Notes;
use super::scan::{FirstLine, find_end, method_too_long, target_too_long};
use super::{Framing, H1Error, H1ErrorKind, Limits, MAX_FIELDS, RequestHead, ResponseHead, explain};
use crate::Version;
use crate::headers::{HeaderId, Headers, Received};
use crate::method::{Method, is_tchar};
use crate::path::is_valid_host;
use bytes::{Buf, BytesMut};
use httparse::Status;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Takes the head of a request off the front of `buf`.
///
/// `Ok(None)`: more bytes are needed; call again when they are there. `scanned` remembers in between how far the search has
/// come: 0 for a new head, and 0 again when one was returned. One CR LF in front of the request line is skipped (RFC 9112
/// section 2.2); with [`Limits::bare_lf`] any number of line ends, which are taken off the buffer as they come.
pub fn parse_request(buf: &mut BytesMut, limits: &Limits, scanned: &mut usize) -> Result<Option<RequestHead>, H1Error> {
    if limits.bare_lf && *scanned == 0 {
        skip_line_ends(buf);
    }
    let Some(start) = request_start(buf)? else { return Ok(None) };
    let at_once = if *scanned == 0 && may_be_whole(&buf[start..], limits) {
        // What fails here, two heads for example, is looked at again in order.
        read_request(&buf[start..], limits).ok().map(|parts| (buf.len(), parts))
    } else {
        None
    };
    let (end, parts) = match at_once {
        Some(whole) => whole,
        None => match find_end(buf, start, scanned, limits, FirstLine::Request)? {
            Some(end) => (end, read_request(&buf[start..end], limits)?),
            None => return Ok(None),
        },
    };
    *scanned = 0;
    buf.advance(start);
    let raw = buf.split_to(end - start).freeze();
    Ok(Some(RequestHead {
        method: parts.method.unwrap_or_else(|| Method::Other(raw.slice(..parts.method_len))),
        target: raw.slice(parts.target),
        version: parts.version,
        headers: parts.fields.over(raw),
        framing: parts.framing,
        keep_alive: parts.keep_alive,
        expect_continue: parts.expect_continue,
        upgrade: parts.upgrade,
    }))
}

fn skip_line_ends(buf: &mut BytesMut) {
    loop {
        match buf[..] {
            [b'\r', b'\n', ..] => buf.advance(2),
            [b'\n', ..] => buf.advance(1),
            _ => return,
        }
    }
}

/// Whether `head`, all that was received, looks like one head in which no line can be beyond its limit: the usual case, which
/// needs no search for the end.
#[allow(clippy::needless_bitwise_bool)] // So that it becomes vector instructions.
fn may_be_whole(head: &[u8], limits: &Limits) -> bool {
    head.len() <= limits.max_head().min(limits.max_target).min(limits.max_field)
        && head.ends_with(b"\r\n\r\n")
        && head.iter().zip(&head[1..]).fold(true, |valid, (&byte, &next)| valid & ((next != b'\n') | (byte == b'\r')))
}

/// Where the request line begins; `None` if that can't be told yet.
fn request_start(buf: &[u8]) -> Result<Option<usize>, H1Error> {
    let start = match buf {
        [] | [b'\r'] | [b'\r', b'\n'] => return Ok(None),
        [b'\r', b'\n', ..] => 2,
        [b'\r', ..] => return Err(H1Error::bad(H1ErrorKind::BareCr, "the request begins with CR")),
        _ => 0,
    };
    match buf[start] {
        byte if is_tchar(byte) => Ok(Some(start)),
        0x16 => Err(H1Error::bad(H1ErrorKind::NotHttp, "the client began a TLS handshake on a plain HTTP port")),
        b'\r' | b'\n' => Err(H1Error::bad(H1ErrorKind::RequestLine, "empty lines in front of the request line")),
        byte => Err(H1Error::bad(
            H1ErrorKind::NotHttp,
            format!("the first byte, 0x{byte:02x}, doesn't begin an HTTP request"),
        )),
    }
}

struct RequestParts {
    method: Option<Method>,
    method_len: usize,
    target: Range<usize>,
    version: Version,
    fields: Received,
    framing: Framing,
    keep_alive: bool,
    expect_continue: bool,
    upgrade: bool,
}

fn read_request(head: &[u8], limits: &Limits) -> Result<RequestParts, H1Error> {
    let mut slots = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let slots = &mut slots[..limits.max_fields.min(MAX_FIELDS)];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, slots) {
        Ok(Status::Complete(len)) if len == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(too_many_fields(limits)),
        result => {
            return match as_http_1_1(head, result.err(), |line| line.len().saturating_sub(8)) {
                Some(head) => read_request(&head, limits),
                None => Err(explain::request(head)),
            };
        }
    }
    let (Some(method), Some(target)) = (request.method, request.path) else { return Err(explain::request(head)) };
    if method.len() > 32 {
        return Err(method_too_long());
    }
    if target.len() > limits.max_target {
        return Err(target_too_long(limits));
    }
    let version = if request.version == Some(0) { Version::H10 } else { Version::H11 };
    let (fields, notes) = walk(head, request.headers, limits)?;
    check_host(&notes, version)?;
    if let Some(id) = notes.repeated {
        let message = format!("{} is there more than once", id.name());
        return Err(H1Error::bad(H1ErrorKind::FieldRepeated, message));
    }
    if notes.transfer_encodings > 0 && version == Version::H10 {
        return Err(H1Error::bad(H1ErrorKind::TransferEncodingInHttp10, "Transfer-Encoding in an HTTP/1.0 request"));
    }
    let framing = notes.body()?.unwrap_or(Framing::None);
    Ok(RequestParts {
        method: Method::known(method.as_bytes()),
        method_len: method.len(),
        target: method.len() + 1..method.len() + 1 + target.len(),
        version,
        fields,
        framing,
        keep_alive: notes.keeps_alive(version),
        expect_continue: notes.expect_continue && version == Version::H11,
        upgrade: notes.asks_upgrade(version) && !framing.has_body(),
    })
}

/// Numbers the fields and notes what they say about framing.
fn walk<'a>(head: &[u8], headers: &[httparse::Header<'a>], limits: &Limits) -> Result<(Received, Notes<'a>), H1Error> {
    let base = head.as_ptr() as usize;
    let mut fields = Headers::received(head.len(), headers.len());
    let mut notes = Notes::default();
    for header in headers {
        let name = header.name.as_bytes();
        let id = HeaderId::of(name);
        let name_at = name.as_ptr() as usize - base;
        let value_at = header.value.as_ptr() as usize - base;
        if !fields.add(id, (name_at, name.len()), (value_at, header.value.len())) {
            return Err(H1Error::field_too_large(name, limits.max_field.min(usize::from(u16::MAX))));
        }
        notes.note(id, header.value);
    }
    Ok((fields, notes))
}

/// One valid Host in 1.1, at most one in 1.0 (RFC 9112 section 3.2).
fn check_host(notes: &Notes<'_>, version: Version) -> Result<(), H1Error> {
    match notes.host {
        _ if notes.hosts > 1 => Err(H1Error::bad(H1ErrorKind::HostRepeated, "Host is there more than once")),
        None if version == Version::H11 => Err(H1Error::bad(H1ErrorKind::HostMissing, "HTTP/1.1 without a Host field")),
        Some(host) if !is_valid_host(host) => {
            Err(H1Error::bad(H1ErrorKind::HostInvalid, "Host isn't a host name or address with an optional port"))
        }
        _ => Ok(()),
    }
}

pub(crate) fn too_many_fields(limits: &Limits) -> H1Error {
    let message = format!("more fields than the limit of {}", limits.max_fields.min(MAX_FIELDS));
    H1Error::with_status(431, H1ErrorKind::TooManyFields, message)
}

/// HTTP/1.2 to 1.9 are read as 1.1 (RFC 9110 section 6.2): a copy of the head that says so, if `error` is about the version.
/// `version_at` finds the version in the first line.
fn as_http_1_1(head: &[u8], error: Option<httparse::Error>, version_at: impl Fn(&[u8]) -> usize) -> Option<Vec<u8>> {
    if error != Some(httparse::Error::Version) {
        return None;
    }
    let line = first_line(head);
    let at = version_at(line);
    let minor = line.get(at..at + 8)?.strip_prefix(b"HTTP/1.")?.first()?;
    if !(b'2'..=b'9').contains(minor) {
        return None;
    }
    let mut head = head.to_vec();
    head[at + 7] = b'1';
    Some(head)
}

/// Takes the head of a response to a `request_method` request off the front of `buf`.
///
/// `Ok(None)` and `scanned` as in [`parse_request`]. Informational responses (1xx) come like any other.
pub fn parse_response(
    buf: &mut BytesMut,
    limits: &Limits,
    scanned: &mut usize,
    request_method: &Method,
) -> Result<Option<ResponseHead>, H1Error> {
    let known = buf.len().min(5);
    if buf[..known] != b"HTTP/"[..known] {
        let error = H1Error::bad(H1ErrorKind::NotHttp, "the upstream answered with something that isn't HTTP/1");
        return Err(error.of_upstream());
    }
    if known < 5 {
        return Ok(None);
    }
    let end = find_end(buf, 0, scanned, limits, FirstLine::Field).map_err(H1Error::of_upstream)?;
    let Some(end) = end else { return Ok(None) };
    *scanned = 0;
    let parts = read_response(&buf[..end], limits, request_method).map_err(H1Error::of_upstream)?;
    let raw = buf.split_to(end).freeze();
    Ok(Some(ResponseHead {
        status: parts.status,
        reason: raw.slice(parts.reason),
        version: parts.version,
        headers: parts.fields.over(raw),
        framing: parts.framing,
        keep_alive: parts.keep_alive,
    }))
}

struct ResponseParts {
    status: u16,
    reason: Range<usize>,
    version: Version,
    fields: Received,
    framing: Framing,
    keep_alive: bool,
}

fn read_response(head: &[u8], limits: &Limits, request_method: &Method) -> Result<ResponseParts, H1Error> {
    let mut slots = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let slots = &mut slots[..limits.max_fields.min(MAX_FIELDS)];
    let mut response = httparse::Response::new(&mut []);
    let mut config = httparse::ParserConfig::default();
    config.allow_spaces_after_header_name_in_responses(true);
    match config.parse_response_with_uninit_headers(&mut response, head, slots) {
        Ok(Status::Complete(len)) if len == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(too_many_fields(limits)),
        result => {
            return match as_http_1_1(head, result.err(), |_| 0) {
                Some(head) => read_response(&head, limits, request_method),
                None => Err(explain::response(head)),
            };
        }
    }
    let status = response.code.filter(|&code| code >= 100).ok_or_else(|| explain::response(head))?;
    let version = if response.version == Some(0) { Version::H10 } else { Version::H11 };
    let (fields, notes) = walk(head, response.headers, limits)?;
    let declared = notes.body()?;
    let bodiless = *request_method == Method::Head
        || matches!(status, 100..=199 | 204 | 304)
        || (*request_method == Method::Connect && (200..300).contains(&status));
    let framing = if bodiless { Framing::None } else { declared.unwrap_or(Framing::UntilClose) };
    // A 204 that announces bytes may well send them, where the next response should begin. Transfer-Encoding in 1.0
    // is to be distrusted (RFC 9112 section 6.1).
    let suspect = (status == 204 && declared.is_some_and(Framing::has_body))
        || (version == Version::H10 && declared == Some(Framing::Chunked));
    let leaves_http = status == 101 || (bodiless && *request_method == Method::Connect);
    Ok(ResponseParts {
        status,
        reason: reason_range(head),
        version,
        fields,
        framing,
        keep_alive: notes.keeps_alive(version) && framing != Framing::UntilClose && !suspect && !leaves_http,
    })
}

/// Where the reason phrase is, in a status line known to be valid: behind `HTTP/1.x nnn `. (`httparse` gives an empty one
/// where it isn't ASCII.)
fn reason_range(head: &[u8]) -> Range<usize> {
    const AT: usize = "HTTP/1.1 200 ".len();
    let line = first_line(head).len();
    AT.min(line)..line
}

/// The first line of a complete head, without its end.
fn first_line(head: &[u8]) -> &[u8] {
    let end = head.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(0);
    &head[..end]
}

/// Takes a trailer section with its empty line off the front of `buf` (RFC 9112 section 7.1.2). `Ok(None)` and `scanned` as
/// in [`parse_request`].
pub(crate) fn parse_trailers(
    buf: &mut BytesMut,
    limits: &Limits,
    scanned: &mut usize,
) -> Result<Option<Headers>, H1Error> {
    // No trailers: within any limits, also while only half of the empty line is there.
    if buf.starts_with(b"\r\n") {
        buf.advance(2);
        return Ok(Some(Headers::default()));
    }
    if buf[..] == b"\r"[..] {
        return Ok(None);
    }
    // Chunk framing has CR LF alone, whatever heads have.
    let strict = Limits { bare_lf: false, ..limits.clone() };
    let Some(end) = find_end(buf, 0, scanned, &strict, FirstLine::Field)? else { return Ok(None) };
    *scanned = 0;
    let section = &buf[..end];
    let mut slots = [httparse::EMPTY_HEADER; 64];
    let limit = limits.max_fields.min(slots.len());
    let (fields, _) = read_fields(section, &mut slots[..limit], limits)?;
    let raw = buf.split_to(end).freeze();
    Ok(Some(fields.over(raw)))
}

/// Reads a section of fields with the empty line at its end; `slots` are as many as there may be.
pub(crate) fn read_fields<'a>(
    section: &'a [u8],
    slots: &mut [httparse::Header<'a>],
    limits: &Limits,
) -> Result<(Received, Notes<'a>), H1Error> {
    let most = slots.len();
    match httparse::parse_headers(section, slots) {
        Ok(Status::Complete((length, headers))) if length == section.len() => walk(section, headers, limits),
        Err(httparse::Error::TooManyHeaders) => Err(too_many_fields(&Limits { max_fields: most, ..limits.clone() })),
        _ => Err(explain::fields(section)),
    }
}
