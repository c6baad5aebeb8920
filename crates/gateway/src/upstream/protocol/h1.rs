//! HTTP/1.0 and 1.1 (nginx: proxy_pass).
use super::{Frame, Outbound, Protocol};
use crate::backend::proxy::config::Settings;
use crate::backend::proxy::head::SetHeader;
use crate::backend::proxy::options::IdSet;
use crate::backend::proxy::proxying::Proxying;
use crate::body::RequestBody;
use crate::error::{Error, Kind, Result};
use crate::exchange::{Exchange, permitted};
use crate::settings::connection;
use crate::text;
use crate::vars::{self, Sent};
use buchner_wire::chunked::{BodyDecoder, Decoded};
use buchner_wire::h1::{self, Framing, Limits, ResponseHead};
use buchner_wire::headers::{HeaderId, Headers, is_valid_value, speaks_for_client};
use buchner_wire::malformed::Malformed;
use buchner_wire::method::Method;
use buchner_wire::target::seal;
use bytes::BytesMut;
use std::borrow::Cow;

/// Limits of an upstream's head: generous, it is not hostile by default, yet bounded.
const LIMITS: Limits =
    Limits { max_head: 256 << 10, max_target: 0, max_field: 128 << 10, max_fields: 500, bare_lf: false };
/// The same for heads that may end their lines with LF alone.
const LENIENT: Limits = Limits { bare_lf: true, ..LIMITS };

/// A request and its response.
pub struct Http1 {
    method: Method,
    limits: &'static Limits,
    /// Bytes of the head that were looked at.
    scanned: usize,
    body: Option<BodyDecoder>,
}

impl Protocol for Http1 {
    const SCHEME: &'static str = "http";
    const SECURE_SCHEME: &'static str = "https";
    const ALPN: &'static [&'static [u8]] = &[b"http/1.1"];
    const PORTS: (u16, u16) = (80, 443);

    fn new(request: &Outbound<'_>) -> Self {
        let bare_lf = request.ex.settings().get::<Settings>().upstream_bare_lf;
        let limits = if bare_lf { &LENIENT } else { &LIMITS };
        Self { method: request.method.clone(), limits, scanned: 0, body: None }
    }

    fn write_request(&self, request: &Outbound<'_>, out: &mut Vec<u8>) -> Result<()> {
        write_head(request, out)
    }

    fn frame(&self, length: Option<u64>) -> Frame {
        if length.is_some() { Frame::Plain } else { Frame::Chunked }
    }

    fn read_head(&mut self, buf: &mut BytesMut) -> std::result::Result<Option<ResponseHead>, Malformed> {
        Ok(h1::parse_response(buf, self.limits, &mut self.scanned, &self.method)?)
    }

    fn begin_body(&mut self, framing: Framing) {
        self.body = Some(BodyDecoder::new(framing, &LIMITS));
    }

    fn read_body(&mut self, buf: &mut BytesMut, eof: bool) -> std::result::Result<Decoded, Malformed> {
        Ok(self.body.as_mut().map_or(Ok(Decoded::End), |body| body.decode(buf, eof))?)
    }

    fn remaining(&self) -> Option<u64> {
        self.body.as_ref().and_then(BodyDecoder::remaining)
    }

    fn trailers(&self) -> Option<&Headers> {
        self.body.as_ref().and_then(BodyDecoder::trailers)
    }
}

