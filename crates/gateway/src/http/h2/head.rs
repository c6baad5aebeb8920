//! The head of a request as `h2` has read it.
use crate::error::{Error, Kind};
use crate::http::head::Head;
use crate::http::refuse::Refusal;
use crate::plan::Listener;
use crate::random::random;
use ::h2::ext::Protocol;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use buchner_wire::Version;
use buchner_wire::h2::Section;
use buchner_wire::headers::Headers;
use buchner_wire::method::Method;
use bytes::Bytes;
use http::request::Parts;

/// The longest method, as in HTTP/1.
const MAX_METHOD: usize = 32;

/// Reads a head of so many bytes, within the limits of its listener.
pub(super) fn read(parts: &Parts, bytes: u64, listener: &Listener) -> Result<Head, Refusal> {
    let name = parts.method.as_str().as_bytes();
    let authority = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let protocol = parts.extensions.get::<Protocol>();
    // CONNECT has no path unless it is for a protocol (RFC 9113 section 8.5).
    let path = parts.uri.path_and_query().map(|path| path.as_str().as_bytes());
    let target = Bytes::copy_from_slice(path.or(authority).unwrap_or_default());
    let method = match Method::from_bytes(name) {
        Some(method) if name.len() <= MAX_METHOD => method,
        _ => {
            let error = Error::new(Kind::BadRequest(501), "the method is longer than 32 bytes");
            return Err(Refusal::read(error, &Method::Get, &target, Version::H2));
        }
    };
    let section = Section::new(&listener.limits, &target, authority.unwrap_or_default(), parts.headers.len());
    let fields = section.and_then(|mut section| {
        for (name, value) in &parts.headers {
            section.add(name.as_str().as_bytes(), value.as_bytes())?;
        }
        section.end(authority)
    });
    let fields = fields.map_err(|mut error| {
        if error.status == 431 {
            error.status = listener.head.large_fields_status;
        }
        Refusal::read(error.into(), &method, &target, Version::H2)
    })?;
    let mut headers = fields.headers;
    let upgrade = protocol.map(|protocol| Bytes::copy_from_slice(protocol.as_str().as_bytes()));
    if upgrade.as_ref().is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket")) {
        add_key(&mut headers);
    }
    Ok(Head {
        method,
        target,
        authority: authority.map(Bytes::copy_from_slice),
        version: Version::H2,
        headers,
        upgrade,
        expect_continue: fields.expect_continue,
        bytes: if bytes == 0 { fields.bytes as u64 } else { bytes },
    })
}

/// WebSocket in HTTP/2 has no Sec-WebSocket-Key (RFC 8441 section 5), and servers that speak HTTP/1 want one.
fn add_key(headers: &mut Headers) {
    let key = [random().to_be_bytes(), random().to_be_bytes()].concat();
    headers.remove_name(b"sec-websocket-key");
    headers.push_name(b"Sec-WebSocket-Key", BASE64_STANDARD.encode(key).as_bytes());
}
