//! Another server as the backend (nginx: proxy_pass, uwsgi_pass, fastcgi_pass, scgi_pass).
pub mod config;
mod cookie;
pub mod head;
pub mod next;
pub mod options;
pub mod proxying;
mod replace;
mod target;
pub mod variables;

pub use target::Target;

use crate::backend::outcome::Outcome;
use crate::backend::proxy::proxying::Proxying;
use crate::backend::{Handler, Place};
use crate::body::pace::paced;
use crate::body::spool::Buffered;
use crate::body::{Body, RequestBody, Upgraded};
use crate::error::{Error, Kind, Result};
use crate::exchange::whole;
use crate::exchange::{Exchange, Response, Streamed, permitted};
use crate::io::stream::Io;
use crate::settings::buffering;
use crate::settings::connection;
use crate::units::size;
use crate::upstream::pool::{self, Busy, Outgoing, Peer, Used};
use crate::upstream::protocol::cgi::{self, Param};
use crate::upstream::resolve::{NameServers, Resolvers};
use crate::upstream::tls::handshake;
use crate::upstream::tls::terms::{AllTerms, Terms};
use crate::upstream::{
    Address, Attempts, Groups, Language, Limits, Link, Outbound, Purpose, Rest, Secure, Server, Step, Talk, Uplink,
    UpstreamBody,
};
use crate::vars::{Sent, Template, Variable};
use buchner_wire::h1::{Framing, ResponseHead};
use buchner_wire::headers::{HeaderId, Headers};
use buchner_wire::method::Method;
use bytes::Bytes;
use options::Options;
use std::any::Any;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use target::{Uri, bare_host, host_and_port};

/// A proxied route.
pub enum Proxy {
    /// To a group of servers.
    Group(Target),
    /// To wherever the variables in a URL lead, with the variables that an application there gets.
    Url(Template, Option<Arc<[Param]>>),
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
    body: Option<Bytes>,
}

impl Handler for Arc<Proxy> {
    type Config = config::Proxy;

    const VARIABLES: &'static [Variable] = variables::VARIABLES;

    const PASSES_ON: bool = true;

    fn compile(config: &config::Proxy, place: &Place<'_>) -> std::result::Result<Self, String> {
        Proxy::compile(config, place).map(Self::new)
    }

    fn shared(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(self.clone())
    }

    async fn handle(&self, ex: &mut Exchange) -> Result<Outcome> {
        self.pass(ex).await
    }
}

impl Proxy {
    fn compile(proxy: &config::Proxy, place: &Place<'_>) -> std::result::Result<Self, String> {
        let params = |language: Language| {
            let settings = place.settings.get::<cgi::Settings>();
            language.params().map(|own| cgi::compile(settings, own, place.cx.names)).transpose()
        };
        if let Some(url) = &proxy.url {
            let language = Language::of_url(url.as_bytes()).map_or(Language::default(), |(language, ..)| language);
            let template = Template::compile(url, place.cx.names).map_err(|e| format!("proxy.url: {e}"))?;
            return Ok(Self::Url(template, params(language)?));
        }
        let group = place.cx.table::<Groups>().and_then(|groups| groups.0.get(&proxy.upstream));
        let group = group.ok_or_else(|| format!("proxy: unknown upstream {:?}", proxy.upstream))?;
        if proxy.uri.as_ref().is_some_and(|uri| !uri.starts_with('/')) {
            return Err(format!("proxy.uri: {:?} must start with /", proxy.uri));
        }
        let authority = proxy.authority.as_deref().unwrap_or(&proxy.upstream);
        let language = proxy.language;
        let (host, port) = host_and_port(authority, language.port(proxy.tls));
        if proxy.tls {
            check_terms(place)?;
        }
        let uri = proxy.uri.as_deref();
        let url = format!("{}://{authority}{}", language.scheme(proxy.tls), socket_colon(authority));
        let default = match uri {
            Some(uri) => (url + uri, place.path.to_owned()),
            None => (url + "/", "/".to_owned()),
        };
        Ok(Self::Group(Target {
            language,
            secure: proxy.tls,
            params: params(language)?,
            group: group.clone(),
            host: group.config.host.as_deref().unwrap_or(host).into(),
            port: port.into_owned().into_bytes(),
            uri: match uri {
                Some(uri) => Uri::Replaced { by: uri.into(), matched: place.path.len() },
                None => Uri::Same,
            },
            default: (proxy.language == Language::default()).then(|| (default.0.into_bytes(), default.1.into_bytes())),
        }))
    }

