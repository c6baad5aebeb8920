//! Another HTTP/1.1 server as the backend (nginx: proxy_pass).
mod head;
mod link;

use crate::backend::Outcome;
use crate::buffers::{self, Buffered};
use crate::config;
use crate::error::{Error, Kind, Result};
use crate::exchange::{Exchange, Response};
use crate::http::body::{Body, RequestBody, Upgraded};
use crate::http::io::Io;
use crate::upstream::{Group, pool};
use buchner_wire::chunked::BodyDecoder;
use buchner_wire::h1::{Framing, Limits, ResponseHead};
use buchner_wire::headers::{HeaderId, Headers};
use bytes::Bytes;
use link::{Link, Uplink, UpstreamBody};
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::Arc;

/// Limits of an upstream's head: generous, it is not hostile by default, yet bounded.
const LIMITS: Limits = Limits { max_head: 256 << 10, max_target: 0, max_field: 128 << 10, max_fields: 500 };
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
    /// Compiles a proxied route. `path` is what the route matches literally.
    pub fn compile(
        proxy: &config::Proxy,
        path: &str,
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
            matched: path.len(),
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
        ex.upstream.address = Some(ex.thread.upstreams.borrow_mut().name(&self.group, server));
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
        let mut head = ex.thread.bufs.take_write();
        self.write_head(ex, &mut head)?;
        io.deadline(ex.settings().upstream_send_timeout.0);
        let uplink = self.send(ex, &io, &head).await?;
        ex.thread.bufs.give_write(head);
        let buf = ex.thread.bufs.take_read();
        let mut link = Link { io, buf, uplink, read_timeout: ex.settings().read_timeout.0 };
        let response = link.read_head(ex, &self.group.servers[server].address).await?;
        ex.upstream.status = response.status;
        self.respond(ex, server, link, response)
    }

    async fn send(&self, ex: &mut Exchange, io: &Io, head: &[u8]) -> Result<Option<Uplink>> {
        let timeout = ex.settings().upstream_send_timeout.0;
        let sent = match &mut ex.request.body {
            RequestBody::Empty => io.write_all(head, false).await,
            RequestBody::Buffered(Buffered::Memory(body)) => io.write_both(head, body).await,
            RequestBody::Buffered(Buffered::File(file)) => match io.write_all(head, true).await {
                Ok(()) => {
                    io.send_file(file.file().as_fd(), 0, file.length(), timeout)
                        .await
                        .map_err(|_| Self::closed(io, ex))?;
                    Ok(())
                }
                Err(e) => Err(e),
            },
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
                format!("upstream {} did not take the request in time (upstream_send_timeout)", ex.upstream.address());
            return Error::new(Kind::UpstreamTimeout, cause);
        }
        Error::new(
            Kind::UpstreamClosed,
            format!("upstream {} closed the connection while the request was sent", ex.upstream.address()),
        )
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
            let cause = format!("upstream {} switched protocols unasked (101)", ex.upstream.address());
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
            let thread = link.io.thread().clone();
            pool::give(&self.group, server, link.io);
            thread.bufs.give_read(link.buf);
        }
    }
}

fn parse_length(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn is_event_stream(headers: &Headers) -> bool {
    let unbuffered = headers.get(HeaderId::XAccelBuffering).is_some_and(|v| v.eq_ignore_ascii_case(b"no"));
    unbuffered || headers.get(HeaderId::ContentType).is_some_and(|v| v.starts_with(b"text/event-stream"))
}
