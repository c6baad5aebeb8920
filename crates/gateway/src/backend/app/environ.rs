//! The environ pairs of a request (PEP 3333; CGI 1.1, RFC 3875), made once so that Python parses no HTTP.
use super::told::{self, Told};
use crate::body::RequestBody;
use crate::error::Result;
use crate::exchange::Exchange;
use crate::net::peer::Peer;
use crate::text;
use crate::tls::variables as tls;
use crate::waf::variables as waf;
use buchner_wire::headers::{Header, HeaderId, speaks_for_client};
use buchner_wire::path::with_empty_segments;
use buchner_wire::slot::{RequestWriter, UNKNOWN_LENGTH, key};
use buchner_wire::target;
use std::borrow::Cow;

/// Writes the REQUEST frame, without a claim; `flags` and `inline` are of the body.
pub fn write(ex: &Exchange, mount: &[u8], flags: u16, inline: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let length = ex.request.body.length();
    let path = path_of(ex)?;
    let told = told::of(ex);
    let mut writer = RequestWriter::new(out, length.unwrap_or(UNKNOWN_LENGTH));
    write_line(ex, mount, &path, told.as_ref(), &mut writer);
    write_peers(ex, told.as_ref(), &mut writer);
    let mut text = Vec::with_capacity(64);
    let has_body = !matches!(ex.request.body, RequestBody::Empty);
    if let Some(length) = length.filter(|_| has_body || ex.request.headers.contains(HeaderId::ContentLength)) {
        text::write_number(length, &mut text);
        writer.known(const { key("CONTENT_LENGTH") }, &text);
    }
    write_headers(ex, told.as_ref(), &mut writer);
    if let Some(tls) = &ex.client.tls {
        tls::environ(tls, |name, value| writer.pair(name.as_bytes(), value));
    }
    waf::environ(ex, |name, value| writer.pair(name.as_bytes(), value));
    text.clear();
    ex.id.write(&mut text);
    writer.known(const { key("HTTP_X_REQUEST_ID") }, &text);
    if !ex.request.headers.contains(HeaderId::Traceparent) {
        text.clear();
        ex.id.write_traceparent(&mut text);
        writer.known(const { key("HTTP_TRACEPARENT") }, &text);
    }
    if let Some(protocols) = ex.upgrade() {
        writer.known(const { key("HTTP_CONNECTION") }, b"Upgrade");
        writer.known(const { key("HTTP_UPGRADE") }, &protocols);
    }
    writer.finish(flags, inline);
    Ok(())
}

/// The path as the app is told it: routes were chosen with slashes merged, but an app may want its empty segments
/// (`/proxy/http://example.com/`).
fn path_of(ex: &Exchange) -> Result<Cow<'_, [u8]>> {
    let request = &ex.request;
    if !ex.as_sent || !request.target.starts_with(b"/") {
        return Ok(Cow::Borrowed(&request.path));
    }
    let end = request.target.iter().position(|&byte| byte == b'?').unwrap_or(request.target.len());
    let path = with_empty_segments(&request.target[..end], &request.path)?;
    Ok(path.map_or(Cow::Borrowed(&request.path), Cow::Owned))
}

/// What follows `mount` in a path, whose slashes may be repeated.
fn below<'p>(path: &'p [u8], mount: &[u8]) -> Option<&'p [u8]> {
    let mut rest = path;
    for &byte in mount {
        rest = rest.strip_prefix(&[byte])?;
        while byte == b'/' && rest.first() == Some(&b'/') {
            rest = &rest[1..];
        }
    }
    (rest.is_empty() || rest[0] == b'/').then_some(rest)
}

fn write_line(ex: &Exchange, mount: &[u8], path: &[u8], told: Option<&Told>, writer: &mut RequestWriter<'_>) {
    let request = &ex.request;
    let (script, path) = below(path, mount).map_or((&b""[..], path), |rest| (mount, rest));
    writer.known(const { key("REQUEST_METHOD") }, request.method.as_bytes());
    match told.map(|told| &told.prefix[..]).filter(|prefix| *prefix != script) {
        Some(prefix) => writer.known(const { key("SCRIPT_NAME") }, &[prefix, script].concat()),
        None => writer.known(const { key("SCRIPT_NAME") }, script),
    }
    writer.known(const { key("PATH_INFO") }, path);
    writer.known(const { key("QUERY_STRING") }, &target::encode(request.query.as_deref().unwrap_or_default()));
    writer.known(const { key("REQUEST_URI") }, &request.target);
    writer.known(const { key("RAW_URI") }, &request.target);
    writer.known(const { key("SERVER_PROTOCOL") }, request.version.name().as_bytes());
    writer.known(const { key("wsgi.url_scheme") }, ex.scheme().as_bytes());
}

