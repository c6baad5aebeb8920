//! Another HTTP/1.1 server as the backend (nginx: proxy_pass).
use crate::backend::Outcome;
use crate::buffers::{self, Buffered};
use crate::config;
use crate::error::{Error, Kind, Result};
use crate::exchange::{Exchange, Response};
use crate::http::body::{Body, RequestBody, Source, Upgraded, remaining};
use crate::http::io::{Io, READ_SIZE};
use crate::upstream::{Group, pool};
use crate::vars::{self, Sent};
use buchner_wire::chunked::{self, BodyDecoder, Decoded};
use buchner_wire::h1::{self, Framing, H1ErrorKind, Limits, ResponseHead};
use buchner_wire::headers::{HeaderId, Headers, is_valid_value};
use buchner_wire::path::encode_path;
use bytes::{Bytes, BytesMut};
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Limits of an upstream's head: generous, it is not hostile by default, yet bounded.
const LIMITS: Limits = Limits { max_head: 256 << 10, max_target: 0, max_field: 128 << 10, max_fields: 500 };
/// Bytes read at a time of a large body.
const RELAY_SIZE: usize = 64 << 10;

/// A proxied route.
pub struct Proxy {
    group: Arc<Group>,
    uri: Option<Vec<u8>>,
    /// Bytes of the route's path that `uri` replaces.
    matched: usize,
    /// Value of `Host` unless `set_headers` has one (nginx: $proxy_host).
    pub host: Vec<u8>,
}

impl Proxy {
    /// Compiles a proxied route.
    pub fn compile(
        proxy: &config::Proxy,
        route: &config::Route,
        upstreams: &HashMap<String, Arc<Group>>,
    ) -> std::result::Result<Self, String> {
        let group =
            upstreams.get(&proxy.upstream).ok_or_else(|| format!("proxy: unknown upstream {:?}", proxy.upstream))?;
        if proxy.uri.as_ref().is_some_and(|uri| !uri.starts_with('/')) {
            return Err(format!("proxy.uri: {:?} must start with /", proxy.uri));
        }
        Ok(Self {
            group: group.clone(),
            uri: proxy.uri.clone().map(String::into_bytes),
            matched: if route.path.starts_with('@') { 0 } else { route.path.len() },
            host: group.config.host.clone().unwrap_or_else(|| proxy.upstream.clone()).into_bytes(),
        })
    }

    /// Asks the group's servers, another one where that is safe, and answers.
    pub async fn handle(&self, ex: &mut Exchange) -> Result<Outcome> {
        if ex.settings().request_buffering {
            let (memory, spool) = (ex.settings().buffer_memory.0, ex.plan.spool.clone());
            buffers::buffer(&mut ex.request.body, memory, &spool).await?;
        }
        let mut tried = Vec::new();
        let began = ex.thread.clock.now();
        loop {
            let now = ex.thread.clock.now();
            let picked = ex.thread.upstreams.borrow_mut().pick(&self.group, &tried, now);
            let Some(server) = picked else {
                let cause = format!("upstream {}: every server is down or was tried", self.group.name);
                return Err(Error::new(Kind::NoUpstream, cause));
            };
            let failure = match self.ask(ex, server).await {
                Ok(response) => {
                    self.group.servers[server].succeeded();
                    ex.upstream.header_ms = ex.thread.clock.now().saturating_sub(began);
                    return Ok(Outcome::Respond(response));
                }
                Err(failure) => failure,
            };
            ex.upstream.header_ms = ex.thread.clock.now().saturating_sub(began);
            tried.push(server);
            let now = ex.thread.clock.now();
            if failure.kind.side() == crate::error::Side::Upstream && self.group.servers[server].failed(now) {
                ex.thread.log.warn(&format!("upstream {} rests: {failure}", self.group.servers[server].address));
            }
            let again = failure.kind.nothing_sent() || (failure.kind.retryable() && ex.request.method.is_idempotent());
            if !again || tried.len() >= self.group.servers.len() || matches!(ex.request.body, RequestBody::Stream(_)) {
                return Err(failure);
            }
        }
    }