    /// Where this request goes or went, if that is known.
    pub fn target<'a>(&'a self, ex: &'a Exchange) -> Option<&'a Target> {
        match self {
            Self::Group(target) => Some(target),
            Self::Url(..) => ex.upstream.target.as_ref()?.downcast_ref(),
        }
    }

    /// What the servers speak has variables, among them the length of the body.
    fn has_params(&self) -> bool {
        match self {
            Self::Group(target) => target.params.is_some(),
            Self::Url(_, params) => params.is_some(),
        }
    }

    /// Asks the servers, and responds.
    async fn pass(&self, ex: &mut Exchange) -> Result<Outcome> {
        let options = ex.settings().get::<Proxying>().options.as_deref();
        if let Some(patience) = &ex.patience {
            patience.set(options.is_some_and(|options| options.ignore_client_abort));
        }
        let unknown_length = matches!(&ex.request.body, RequestBody::Stream(body) if body.length().is_none());
        if ex.settings().get::<buffering::Settings>().request_buffering
            || (unknown_length && (self.has_params() || options.is_some_and(|options| options.http10)))
        {
            let memory = ex.settings().get::<buffering::Settings>().buffer_memory.0;
            whole::read(ex, memory).await?;
        }
        match self {
            Self::Group(target) => target.handle(ex).await,
            Self::Url(url, params) => {
                let target = Rc::new(Target::of_url(ex, url, params.clone())?);
                ex.upstream.target = Some(target.clone());
                target.handle(ex).await
            }
        }
    }
}

/// Finds out at the start whether a route that speaks TLS has terms to do so.
fn check_terms(place: &Place<'_>) -> std::result::Result<(), String> {
    if place.settings.get::<Option<Arc<Terms>>>().is_some() {
        return Ok(());
    }
    let all = place.cx.table::<AllTerms>().ok_or_else(|| "proxy.tls: there are no terms".to_owned())?;
    all.default().map(drop).map_err(|e| format!("proxy.tls: {e}"))
}

/// A Unix socket's path ends with a colon in a URL.
fn socket_colon(authority: &str) -> &'static str {
    if authority.starts_with("unix:") { ":" } else { "" }
}

impl Own {
    fn new(ex: &Exchange) -> Result<Self> {
        let Some(options) = ex.settings().get::<Proxying>().options.as_deref() else {
            return Ok(Self { method: None, body: None });
        };
        let method = match &options.method {
            None => None,
            Some(method) => {
                let method = Method::from_bytes(&method.value(ex, Sent::default()));
                Some(method.ok_or_else(|| Error::new(Kind::Internal, "proxy_method: its value is not a method"))?)
            }
        };
        Ok(Self { method, body: options.body.as_ref().map(|body| body.value(ex, Sent::default()).into()) })
    }
}

impl Target {
    /// Asks the group's servers, another one where that is safe and wanted.
    async fn handle(&self, ex: &mut Exchange) -> Result<Outcome> {
        let members = pool::of(&ex.thread).borrow_mut().members(&self.group);
        let streamed = matches!(ex.request.body, RequestBody::Stream(_));
        let repeatable =
            !streamed && (ex.request.method.is_idempotent() || ex.settings().get::<Proxying>().next.non_idempotent());
        let rerouted = ex.upstream.tries > 0;
        let (next, key) = (ex.settings().get::<Proxying>().next, self.group.key(ex));
        let mut attempts = Attempts::new(members, next, key, ex.thread.clock.now(), repeatable);
        loop {
            let now = ex.thread.clock.now();
            let peer = match attempts.step(now) {
                Step::Ask(peer) => peer,
                Step::LookUp(server) => {
                    self.look_up(ex, &mut attempts, server).await?;
                    continue;
                }
                Step::Nobody => {
                    let cause = format!("upstream {}: every server is down, busy or was tried", self.group.name);
                    return Err(Error::new(Kind::NoUpstream, cause));
                }
            };
            ex.upstream.begin(now, rerouted && attempts.made() == 1);
            ex.upstream.address = Some(peer.name.clone());
            let asked = self.ask(ex, &peer, attempts.may_pass_over()).await;
            let now = ex.thread.clock.now();
            ex.upstream.header_ms = now.saturating_sub(ex.upstream.began);
            match asked {
                Ok(Asked::Answer(response)) => {
                    attempts.passed();
                    ex.upstream.passing = true;
                    return Ok(Outcome::Respond(response));
                }
                Ok(Asked::Next(status)) => {
                    if attempts.passed_over(status, now) {
                        unavailable(ex, &peer.label(), peer.server(), &format!("it responded with {status}"));
                    }
                }
                Err(failure) => {
                    ex.upstream.status = failure.kind.status();
                    let verdict = attempts.failed(&failure, now);
                    if verdict.unavailable {
                        unavailable(ex, &peer.label(), peer.server(), &failure.to_string());
                    }
                    if !verdict.again {
                        return Err(failure);
                    }
                }
            }
        }
    }

