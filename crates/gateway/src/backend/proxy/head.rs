//! The request line and fields as the upstream gets them.
use super::Proxy;
use crate::error::{Error, Kind, Result};
use crate::exchange::Exchange;
use crate::http::body::RequestBody;
use crate::rewrite::escape::{Escape, escape};
use crate::vars::{self, Sent};
use buchner_wire::headers::{HeaderId, is_valid_value};

impl Proxy {
    /// The request line and fields as the upstream gets them.
    pub(super) fn write_head(&self, ex: &Exchange, out: &mut Vec<u8>) -> Result<()> {
        let request = &ex.request;
        out.extend_from_slice(request.method.as_bytes());
        out.push(b' ');
        self.write_uri(ex, out);
        out.extend_from_slice(b" HTTP/1.1\r\n");
        let settings = ex.settings();
        let mut set = IdSet::default();
        for header in &settings.set_headers {
            set.insert(header.id);
            let before = out.len();
            out.extend_from_slice(&header.name);
            out.extend_from_slice(b": ");
            let value = out.len();
            header.value.write(ex, Sent::default(), out);
            if out.len() == value {
                out.truncate(before);
                continue;
            }
            if !is_valid_value(&out[value..]) {
                let cause = format!(
                    "set_headers: the value of {} has characters no header may have",
                    String::from_utf8_lossy(&header.name)
                );
                return Err(Error::new(Kind::BadRequest(400), cause));
            }
            out.extend_from_slice(b"\r\n");
        }
        if !set.contains(HeaderId::Host) {
            field(
                out,
                b"Host",
                if settings.forwarded_headers {
                    request.headers.get(HeaderId::Host).unwrap_or(&self.host)
                } else {
                    &self.host
                },
            );
        }
        if settings.forwarded_headers {
            write_forwarded(ex, &mut set, out);
        }
        if request.upgrade {
            field(out, b"Connection", b"upgrade");
            field(out, b"Upgrade", &request.upgrade_to);
        }
        write_client_headers(ex, set, out);
        write_framing(&request.body, out);
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn write_uri(&self, ex: &Exchange, out: &mut Vec<u8>) {
        let request = &ex.request;
        match &self.uri {
            None if ex.as_sent => return out.extend_from_slice(&request.target),
            None => escape(&request.path, Escape::Uri, out),
            // A rewrite that stays in the route has made the whole path.
            Some(_) if !ex.in_location => escape(&request.path, Escape::Uri, out),
            Some(uri) => {
                out.extend_from_slice(uri);
                escape(request.path.get(self.matched..).unwrap_or_default(), Escape::Uri, out);
            }
        }
        if let Some(query) = &request.query {
            out.push(b'?');
            out.extend_from_slice(query);
        }
    }
}

/// A set of header ids.
#[derive(Clone, Copy, Default)]
struct IdSet(u128);

impl IdSet {
    fn insert(&mut self, id: HeaderId) {
        self.0 |= 1 << (id as u8);
    }

    fn contains(self, id: HeaderId) -> bool {
        id != HeaderId::Other && self.0 & (1 << (id as u8)) != 0
    }
}

fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn write_forwarded(ex: &Exchange, set: &mut IdSet, out: &mut Vec<u8>) {
    if !set.contains(HeaderId::XForwardedFor) {
        out.extend_from_slice(b"X-Forwarded-For: ");
        if ex.client.trusted {
            vars::write_forwarded_for(ex, out);
        } else {
            vars::write_addr(&ex.client.peer, out);
        }
        out.extend_from_slice(b"\r\n");
        set.insert(HeaderId::XForwardedFor);
    }
    if !set.contains(HeaderId::XForwardedProto) {
        field(out, b"X-Forwarded-Proto", ex.scheme().as_bytes());
        set.insert(HeaderId::XForwardedProto);
    }
    if !set.contains(HeaderId::XForwardedHost) {
        let given = ex.request.headers.get(HeaderId::XForwardedHost).filter(|_| ex.client.trusted);
        if let Some(host) = given.or_else(|| ex.request.headers.get(HeaderId::Host)) {
            field(out, b"X-Forwarded-Host", host);
        }
        set.insert(HeaderId::XForwardedHost);
    }
}

/// The client's fields, less those that are set, framing, and what is the gateway's to answer.
fn write_client_headers(ex: &Exchange, set: IdSet, out: &mut Vec<u8>) {
    let settings = ex.settings();
    let named = settings.set_headers.iter().any(|h| h.id == HeaderId::Other);
    for header in ex.request.headers.iter() {
        let skip = match header.id {
            HeaderId::Host | HeaderId::ContentLength | HeaderId::Expect | HeaderId::Proxy | HeaderId::XRequestId => {
                true
            }
            HeaderId::Other => {
                let same =
                    |h: &crate::plan::SetHeader| h.id == HeaderId::Other && h.name.eq_ignore_ascii_case(header.name);
                named && settings.set_headers.iter().any(same)
            }
            id => set.contains(id),
        };
        if !skip {
            field(out, header.name, header.value);
        }
    }
    if !set.contains(HeaderId::XRequestId) {
        out.extend_from_slice(b"X-Request-ID: ");
        ex.id.write(out);
        out.extend_from_slice(b"\r\n");
    }
    if !set.contains(HeaderId::Traceparent) && ex.request.headers.get(HeaderId::Traceparent).is_none() {
        out.extend_from_slice(b"traceparent: ");
        ex.id.write_traceparent(out);
        out.extend_from_slice(b"\r\n");
    }
}

fn write_framing(body: &RequestBody, out: &mut Vec<u8>) {
    match body {
        RequestBody::Empty => {}
        body => match body.length() {
            Some(length) => {
                out.extend_from_slice(b"Content-Length: ");
                vars::write_number(length, out);
                out.extend_from_slice(b"\r\n");
            }
            None => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        },
    }
}