/// The request line and headers as the upstream gets them.
fn write_head(outbound: &Outbound<'_>, out: &mut Vec<u8>) -> Result<()> {
    let Outbound { ex, target, method, own_body } = *outbound;
    let request = &ex.request;
    let settings = ex.settings().get::<Settings>();
    let proxying = ex.settings().get::<Proxying>();
    let options = proxying.options.as_deref();
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    let start = out.len();
    target.write_uri(ex, out);
    seal(out, start);
    let http10 = options.is_some_and(|options| options.http10);
    out.extend_from_slice(if http10 { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" });
    let upgrade = ex.upgrade();
    let mut set = write_set(ex, upgrade.is_some(), out)?;
    if !set.contains(HeaderId::Host) {
        let own = target.group.config.host.is_some();
        let given = request.headers.get(HeaderId::Host).filter(|_| settings.forwarded_headers && !own);
        field(out, b"Host", given.unwrap_or(&target.host));
    }
    if settings.forwarded_headers {
        write_forwarded(ex, &mut set, out);
    }
    if !set.contains(HeaderId::Connection) {
        // nginx leaves HTTP only where the configuration says so.
        if upgrade.is_some() && (settings.forwarded_headers || set.contains(HeaderId::Upgrade)) {
            field(out, b"Connection", b"upgrade");
        } else if http10 || !target.group.keeps() {
            field(out, b"Connection", b"close");
        }
    }
    if let Some(protocols) = upgrade.filter(|_| settings.forwarded_headers && !set.contains(HeaderId::Upgrade)) {
        field(out, b"Upgrade", &protocols);
    }
    if options.is_none_or(|options| options.pass_headers) {
        write_client_headers(ex, set, out);
    }
    if settings.forwarded_headers {
        write_ids(ex, set, out);
    }
    match own_body {
        Some(length) => write_length(length as u64, out),
        None if options.is_none_or(|options| options.pass_body) => write_framing(ex, out),
        None => {}
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Writes the fields of `set_headers`; returns which there are, also those that are not sent. A client that asks for a
/// protocol it may not have (`upgrades`: false) is not passed on as asking for one.
fn write_set(ex: &Exchange, upgrades: bool, out: &mut Vec<u8>) -> Result<IdSet> {
    let refused = ex.request.upgrade && !upgrades;
    let mut set = IdSet::default();
    for header in &ex.settings().get::<Proxying>().headers {
        set.insert(header.id);
        if matches!(header.id, HeaderId::ContentLength | HeaderId::TransferEncoding) {
            // Framing is the gateway's: a wrong length would let one request run into the next.
            continue;
        }
        let before = out.len();
        out.extend_from_slice(&header.name);
        out.extend_from_slice(b": ");
        let value = out.len();
        header.value.write(ex, Sent::default(), out);
        if header.id == HeaderId::Upgrade {
            let protocols = permitted(&out[value..], &ex.settings().get::<connection::Settings>().upgrade_protocols)
                .map(Cow::into_owned);
            out.truncate(value);
            out.extend_from_slice(&protocols.unwrap_or_default());
        }
        let asks = header.id == HeaderId::Connection && refused && out[value..].eq_ignore_ascii_case(b"upgrade");
        if out.len() == value || asks {
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
    Ok(set)
}

fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
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
            text::write_addr(&ex.client.peer, out);
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
    let settings = ex.settings().get::<Settings>();
    let proxying = ex.settings().get::<Proxying>();
    let named = proxying.headers.iter().any(|h| h.id == HeaderId::Other);
    // nginx, whose set_headers make the forwarded ones, passes on what clients send of them.
    let untrusted = settings.forwarded_headers && !ex.client.trusted;
    ex.request.headers.write_kept(out, |header| {
        let skip = match header.id {
            HeaderId::Host | HeaderId::ContentLength | HeaderId::Expect | HeaderId::Proxy => true,
            HeaderId::XRequestId => settings.forwarded_headers || set.contains(header.id),
            _ if untrusted && speaks_for_client(header) => true,
            HeaderId::Other => {
                let same = |h: &SetHeader| h.id == HeaderId::Other && h.name.eq_ignore_ascii_case(header.name);
                named && proxying.headers.iter().any(same)
            }
            id => set.contains(id),
        };
        !skip
    });
}

/// The request's id and trace, for those who look for them behind the gateway.
fn write_ids(ex: &Exchange, set: IdSet, out: &mut Vec<u8>) {
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

fn write_framing(ex: &Exchange, out: &mut Vec<u8>) {
    match &ex.request.body {
        // A client that said so hears the same said for it; a subrequest without a body has none of its parent either.
        RequestBody::Empty if ex.is_main() && ex.request.headers.contains(HeaderId::ContentLength) => {
            write_length(0, out);
        }
        RequestBody::Empty => {}
        body => match body.length() {
            Some(length) => write_length(length, out),
            None => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        },
    }
}

fn write_length(length: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Content-Length: ");
    text::write_number(length, out);
    out.extend_from_slice(b"\r\n");
}