    /// Looks up the name of a server. Fails if nobody else can be asked.
    async fn look_up(&self, ex: &Exchange, attempts: &mut Attempts, server: usize) -> Result<()> {
        let resolver = ex.thread.rooms.get::<Resolvers>().of(ex.settings().get::<Arc<NameServers>>());
        let known = &self.group.servers[server];
        let Address::Name(host, _) = &known.address else { return Ok(()) };
        let failure = match resolver.lookup(&ex.thread, host).await {
            Ok(found) => {
                attempts.found(server, &found);
                return Ok(());
            }
            Err(failure) => failure,
        };
        let verdict = attempts.not_found(server, &failure, ex.thread.clock.now());
        if verdict.unavailable {
            unavailable(ex, &known.address.to_string(), known, &failure.to_string());
        }
        if verdict.again { Ok(()) } else { Err(failure) }
    }

    /// Asks one peer: over a kept connection first, and once more over a new one if the kept one turns out to be stale.
    /// `more`: another peer may be asked instead of passing its response on.
    async fn ask(&self, ex: &mut Exchange, peer: &Rc<Peer>, more: bool) -> Result<Asked> {
        let own = Own::new(ex)?;
        let repeatable = ex.request.method.is_idempotent();
        let terms = if self.secure { Some(terms(ex)?) } else { None };
        let name = terms.as_deref().map(|terms| self.name(ex, terms)).unwrap_or_default();
        let alpn = self.language.alpn();
        let secure = terms.as_ref().map(|terms| Secure { terms, name: &name, alpn });
        let purpose = Purpose::new(self.language, secure.as_ref());
        if let Some((io, used)) = pool::take(peer, &purpose) {
            let busy = Busy::new(peer);
            let streamed = matches!(ex.request.body, RequestBody::Stream(_));
            ex.upstream.connect_ms = Some(0);
            match self.exchange(ex, (io, used, busy), &own, more).await {
                // It ended meanwhile, or what came belongs to the response before.
                Err(e) if matches!(e.kind, Kind::UpstreamClosed | Kind::UpstreamInvalid) && repeatable && !streamed => {
                }
                other => return other,
            }
            ex.upstream.connect_ms = None;
        }
        let busy = Busy::new(peer);
        let outgoing = outgoing(ex);
        let timeout_ms = ex.settings().get::<config::Settings>().connect_timeout.0;
        let mut io = pool::connect(&ex.thread, peer, timeout_ms, outgoing).await?;
        if let Some(secure) = &secure {
            handshake::encrypt(&mut io, peer, secure, timeout_ms).await?;
        }
        let now = ex.thread.clock.now();
        ex.upstream.connect_ms = Some(now.saturating_sub(ex.upstream.began));
        self.exchange(ex, (io, Used::new(now, purpose), busy), &own, more).await
    }

    /// The name that the server's certificate must be for (nginx: proxy_ssl_name).
    fn name(&self, ex: &Exchange, terms: &Terms) -> String {
        let name = terms.name.as_ref().map(|name| name.value(ex, Sent::default()));
        let name = String::from_utf8_lossy(name.as_deref().unwrap_or(&self.host));
        bare_host(&name).to_owned()
    }

