//! Another HTTP/1.1 server as the backend (nginx: proxy_pass).
pub mod config;
mod cookie;
pub mod head;
mod kept;
mod link;
pub mod next;
pub mod options;
mod replace;
mod target;
pub mod variables;

pub use target::Target;

use crate::backend::outcome::Outcome;
use crate::body::pace::paced;
use crate::body::spool;
use crate::body::spool::Buffered;
use crate::body::{Body, RequestBody, Upgraded};
use crate::error::{Error, Kind, Result, Side};
use crate::exchange::{Exchange, Response, Streamed, permitted};
use crate::io::sock::Io;
use crate::units::size;
use crate::upstream::pool::{self, Outgoing, Used};
use crate::upstream::{Group, Hold};
use crate::vars::{Names, Sent, Template};
use buchner_wire::chunked::BodyDecoder;
use buchner_wire::h1::{Framing, Limits, ResponseHead};
use buchner_wire::headers::{HeaderId, Headers};
use buchner_wire::method::Method;
use bytes::Bytes;
use link::{Link, Uplink, UpstreamBody};
use options::Options;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use target::{Uri, host_and_port};

/// Limits of an upstream's head: generous, it is not hostile by default, yet bounded.
const LIMITS: Limits = Limits { max_head: 256 << 10, max_target: 0, max_field: 128 << 10, max_fields: 500 };

/// A proxied route.
pub enum Proxy {
    /// To a group of servers.
    Group(Target),
    /// To wherever the variables in a URL lead.
    Url(Template),
}

/// What came of asking one server.
enum Asked {
    /// Its answer.
    Answer(Response),
    /// An answer with a status that leads to another server.
    Next(u16),
}

/// What is sent in place of what the client sent.
struct Own {
    method: Option<Method>,
    body: Option<Vec<u8>>,
}

impl Proxy {
    /// Compiles a proxied route. `path` is what the route matches literally.
    pub fn compile(
        proxy: &crate::config::Proxy,
        path: &str,
        upstreams: &HashMap<String, Arc<Group>>,
        names: &Names,
    ) -> std::result::Result<Self, String> {
        if let Some(url) = &proxy.url {
            return Template::compile(url, names).map(Self::Url).map_err(|e| format!("proxy.url: {e}"));
        }
        let group =
            upstreams.get(&proxy.upstream).ok_or_else(|| format!("proxy: unknown upstream {:?}", proxy.upstream))?;
        if proxy.uri.as_ref().is_some_and(|uri| !uri.starts_with('/')) {
            return Err(format!("proxy.uri: {:?} must start with /", proxy.uri));
        }
        let authority = proxy.authority.as_deref().unwrap_or(&proxy.upstream);
        let (host, port) = host_and_port(authority);
        let uri = proxy.uri.as_deref();
        let default = match uri {
            Some(uri) => (format!("http://{authority}{}{uri}", socket_colon(authority)), path.to_owned()),
            None => (format!("http://{authority}{}/", socket_colon(authority)), "/".to_owned()),
        };
        Ok(Self::Group(Target {
            group: group.clone(),
            host: group.config.host.as_deref().unwrap_or(host).into(),
            port: port.into(),
            uri: match uri {
                Some(uri) => Uri::Replaced { by: uri.into(), matched: path.len() },
                None => Uri::Same,
            },
            default: Some((default.0.into_bytes(), default.1.into_bytes())),
        }))
    }

    /// Where this request goes or went, if that is known.
    pub fn target<'a>(&'a self, ex: &'a Exchange) -> Option<&'a Target> {
        match self {
            Self::Group(target) => Some(target),
            Self::Url(_) => ex.upstream.target.as_deref(),
        }
    }

    /// Asks the servers, and answers.
    pub async fn handle(&self, ex: &mut Exchange) -> Result<Outcome> {
        let options = ex.settings().proxy.as_deref();
        if let Some(patience) = &ex.patience {
            patience.set(options.is_some_and(|options| options.ignore_client_abort));
        }
        let unknown_length = matches!(&ex.request.body, RequestBody::Stream(body) if body.length().is_none());
        if ex.settings().request_buffering || (unknown_length && options.is_some_and(|options| options.http10)) {
            let memory = ex.settings().buffer_memory.0;
            spool::read(ex, memory).await?;
        }
        match self {
            Self::Group(target) => target.handle(ex).await,
            Self::Url(url) => {
                let target = Rc::new(Target::of_url(ex, url)?);
                ex.upstream.target = Some(target.clone());
                target.handle(ex).await
            }
        }
    }
}