    /// Asks one server: over a kept connection first, and once more over a new one when the kept one turns out to be stale.
    async fn ask(&self, ex: &mut Exchange, server: usize) -> Result<Response> {
        let address = &self.group.servers[server].address;
        ex.upstream.address = address.to_string();
        ex.upstream.tries += 1;
        let idempotent = ex.request.method.is_idempotent();
        if let Some(io) = pool::take(&ex.thread, &self.group, server, !idempotent) {
            let streamed = matches!(ex.request.body, RequestBody::Stream(_));
            match self.exchange(ex, server, io).await {
                Err(e) if e.kind == Kind::UpstreamClosed && idempotent && !streamed => {}
                other => return other,
            }
        }
        let io = pool::connect(&ex.thread, address, ex.settings().connect_timeout.0).await?;
        self.exchange(ex, server, io).await
    }

    /// One request and the head of its response on one connection.
    async fn exchange(&self, ex: &mut Exchange, server: usize, io: Io) -> Result<Response> {
        let mut head = Vec::with_capacity(1024);
        self.write_head(ex, &mut head)?;
        io.deadline(ex.settings().upstream_send_timeout.0);
        let uplink = self.send(ex, &io, &head).await?;
        let mut link = Link { io, buf: BytesMut::new(), uplink, read_timeout: ex.settings().read_timeout.0 };
        let response = link.read_head(ex, &self.group.servers[server].address).await?;
        ex.upstream.status = response.status;
        self.respond(ex, server, link, response)
    }

    async fn send(&self, ex: &mut Exchange, io: &Io, head: &[u8]) -> Result<Option<Uplink>> {
        let sent = match &mut ex.request.body {
            RequestBody::Empty => io.write_all(head, false).await,
            RequestBody::Buffered(Buffered::Memory(body)) => io.write_both(head, body).await,
            RequestBody::Buffered(Buffered::File(file)) => {
                let timeout = ex.plan.settings[0].upstream_send_timeout.0;
                match io.write_all(head, true).await {
                    Ok(()) => {
                        io.send_file(file.file().as_fd(), 0, file.length(), timeout)
                            .await
                            .map_err(|_| Self::closed(io, ex))?;
                        Ok(())
                    }
                    Err(e) => Err(e),
                }
            }
            RequestBody::Stream(_) => {
                let RequestBody::Stream(source) = std::mem::replace(&mut ex.request.body, RequestBody::Empty) else {
                    return Ok(None);
                };
                let chunked = source.length().is_none();
                let sent = io.write_all(head, false).await;
                sent.map_err(|_| Self::closed(io, ex))?;
                return Ok(Some(Uplink { source, chunked, out: Bytes::new(), ended: false }));
            }
        };
        // A server may answer and close before it read everything (413); its answer is still worth reading.
        match sent {
            Err(e) if !matches!(e.kind(), std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset) => {
                Err(Self::closed(io, ex))
            }
            _ => Ok(None),
        }
    }

    fn closed(io: &Io, ex: &Exchange) -> Error {
        if io.expired() {
            let cause =
                format!("upstream {} did not take the request in time (upstream_send_timeout)", ex.upstream.address);
            return Error::new(Kind::UpstreamTimeout, cause);
        }
        Error::new(
            Kind::UpstreamClosed,
            format!("upstream {} closed the connection while the request was sent", ex.upstream.address),
        )
    }

