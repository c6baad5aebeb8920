//! Requests without sockets, for unit tests: a [`Site`] is a plan and a thread to serve it on.
//!
//! ```ignore
//! let site = Site::new(json!({"route": [{"path": "/", "content": {"respond": {"status": 200, "body": "$uri"}}}]}));
//! let mut ex = site.exchange("GET /a?b HTTP/1.1\nRange: bytes=0-1");
//! let answer = site.run(&mut ex);
//! assert_eq!((answer.status, answer.text()), (206, "/a"));
//! ```
use crate::body::{Body, RequestBody, Source, next_chunk};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::exchange::{Exchange, Response, Unsent};
use crate::filter;
use crate::http::connection::Connection;
use crate::http::port::{Arrival, Port, Security};
use crate::http::service::Service;
use crate::http::{h1, request};
use crate::io::challenges::Challenges;
use crate::io::local::Local;
use crate::io::scarcity::Scarcity;
use crate::io::shared::{Shared, Tell};
use crate::modules;
use crate::net::peer::Peer;
use crate::observe::access_log;
use crate::observe::log::LogWriter;
use crate::observe::log::testing::Lines;
use crate::pipeline;
use crate::plan::{Plan, PlanRef};
use crate::rooms::SharedRooms;
use crate::vars::{Names, Sent, Template};
use buchner_wire::h1::{Framing, Limits, parse_request};
use buchner_wire::headers::{Header, Headers};
use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fmt::Write;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

/// A plan, and an I/O thread to serve it on.
pub struct Site {
    plan: PlanRef,
    thread: Rc<Local>,
    names: Names,
    runtime: tokio::runtime::LocalRuntime,
    /// What is logged.
    pub log: Lines,
}

/// There is no supervisor.
struct Nobody;

impl Tell for Nobody {
    fn tell(&self, _: &Value) {}
}

impl Site {
    /// A site of this configuration: the resolved document, of which all may be left out. Without `server`, `route` and
    /// `rewrite` are those of `example.com`; `settings` may be those of all instead of a list; routes have the first ones.
    pub fn new(config: Value) -> Self {
        Self::check(config).unwrap()
    }

    /// A site with these settings, and nothing that responds.
    pub fn with(settings: Value) -> Self {
        let mut config = json!({"route": [{"path": "/"}]});
        config["settings"] = settings;
        Self::new(config)
    }