/// A Unix socket's path ends with a colon in a URL.
fn socket_colon(authority: &str) -> &'static str {
    if authority.starts_with("unix:") { ":" } else { "" }
}

impl Own {
    fn new(ex: &Exchange) -> Result<Self> {
        let Some(options) = ex.settings().proxy.as_deref() else { return Ok(Self { method: None, body: None }) };
        let method = match &options.method {
            None => None,
            Some(method) => {
                let method = Method::from_bytes(&method.value(ex, Sent::default()));
                Some(method.ok_or_else(|| Error::new(Kind::Internal, "proxy_method: its value is not a method"))?)
            }
        };
        Ok(Self { method, body: options.body.as_ref().map(|body| body.value(ex, Sent::default())) })
    }
}

impl Target {
    /// Asks the group's servers, another one where that is safe and wanted.
    async fn handle(&self, ex: &mut Exchange) -> Result<Outcome> {
        let next = ex.settings().next;
        let began = ex.thread.clock.now();
        let streamed = matches!(ex.request.body, RequestBody::Stream(_));
        let repeatable = ex.request.method.is_idempotent() || next.non_idempotent();
        let most = self.group.tries(next.tries);
        let mut tried = Vec::new();
        let rerouted = ex.upstream.tries > 0;
        loop {
            let now = ex.thread.clock.now();
            let picked = pool::of(&ex.thread).borrow_mut().pick(&self.group, &tried, now);
            let Some(server) = picked else {
                let cause = format!("upstream {}: every server is down, busy or was tried", self.group.name);
                return Err(Error::new(Kind::NoUpstream, cause));
            };
            ex.upstream.begin(now, rerouted && tried.is_empty());
            let more = tried.len() + 1 < most && (next.timeout_ms == 0 || now.saturating_sub(began) < next.timeout_ms);
            let asked = self.ask(ex, server, more && repeatable && !streamed).await;
            let now = ex.thread.clock.now();
            ex.upstream.header_ms = now.saturating_sub(ex.upstream.began);
            match asked {
                Ok(Asked::Answer(response)) => {
                    self.group.servers[server].succeeded();
                    ex.upstream.passing = true;
                    return Ok(Outcome::Respond(response));
                }
                // These say nothing bad about the server.
                Ok(Asked::Next(403 | 404)) => {}
                Ok(Asked::Next(status)) => {
                    if self.group.servers[server].failed(now) {
                        let address = &self.group.servers[server].address;
                        ex.log_warn(&format!("upstream {address} rests: it answered {status}"));
                    }
                }
                Err(failure) => {
                    ex.upstream.status = failure.kind.status();
                    if failure.kind.side() == Side::Upstream && self.group.servers[server].failed(now) {
                        let address = &self.group.servers[server].address;
                        ex.log_warn(&format!("upstream {address} rests: {failure}"));
                    }
                    let unsent = failure.kind.nothing_sent();
                    let safe = unsent || (repeatable && !streamed);
                    let late = next.timeout_ms != 0 && now.saturating_sub(began) >= next.timeout_ms;
                    if !safe || late || !more || !next.after(failure.kind) {
                        return Err(failure);
                    }
                }
            }
            tried.push(server);
        }
    }

    /// Asks one server: over a kept connection first, and once more over a new one when the kept one turns out to be
    /// stale. `more`: another server may be asked instead of passing its answer on.
    async fn ask(&self, ex: &mut Exchange, server: usize, more: bool) -> Result<Asked> {
        let address = &self.group.servers[server].address;
        ex.upstream.address = Some(pool::of(&ex.thread).borrow_mut().name(&self.group, server));
        let own = Own::new(ex)?;
        let repeatable = ex.request.method.is_idempotent();
        let mut hold = Hold::new(&self.group, server);
        if let Some((io, used)) = pool::take(&ex.thread, &self.group, server) {
            let streamed = matches!(ex.request.body, RequestBody::Stream(_));
            ex.upstream.connect_ms = Some(0);
            match self.exchange(ex, server, (io, used, hold.take()), &own, more).await {
                // It ended meanwhile, or what came belongs to the response before.
                Err(e) if matches!(e.kind, Kind::UpstreamClosed | Kind::UpstreamInvalid) && repeatable && !streamed => {
                }
                other => return other,
            }
            ex.upstream.connect_ms = None;
            hold = Hold::new(&self.group, server);
        }
        let outgoing = outgoing(ex);
        let settings = ex.settings();
        let (timeout, servers) = (settings.connect_timeout.0, settings.name_servers.clone());
        let io = pool::connect(&ex.thread, address, timeout, outgoing, &servers).await?;
        ex.upstream.address = Some(pool::of(&ex.thread).borrow_mut().found(&self.group, server, &io));
        let now = ex.thread.clock.now();
        ex.upstream.connect_ms = Some(now.saturating_sub(ex.upstream.began));
        self.exchange(ex, server, (io, Used::new(now), hold), &own, more).await
    }