    /// One request and the head of its response on one connection.
    async fn exchange(
        &self,
        ex: &mut Exchange,
        (io, used, busy): (Io, Used, Busy),
        own: &Own,
        more: bool,
    ) -> Result<Asked> {
        let method = own.method.as_ref().unwrap_or(&ex.request.method);
        let settings = ex.settings().get::<config::Settings>();
        let timeouts = (settings.read_timeout.0, settings.upstream_send_timeout.0);
        let mut head = ex.thread.bufs.take_write();
        let own_body = own.body.as_ref().map(Bytes::len);
        let outbound = Outbound { ex, target: self, method, own_body };
        let mut talk = self.language.talk(&outbound);
        talk.write_request(&outbound, &mut head)?;
        io.write_deadline(timeouts.1);
        let uplink = Self::send(ex, &io, &talk, &head, own.body.as_ref()).await?;
        let body = own_body.map_or_else(|| ex.request.body.length().unwrap_or(0), |length| length as u64);
        ex.upstream.sent = head.len() as u64 + body;
        ex.thread.bufs.give_write(head);
        let mut link = Link::new(io, used, busy, uplink, timeouts);
        let hint = |headers: &Headers| {
            if let Some(options) = ex.settings().get::<Proxying>().options.as_deref() {
                options.hint(ex, headers);
            }
        };
        let response = link.read_head(&mut talk, hint).await;
        note_stderr(ex, &talk.take_stderr())?;
        let response = response?;
        ex.upstream.status = response.status;
        ex.upstream.answered = true;
        ex.upstream.head_bytes = link.head_bytes as u64;
        if more && response.status >= 400 && ex.settings().get::<Proxying>().next.after_status(response.status) {
            return Ok(Asked::Next(response.status));
        }
        self.respond(ex, link, talk, response).map(Asked::Answer)
    }