    /// The request line and fields as the upstream gets them.
    fn write_head(&self, ex: &Exchange, out: &mut Vec<u8>) -> Result<()> {
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
            None if !ex.internal => return out.extend_from_slice(&request.target),
            None => encode_path(&request.path, out),
            Some(uri) => {
                out.extend_from_slice(uri);
                encode_path(request.path.get(self.matched..).unwrap_or_default(), out);
            }
        }
        if let Some(query) = &request.query {
            out.push(b'?');
            out.extend_from_slice(query);
        }
    }

    fn respond(&self, ex: &Exchange, server: usize, mut link: Link, head: ResponseHead) -> Result<Response> {
        let ResponseHead { status, mut headers, framing, keep_alive, .. } = head;
        if status == 101 {
            return Self::upgraded(ex, link, headers);
        }
        let length = headers.get(HeaderId::ContentLength).and_then(parse_length);
        headers.strip_hop_by_hop();
        headers.retain(|h| !matches!(h.id, HeaderId::ContentLength | HeaderId::Date | HeaderId::Server));
        let reusable = keep_alive && link.uplink.is_none();
        let body = match framing {
            Framing::None => {
                let bodiless = matches!(status, 204 | 304) || ex.request.method == buchner_wire::method::Method::Head;
                self.finish(server, link, reusable);
                Body::None { length: if bodiless { length } else { Some(0) } }
            }
            Framing::Length(length) if link.buf.len() as u64 >= length => {
                let body = link.buf.split_to(length as usize).freeze();
                self.finish(server, link, reusable);
                Body::Full(body)
            }
            framing => Body::Stream(Box::new(UpstreamBody {
                decoder: BodyDecoder::new(framing, &LIMITS),
                link: Some(link),
                group: self.group.clone(),
                server,
                keep_alive,
                address: ex.upstream.address.clone(),
                flush: !ex.settings().buffering || is_event_stream(&headers),
            })),
        };
        let mut response = Response::new(status, body);
        response.headers = headers;
        Ok(response)
    }

    fn upgraded(ex: &Exchange, mut link: Link, headers: Headers) -> Result<Response> {
        if !ex.request.upgrade {
            let cause = format!("upstream {} switched protocols unasked (101)", ex.upstream.address);
            return Err(Error::new(Kind::UpstreamInvalid, cause));
        }
        link.io.no_deadline();
        let received = link.buf.split().freeze();
        let mut response = Response::new(101, Body::Upgraded(Upgraded { io: link.io, received, guard: None }));
        response.headers = headers;
        Ok(response)
    }

    fn finish(&self, server: usize, link: Link, reusable: bool) {
        if reusable && link.buf.is_empty() {
            pool::give(&self.group, server, link.io);
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

fn parse_length(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn is_event_stream(headers: &Headers) -> bool {
    let unbuffered = headers.get(HeaderId::XAccelBuffering).is_some_and(|v| v.eq_ignore_ascii_case(b"no"));
    unbuffered || headers.get(HeaderId::ContentType).is_some_and(|v| v.starts_with(b"text/event-stream"))
}

/// A request body on its way up while the response is already being read.
struct Uplink {
    source: Box<dyn Source>,
    chunked: bool,
    out: Bytes,
    ended: bool,
}

impl Uplink {
    /// Moves bytes until it must wait. Ready when the whole body is sent.
    fn poll_send(&mut self, cx: &mut Context<'_>, io: &Io) -> Poll<Result<()>> {
        loop {
            while !self.out.is_empty() {
                let sent = ready!(io.sock.poll_send(cx, &self.out, rustix::net::SendFlags::empty()));
                match sent {
                    Ok(n) => drop(self.out.split_to(n)),
                    // The server stopped reading; what it answers is still read.
                    Err(_) => return Poll::Ready(Ok(())),
                }
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            match ready!(self.source.poll_chunk(cx))? {
                Some(chunk) if self.chunked => {
                    let mut out = Vec::with_capacity(chunk.len() + 20);
                    chunked::encode_chunk_header(chunk.len(), &mut out);
                    out.extend_from_slice(&chunk);
                    out.extend_from_slice(b"\r\n");
                    self.out = out.into();
                }
                Some(chunk) => self.out = chunk,
                None => {
                    self.ended = true;
                    self.out = if self.chunked { Bytes::from_static(chunked::LAST_CHUNK) } else { Bytes::new() };
                }
            }
        }
    }
}

/// A connection in use.
struct Link {
    io: Io,
    buf: BytesMut,
    uplink: Option<Uplink>,
    read_timeout: u64,
}

impl Link {
    /// Reads more while the rest of the request goes up.
    fn poll_fill(&mut self, cx: &mut Context<'_>, size: usize) -> Poll<Result<usize>> {
        if let Some(uplink) = &mut self.uplink {
            if let Poll::Ready(done) = uplink.poll_send(cx, &self.io) {
                done?;
                self.uplink = None;
                self.io.deadline(self.read_timeout);
            }
        }
        if self.buf.capacity() - self.buf.len() < size / 2 {
            self.buf.reserve(size);
        }
        // A reset is as much an end as a FIN; the framing tells whether it came too early.
        self.io.sock.poll_read(cx, &mut self.buf).map(|read| Ok(read.unwrap_or(0)))
    }

    async fn read_head(&mut self, ex: &Exchange, address: &crate::upstream::Address) -> Result<ResponseHead> {
        let mut scanned = 0;
        self.io.deadline(self.read_timeout);
        loop {
            let n = std::future::poll_fn(|cx| self.poll_fill(cx, READ_SIZE)).await?;
            if n == 0 {
                return Err(self.ended(address));
            }
            loop {
                let parsed = h1::parse_response(&mut self.buf, &LIMITS, &mut scanned, &ex.request.method);
                match parsed {
                    Ok(None) => break,
                    Ok(Some(head)) if (100..200).contains(&head.status) && head.status != 101 => scanned = 0,
                    Ok(Some(head)) => return Ok(head),
                    Err(e) => {
                        let cause = format!("upstream {address} sent an invalid response head: {e}");
                        return Err(Error::new(Kind::UpstreamInvalid, cause));
                    }
                }
            }
        }
    }

    fn ended(&self, address: &crate::upstream::Address) -> Error {
        if self.io.expired() {
            let cause = format!("upstream {address} sent no answer within {} ms (read_timeout)", self.read_timeout);
            return Error::new(Kind::UpstreamTimeout, cause);
        }
        let part = if self.buf.is_empty() { "before it answered" } else { "in the middle of its response head" };
        Error::new(Kind::UpstreamClosed, format!("upstream {address} closed the connection {part}"))
    }
}

/// A response body as it arrives.
struct UpstreamBody {
    decoder: BodyDecoder,
    link: Option<Link>,
    group: Arc<Group>,
    server: usize,
    keep_alive: bool,
    address: String,
    flush: bool,
}

impl Source for UpstreamBody {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        let mut eof = false;
        loop {
            let Some(link) = &mut self.link else { return Poll::Ready(Ok(None)) };
            match self.decoder.decode(&mut link.buf, eof) {
                Ok(Decoded::Data(bytes)) => return Poll::Ready(Ok(Some(bytes))),
                Ok(Decoded::End) => {
                    if let Some(link) = self.link.take() {
                        if self.keep_alive && !eof && link.uplink.is_none() && link.buf.is_empty() {
                            pool::give(&self.group, self.server, link.io);
                        }
                    }
                    return Poll::Ready(Ok(None));
                }
                Err(e) if eof && e.kind == H1ErrorKind::Truncated => {
                    let how =
                        if link.io.expired() { "stopped sending (read_timeout)" } else { "closed the connection" };
                    let cause = format!("upstream {} {how} in the middle of its response", self.address);
                    return Poll::Ready(Err(Error::new(Kind::UpstreamClosed, cause).closing()));
                }
                Ok(Decoded::NeedMore) => {
                    link.io.deadline(link.read_timeout);
                    eof = ready!(link.poll_fill(cx, RELAY_SIZE))? == 0;
                }
                Err(e) => {
                    let cause = format!("upstream {} sent an invalid body: {e}", self.address);
                    return Poll::Ready(Err(Error::new(Kind::UpstreamInvalid, cause).closing()));
                }
            }
        }
    }

    fn length(&self) -> Option<u64> {
        remaining(&self.decoder)
    }

    fn flush_each(&self) -> bool {
        self.flush
    }
}