    /// One request and the head of its response on one connection.
    async fn exchange(
        &self,
        ex: &mut Exchange,
        server: usize,
        (io, used, hold): (Io, Used, Option<Hold>),
        own: &Own,
        more: bool,
    ) -> Result<Asked> {
        let method = own.method.clone().unwrap_or_else(|| ex.request.method.clone());
        let mut head = ex.thread.bufs.take_write();
        self.write_head(ex, &method, own.body.as_ref().map(Vec::len), &mut head)?;
        let send_timeout = ex.settings().upstream_send_timeout.0;
        io.write_deadline(send_timeout);
        let uplink = self.send(ex, &io, &head, own.body.as_deref()).await?;
        let body = own.body.as_ref().map_or_else(|| ex.request.body.length().unwrap_or(0), |body| body.len() as u64);
        ex.upstream.sent = head.len() as u64 + body;
        ex.thread.bufs.give_write(head);
        let buf = ex.thread.bufs.take_read();
        let read_timeout = ex.settings().read_timeout.0;
        let mut link = Link { io, buf, uplink, read_timeout, send_timeout, used, hold, head_bytes: 0, reset: false };
        let hint = |headers: &Headers| {
            if let Some(options) = ex.settings().proxy.as_deref() {
                options.hint(ex, headers);
            }
        };
        let response = link.read_head(&method, &self.group.servers[server].address, hint).await?;
        ex.upstream.status = response.status;
        ex.upstream.answered = true;
        ex.upstream.head_bytes = link.head_bytes as u64;
        if more && response.status >= 400 && ex.settings().next.after_status(response.status) {
            return Ok(Asked::Next(response.status));
        }
        self.respond(ex, server, link, response).map(Asked::Answer)
    }