    /// Begins to send a request. What the kernel doesn't take at once goes up while the response is awaited: a server may respond
    /// before it has read everything (413), and stop reading.
    async fn send(ex: &mut Exchange, io: &Io, talk: &Talk, head: &[u8], own: Option<&Bytes>) -> Result<Option<Uplink>> {
        let pass = ex.settings().get::<Proxying>().options.as_deref().is_none_or(|options| options.pass_body);
        let (frame, mut rest) = (talk.frame(ex.request.body.length()), Rest::Nothing);
        let body = match &mut ex.request.body {
            _ if own.is_some() => own.cloned(),
            _ if !pass => None,
            RequestBody::Empty => None,
            RequestBody::Buffered(Buffered::Memory(body)) => Some(body.clone()),
            RequestBody::Buffered(Buffered::File(file)) => {
                rest = Rest::File(file.file().clone(), 0, file.length());
                None
            }
            body @ RequestBody::Stream(_) => {
                if let RequestBody::Stream(source) = std::mem::replace(body, RequestBody::Empty) {
                    rest = Rest::Client(source);
                }
                None
            }
        };
        // What comes in pieces has its end behind it.
        let body = if matches!(rest, Rest::Nothing) { frame.whole(body.unwrap_or_default()) } else { Bytes::new() };
        let sent = match io.send_once(head, &body, matches!(rest, Rest::File(..))).await {
            Ok(sent) => sent,
            // It may have responded and closed.
            Err(e) if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => return Ok(None),
            Err(_) => return Err(Self::closed(io, ex)),
        };
        let left = match sent.checked_sub(head.len()) {
            Some(sent) => body.slice(sent..),
            None => [&head[sent..], &body].concat().into(),
        };
        if left.is_empty() && matches!(rest, Rest::Nothing) {
            return Ok(None);
        }
        Ok(Some(Uplink::new(left, rest, frame)))
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

    fn respond(&self, ex: &mut Exchange, mut link: Link, mut talk: Talk, head: ResponseHead) -> Result<Response> {
        let ResponseHead { status, reason, mut headers, framing, keep_alive, .. } = head;
        if status == 101 {
            return Self::upgraded(ex, link, headers);
        }
        if ex.scope.wants.fields {
            ex.upstream.headers = Some(options::without_repeated(&headers));
        }
        let length = headers.get(HeaderId::ContentLength).and_then(parse_number);
        ex.upstream.preread = link.buf.len() as u64;
        let options = ex.settings().get::<Proxying>().options.as_deref();
        let flush = !buffering(ex.settings().get::<buffering::Settings>().buffering, options, &headers);
        let rate = read_rate(ex, options);
        let charset = accel(ex, options, &headers);
        self.rewrite_fields(ex, status, options, &mut headers)?;
        let trailers = options.is_some_and(|options| options.trailers);
        let ranges = options.is_some_and(|options| options.force_ranges);
        let body = match framing {
            Framing::None => {
                let bodiless = matches!(status, 204 | 304) || ex.request.method == Method::Head;
                link.finish(keep_alive && talk.is_complete());
                Body::None { length: if bodiless { length } else { Some(0) } }
            }
            Framing::Length(length) if !self.language.is_in_records() && link.buf.len() as u64 >= length => {
                let body = link.buf.split_to(length as usize).freeze();
                link.finish(keep_alive);
                ex.upstream.length = length;
                Body::Full(body)
            }
            framing => {
                let noted = ex.scope.wants.body.then(Rc::<Streamed>::default);
                ex.upstream.streamed.clone_from(&noted);
                talk.begin_body(framing);
                Body::Stream(Box::new(UpstreamBody {
                    talk,
                    link: Some(link),
                    keep_alive,
                    flush,
                    noted,
                    trailers,
                    limits: (!flush).then(|| Limits {
                        memory: ex.settings().get::<buffering::Settings>().buffer_memory.0,
                        most: ex.settings().get::<buffering::Settings>().buffer_spool.0,
                        spool: ex.scope.spool.clone(),
                    }),
                    kept: None,
                    failed: None,
                }))
            }
        };
        ex.upstream.charset = charset;
        let mut response = Response::new(status, if rate == 0 { body } else { paced(body, rate, 0) });
        response.headers = headers;
        response.set_reason(&reason);
        if ranges {
            // Several would have to be cut out of what comes only once.
            response.max_ranges = 1;
        }
        Ok(response)
    }

    /// Leaves out the headers that are not the client's, and rewrites those that lead to the upstream.
    fn rewrite_fields(
        &self,
        ex: &Exchange,
        status: u16,
        options: Option<&Options>,
        headers: &mut Headers,
    ) -> Result<()> {
        options::strip(options, status, headers);
        if let Some(options) = options {
            let default = self.default.as_ref().map(|(from, to)| (from.as_slice(), to.as_slice()));
            options.rewrite(ex, default, headers)?;
        }
        Ok(())
    }

    fn upgraded(ex: &Exchange, mut link: Link, headers: Headers) -> Result<Response> {
        let protocols = &ex.settings().get::<connection::Settings>().upgrade_protocols;
        let asked = ex.upgrade().is_some()
            && headers.get_all(HeaderId::Upgrade).all(|to| permitted(to, protocols).as_deref() == Some(to));
        if !asked {
            let cause = format!("upstream {} switched protocols unasked (101)", ex.upstream.address());
            return Err(Error::new(Kind::UpstreamInvalid, cause));
        }
        let idle_ms = ex
            .settings()
            .get::<connection::Settings>()
            .tunnel_timeout
            .map_or(ex.settings().get::<config::Settings>().read_timeout.0, |timeout| timeout.0);
        link.io.no_deadline();
        let received = link.buf.split().freeze();
        let guard = Some(Box::new(link.busy) as Box<dyn std::any::Any>);
        let mut response =
            Response::new(101, Body::Upgraded(Box::new(Upgraded { io: link.io, received, idle_ms, guard })));
        response.headers = headers;
        Ok(response)
    }
}

/// Logs what a FastCGI application wrote as errors. Fails if that makes its response count as invalid.
fn note_stderr(ex: &Exchange, text: &[u8]) -> Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(text);
    ex.log_error(&format!("upstream {} wrote to FastCGI's stderr: {:?}", ex.upstream.address(), text.trim_end()));
    let caught = &ex.settings().get::<cgi::Settings>().fastcgi_catch_stderr;
    match caught.iter().find(|part| text.contains(part.as_str())) {
        Some(part) => {
            let cause =
                format!("upstream {} wrote {part:?} to FastCGI's stderr (fastcgi_catch_stderr)", ex.upstream.address());
            Err(Error::new(Kind::UpstreamInvalid, cause))
        }
        None => Ok(()),
    }
}

/// Says that a server is left alone.
fn unavailable(ex: &Exchange, name: &str, server: &Server, why: &str) {
    let seconds = server.config.fail_timeout.0.div_ceil(1000);
    ex.log_warn(&format!("upstream {name} is marked unavailable for {seconds} s: {why}"));
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

/// On which terms the servers are spoken to in TLS.
fn terms(ex: &Exchange) -> Result<Arc<Terms>> {
    if let Some(terms) = ex.settings().get::<Option<Arc<Terms>>>() {
        return Ok(terms.clone());
    }
    let terms = ex.scope.get::<AllTerms>().map_or(Err("there are none"), AllTerms::default);
    terms.cloned().map_err(|e| Error::new(Kind::Internal, format!("proxy: the terms of TLS: {e}")))
}

/// Where new connections come from.
fn outgoing(ex: &Exchange) -> Outgoing {
    let Some(options) = ex.settings().get::<Proxying>().options.as_deref() else { return Outgoing::default() };
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