fn write_peers(ex: &Exchange, told: Option<&Told>, writer: &mut RequestWriter<'_>) {
    let mut text = Vec::with_capacity(48);
    if ex.client.addr != Peer::Unix {
        text::write_addr(&ex.client.addr, &mut text);
    }
    writer.known(const { key("REMOTE_ADDR") }, &text);
    text.clear();
    if ex.client.addr != Peer::Unix {
        text::write_number(u64::from(ex.client.addr.port()), &mut text);
    }
    writer.known(const { key("REMOTE_PORT") }, &text);
    text.clear();
    // The host the client named; its port where it named one (PEP 3333, "URL reconstruction").
    let host = told.and_then(|told| told.host.as_deref());
    let name = host.map_or(&ex.request.host[..], told::name_of);
    let host = host.or_else(|| ex.request.headers.get(HeaderId::Host)).unwrap_or_default();
    let port = told.and_then(|told| told.port.as_deref()).or_else(|| port_of(host));
    if name.is_empty() {
        match ex.client.local.ip() {
            Some(_) => text::write_addr(&ex.client.local, &mut text),
            None => text.extend_from_slice(b"localhost"),
        }
        writer.known(const { key("SERVER_NAME") }, &text);
    } else {
        writer.known(const { key("SERVER_NAME") }, name);
    }
    text.clear();
    match (port, ex.client.local.port()) {
        (Some(port), _) => text.extend_from_slice(port),
        (None, local) if host.is_empty() && local != 0 => text::write_number(u64::from(local), &mut text),
        _ => text.extend_from_slice(if ex.client.secure { b"443" } else { b"80" }),
    }
    writer.known(const { key("SERVER_PORT") }, &text);
    if ex.client.secure {
        writer.known(const { key("HTTPS") }, b"on");
    }
}

/// The port of a Host field, where it has one.
fn port_of(host: &[u8]) -> Option<&[u8]> {
    let at = host.iter().rposition(|&byte| byte == b':')?;
    let port = &host[at + 1..];
    (!port.is_empty() && port.iter().all(u8::is_ascii_digit)).then_some(port)
}

/// An id as a set of one.
fn bit(id: HeaderId) -> u128 {
    1 << (id as u8)
}

fn write_headers(ex: &Exchange, told: Option<&Told>, writer: &mut RequestWriter<'_>) {
    let host = told.and_then(|told| told.host.as_deref());
    if let Some(host) = host {
        writer.known(const { key("HTTP_HOST") }, host);
    }
    let headers = &ex.request.headers;
    let (mut seen, mut repeated) = (0, 0);
    for header in headers.iter() {
        repeated |= seen & bit(header.id);
        seen |= bit(header.id);
    }
    let mut joined = Vec::new();
    for (index, header) in headers.iter().enumerate() {
        match header.id {
            HeaderId::ContentLength
            | HeaderId::TransferEncoding
            | HeaderId::Connection
            | HeaderId::Upgrade
            | HeaderId::Expect
            | HeaderId::XRequestId => continue,
            HeaderId::ContentType => {
                writer.known(const { key("CONTENT_TYPE") }, header.value);
                continue;
            }
            // An app that reads them must not be fooled by a client.
            _ if !ex.client.trusted && speaks_for_client(&header) => {
                told::notice(ex, header.name);
                continue;
            }
            HeaderId::Host if host.is_some() => continue,
            HeaderId::Proxy => continue,
            id if repeated & bit(id) == 0 => {
                writer.header(id, header.name, header.value);
                continue;
            }
            _ => {}
        }
        let same = |other: &Header<'_>| other.id == header.id && other.name.eq_ignore_ascii_case(header.name);
        if headers.iter().take(index).any(|other| same(&other)) {
            continue;
        }
        let mut more = headers.iter().skip(index + 1).filter(same).peekable();
        if more.peek().is_none() {
            writer.header(header.id, header.name, header.value);
            continue;
        }
        joined.clear();
        joined.extend_from_slice(header.value);
        for other in more {
            joined.extend_from_slice(if header.id == HeaderId::Cookie { b"; " } else { b", " });
            joined.extend_from_slice(other.value);
        }
        writer.header(header.id, header.name, &joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_among_repeated_slashes() {
        for (path, mount, rest) in [
            ("/shop/a", "/shop", Some("/a")),
            ("//shop//a//b", "/shop", Some("//a//b")),
            ("/shop", "/shop", Some("")),
            ("/shopping", "/shop", None),
            ("/a//b/c", "/a/b", Some("/c")),
            ("//a", "", Some("//a")),
        ] {
            assert_eq!(below(path.as_bytes(), mount.as_bytes()), rest.map(str::as_bytes), "{path} {mount}");
        }
    }

    #[test]
    fn ports_of_hosts() {
        for (host, port) in
            [("a:80", Some("80")), ("a", None), ("[::1]:8080", Some("8080")), ("[::1]", None), ("a:", None)]
        {
            assert_eq!(port_of(host.as_bytes()), port.map(str::as_bytes), "{host}");
        }
    }
}