    async fn send(&self, ex: &mut Exchange, io: &Io, head: &[u8], own: Option<&[u8]>) -> Result<Option<Uplink>> {
        let timeout = ex.settings().upstream_send_timeout.0;
        let pass = ex.settings().proxy.as_deref().is_none_or(|options| options.pass_body);
        let sent = match &mut ex.request.body {
            _ if own.is_some() => io.write_both(head, own.unwrap_or_default()).await,
            _ if !pass => io.write_all(head, false).await,
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
            Err(_) if io.expired() => Err(Self::closed(io, ex)),
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

    fn respond(&self, ex: &mut Exchange, server: usize, mut link: Link, head: ResponseHead) -> Result<Response> {
        let ResponseHead { status, mut headers, framing, keep_alive, .. } = head;
        if status == 101 {
            return Self::upgraded(ex, link, headers);
        }
        if ex.plan.wants.fields {
            ex.upstream.headers = Some(headers.clone());
        }
        let length = headers.get(HeaderId::ContentLength).and_then(parse_number);
        ex.upstream.preread = link.buf.len() as u64;
        let options = ex.settings().proxy.as_deref();
        let flush = !buffering(ex.settings().buffering, options, &headers);
        let rate = read_rate(ex, options);
        let charset = accel(ex, options, &headers);
        options::strip(options, &mut headers);
        if let Some(options) = options {
            let default = self.default.as_ref().map(|(from, to)| (from.as_slice(), to.as_slice()));
            options.rewrite(ex, default, &mut headers)?;
        }
        let trailers = options.is_some_and(|options| options.trailers);
        let ranges = options.is_some_and(|options| options.force_ranges);
        let reusable = keep_alive && link.uplink.is_none();
        let body = match framing {
            Framing::None => {
                let bodiless = matches!(status, 204 | 304) || ex.request.method == Method::Head;
                self.finish(server, link, reusable);
                Body::None { length: if bodiless { length } else { Some(0) } }
            }
            Framing::Length(length) if link.buf.len() as u64 >= length => {
                let body = link.buf.split_to(length as usize).freeze();
                self.finish(server, link, reusable);
                ex.upstream.length = length;
                Body::Full(body)
            }
            framing => {
                let noted = ex.plan.wants.body.then(Rc::<Streamed>::default);
                ex.upstream.streamed.clone_from(&noted);
                Body::Stream(Box::new(UpstreamBody {
                    decoder: BodyDecoder::new(framing, &LIMITS),
                    link: Some(link),
                    group: self.group.clone(),
                    server,
                    keep_alive,
                    address: ex.upstream.address.clone(),
                    flush,
                    noted,
                    trailers,
                    limits: (!flush).then(|| kept::Limits {
                        memory: ex.settings().buffer_memory.0,
                        most: ex.settings().buffer_spool.0,
                        spool: ex.plan.spool.clone(),
                    }),
                    kept: None,
                    failed: None,
                }))
            }
        };
        ex.upstream.charset = charset;
        let mut response = Response::new(status, if rate == 0 { body } else { paced(body, rate, 0) });
        response.headers = headers;
        if ranges {
            // Several would have to be cut out of what comes only once.
            response.max_ranges = 1;
        }
        Ok(response)
    }

    fn upgraded(ex: &Exchange, mut link: Link, headers: Headers) -> Result<Response> {
        let protocols = &ex.settings().upgrade_protocols;
        let asked = ex.upgrade().is_some()
            && headers.get_all(HeaderId::Upgrade).all(|to| permitted(to, protocols).as_deref() == Some(to));
        if !asked {
            let cause = format!("upstream {} switched protocols unasked (101)", ex.upstream.address());
            return Err(Error::new(Kind::UpstreamInvalid, cause));
        }
        let idle_ms = ex.settings().tunnel_timeout.map_or(ex.settings().read_timeout.0, |timeout| timeout.0);
        link.io.no_deadline();
        let received = link.buf.split().freeze();
        let guard = link.hold.map(|hold| Box::new(hold) as Box<dyn std::any::Any>);
        let mut response =
            Response::new(101, Body::Upgraded(Box::new(Upgraded { io: link.io, received, idle_ms, guard })));
        response.headers = headers;
        Ok(response)
    }

    fn finish(&self, server: usize, link: Link, reusable: bool) {
        if reusable && link.buf.is_empty() {
            let thread = link.io.thread().clone();
            pool::give(&self.group, server, link.io, link.used);
            thread.bufs.give_read(link.buf);
        }
    }
}

fn parse_number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The answer may wait for more of itself.
fn buffering(configured: bool, options: Option<&Options>, headers: &Headers) -> bool {
    let said = headers
        .get(HeaderId::XAccelBuffering)
        .filter(|_| options.is_none_or(|options| !options.ignores(HeaderId::XAccelBuffering)));
    match said {
        Some(value) if value.eq_ignore_ascii_case(b"no") => false,
        Some(value) if value.eq_ignore_ascii_case(b"yes") => true,
        _ => configured && !headers.get(HeaderId::ContentType).is_some_and(|v| v.starts_with(b"text/event-stream")),
    }
}

/// Bytes a second the answer is read at; 0: as they come.
fn read_rate(ex: &Exchange, options: Option<&Options>) -> u64 {
    let rate = options.and_then(|options| options.limit_rate.as_ref());
    rate.and_then(|rate| size(&rate.value(ex, Sent::default()))).unwrap_or(0)
}

/// What the upstream says about the way its answer is sent: how fast (X-Accel-Limit-Rate), and in which charset
/// (X-Accel-Charset), which is returned.
fn accel(ex: &Exchange, options: Option<&Options>, headers: &Headers) -> Option<Bytes> {
    let heard = |id| headers.get(id).filter(|_| options.is_none_or(|options| !options.ignores(id)));
    if let Some(rate) = heard(HeaderId::XAccelLimitRate).and_then(size) {
        ex.limit_rate.set(Some(rate));
    }
    heard(HeaderId::XAccelCharset).filter(|charset| !charset.is_empty()).map(Bytes::copy_from_slice)
}

/// Where new connections come from.
fn outgoing(ex: &Exchange) -> Outgoing {
    let Some(options) = ex.settings().proxy.as_deref() else { return Outgoing::default() };
    let bind = options.bind.as_ref().map(|bind| bind.value(ex, Sent::default())).filter(|bind| !bind.is_empty());
    let bind = bind.and_then(|bind| {
        let address: Option<SocketAddr> = std::str::from_utf8(&bind).ok().and_then(|text| {
            let ip = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
            text.parse().ok().or_else(|| ip.ok().map(|ip| SocketAddr::new(ip, 0)))
        });
        if address.is_none() {
            let text = String::from_utf8_lossy(&bind).into_owned();
            ex.log_error(&format!("proxy_bind: {text:?} is not a local address"));
        }
        address
    });
    Outgoing { bind, keepalive: options.socket_keepalive }
}