    /// A site, or what is wrong with its configuration.
    pub fn check(config: Value) -> std::result::Result<Self, String> {
        let config: Config = serde_json::from_value(document(config)).map_err(|error| error.to_string())?;
        let defined = config.variable.iter().map(|variable| variable.name.as_str());
        let names = Names::new(&modules::VARIABLES, defined)?;
        let plan = PlanRef::new(Plan::compile(&config, None)?);
        let (writer, log) = LogWriter::collecting();
        let shared = Arc::new(Shared {
            log: writer,
            metrics: Mutex::default(),
            supervisor: Arc::new(Nobody),
            scarcity: Scarcity::below(None),
            challenges: Challenges::default(),
            rooms: SharedRooms::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default())
            .unwrap();
        let thread = Local::new(0, &shared, Arc::default());
        Ok(Self { plan, thread, names, runtime, log })
    }

    /// The exchange of a request: a request line (`HTTP/1.1` may be left out), headers, and the body after an empty line.
    /// `Host` is `example.com` and `Content-Length` that of the body unless the request says otherwise.
    pub fn exchange(&self, request: &str) -> Exchange {
        let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
        let (line, headers) = head.split_once('\n').unwrap_or((head, ""));
        let has = |name: &str| headers.lines().any(|header| header.to_ascii_lowercase().starts_with(name));
        let mut text = line.to_owned();
        if !line.contains(" HTTP/") {
            text.push_str(" HTTP/1.1");
        }
        if !has("host:") {
            text.push_str("\nHost: example.com");
        }
        if !body.is_empty() && !has("transfer-encoding:") {
            let _ = write!(text, "\nContent-Length: {}", body.len());
        }
        for header in headers.lines() {
            text.push('\n');
            text.push_str(header);
        }
        let text = text.replace('\n', "\r\n") + "\r\n\r\n";
        let head = parse_request(&mut BytesMut::from(&text[..]), &Limits::default(), &mut 0).unwrap().unwrap();
        let pieces: Vec<_> = [body].into_iter().filter(|body| !body.is_empty()).collect();
        let length = (head.framing != Framing::Chunked).then_some(body.len() as u64);
        let body = |_| match head.framing {
            Framing::None | Framing::Length(0) => RequestBody::Empty,
            _ => RequestBody::Stream(Box::new(Pieces::new(&pieces, length))),
        };
        let connection = self.connection();
        connection.count();
        let mut ex = request::exchange(&connection, h1::head(head.clone(), text.len() as u64), body)
            .unwrap_or_else(|_| panic!("refused: {text}"));
        (ex.client.connection, ex.client.since) = (1, 0);
        ex
    }

    /// A connection of a client in the documentation's network.
    pub fn connection(&self) -> Connection {
        let service = Service::new(self.thread.clone(), self.plan.clone());
        let peer = Peer::Ip(([192, 0, 2, 1], 50_000).into());
        let local = Peer::Ip(([127, 0, 0, 1], 8000).into());
        let arrival = Arrival { peer, local, proxied: None, security: Security::None };
        Connection::new(service, Port::new("127.0.0.1:8000".to_owned(), 0), arrival)
    }

    /// Walks an exchange through the phases and the filters, and writes its line into the access logs.
    pub fn run(&self, ex: &mut Exchange) -> Answer {
        self.wait(async {
            let response = pipeline::run(ex).await;
            let answer = Answer::read(response).await;
            access_log::write(ex, answer.sent());
            // Mirrors and other work beside the request.
            tokio::task::yield_now().await;
            answer
        })
    }

    /// The response to a request.
    pub fn send(&self, request: &str) -> Answer {
        self.run(&mut self.exchange(request))
    }

    /// What the filters of the route make of a response.
    pub fn filter(&self, ex: &Exchange, mut response: Response) -> Answer {
        self.wait(async {
            let instead = filter::apply(ex, &mut response).await;
            Answer::read(instead.unwrap_or(response)).await
        })
    }

    /// The value of a text with variables.
    pub fn value(&self, ex: &Exchange, text: &str) -> String {
        let value = Template::compile(text, &self.names).unwrap().value(ex, Sent::default());
        String::from_utf8_lossy(&value).into_owned()
    }

    /// Lines of the access logs since the last call.
    pub fn logged(&self) -> Vec<String> {
        self.thread.log.flush_all();
        self.log.access()
    }

    /// Waits for work on the site's thread.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

/// The whole document of one with less.
fn document(mut config: Value) -> Value {
    let take = |config: &mut Value, name: &str| config[name].take();
    let list = |value: Value| if value.is_null() { json!([]) } else { value };
    let (mut route, rewrite) = (list(take(&mut config, "route")), list(take(&mut config, "rewrite")));
    numbered(&mut route);
    if config["server"].is_null() {
        let names = ["example.com"];
        config["server"] = json!([{"listen": [0], "names": names, "settings": 0, "route": route, "rewrite": rewrite}]);
    }
    if config["listen"].is_null() {
        config["listen"] = json!([{"address": "127.0.0.1:8000", "default_server": 0}]);
    }
    config["settings"] = match take(&mut config, "settings") {
        Value::Null => json!([{}]),
        one @ Value::Object(_) => json!([one]),
        all => all,
    };
    let config = config.as_object_mut().unwrap();
    config.retain(|_, value| !value.is_null());
    config.clone().into()
}

/// Gives routes, and those within them, the first settings.
fn numbered(routes: &mut Value) {
    for route in routes.as_array_mut().into_iter().flatten() {
        if route["settings"].is_null() {
            route["settings"] = json!(0);
        }
        if let Some(within) = route.get_mut("route") {
            numbered(within);
        }
    }
}

/// A response, read whole.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: Headers,
    /// Bytes of its body, if known before it is read.
    pub length: Option<u64>,
    /// Its body.
    pub body: Vec<u8>,
    /// Why its body broke off.
    pub broken: Option<Error>,
    /// Why it is not sent.
    pub unsent: Option<Unsent>,
    /// The connection closes after it.
    pub close: bool,
}

impl Answer {
    async fn read(response: Response) -> Self {
        let Response { status, headers, body, unsent, close, .. } = response;
        let length = body.length();
        let (mut bytes, mut broken) = (Vec::new(), None);
        if let Ok(mut source) = body.into_source() {
            loop {
                match next_chunk(source.as_mut()).await {
                    Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                    Ok(None) => break,
                    Err(error) => {
                        broken = Some(error);
                        break;
                    }
                }
            }
        }
        Self { status, headers, length, body: bytes, broken, unsent, close }
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The values of a header, with `, ` between them; empty without one.
    pub fn header(&self, name: &str) -> String {
        let same = |header: &Header<'_>| header.name.eq_ignore_ascii_case(name.as_bytes());
        let values = self.headers.iter().filter(same).map(|header| String::from_utf8_lossy(header.value).into_owned());
        values.collect::<Vec<_>>().join(", ")
    }

    fn sent(&self) -> Sent<'_> {
        let body_bytes = self.body.len() as u64;
        let headers = Some(&self.headers);
        Sent { status: self.status, body_bytes, bytes: body_bytes, complete: true, headers, trailers: None }
    }
}

/// A response with a body and a type.
pub fn response(status: u16, kind: &str, body: &str) -> Response {
    let mut response = Response::new(status, Body::Full(Bytes::copy_from_slice(body.as_bytes())));
    response.headers.push_name(b"Content-Type", kind.as_bytes());
    response
}

/// Runs work that needs no clock and no sockets.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

/// A body that comes in pieces.
pub struct Pieces {
    pieces: VecDeque<Bytes>,
    length: Option<u64>,
    limit: u64,
    taken: u64,
}

impl Pieces {
    /// These pieces; `length` is what is said of them.
    pub fn new(pieces: &[&str], length: Option<u64>) -> Self {
        let pieces = pieces.iter().map(|piece| Bytes::copy_from_slice(piece.as_bytes())).collect();
        Self { pieces, length, limit: 0, taken: 0 }
    }

    /// These bytes, of a length that is not said.
    pub fn of(pieces: Vec<Bytes>) -> Self {
        Self { pieces: pieces.into(), length: None, limit: 0, taken: 0 }
    }
}

impl Source for Pieces {
    fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        let Some(piece) = self.pieces.pop_front() else { return Poll::Ready(Ok(None)) };
        self.taken += piece.len() as u64;
        if self.limit != 0 && self.taken > self.limit {
            return Poll::Ready(Err(Error::new(Kind::BodyTooLarge, "the body is too large")));
        }
        Poll::Ready(Ok(Some(piece)))
    }

    fn length(&self) -> Option<u64> {
        self.length
    }

    fn set_limit(&mut self, bytes: u64) {
        self.limit = bytes;
    }
}

/// Directories for tests.
pub use crate::backend::files::testing::TempDir;
