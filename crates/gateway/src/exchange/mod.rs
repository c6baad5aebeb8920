//! One request on its way through the line: what came, what is known about it, what it cost.
pub mod captures;
pub mod conditions;
pub mod id;
pub mod limited;
pub mod note;
mod secure;
pub mod whole;

pub use crate::exchange::note::{Streamed, UpstreamNote};
pub use crate::exchange::secure::Secure;

use crate::body::{Body, RequestBody};
use crate::error::Error;
use crate::exchange::captures::Captures;
use crate::exchange::conditions::IfModifiedSince;
use crate::exchange::id::RequestId;
use crate::exchange::limited::Limited;
use crate::io::local::Local;
use crate::io::sock::Sock;
use crate::net::peer::Peer;
use crate::scope::{Route, ScopeRef, Server, Settings};
use crate::settings::connection;
use crate::vars::Values;
use buchner_wire::Version;
use buchner_wire::h1::reason;
use buchner_wire::headers::{Headers, list_members};
use buchner_wire::method::Method;
use buchner_wire::proxy_protocol::ProxyHeader;
use bytes::Bytes;
use std::any::Any;
use std::borrow::Cow;
use std::cell::{Cell, OnceCell, RefCell};
use std::rc::{Rc, Weak};

/// What the connection says about the client.
#[derive(Clone, Debug)]
pub struct Client {
    /// The socket's other end.
    pub peer: Peer,
    /// The client's address: the peer's, or what a trusted proxy forwarded.
    pub addr: Peer,
    /// The address it connected to.
    pub local: Peer,
    /// What the proxy in front said ahead of the connection (the PROXY protocol).
    pub proxied: Option<Rc<ProxyHeader>>,
    /// Came over TLS, here or at a trusted proxy.
    pub secure: bool,
    /// What was agreed on in the handshake here.
    pub tls: Option<Rc<Secure>>,
    /// A trusted proxy is in front.
    pub trusted: bool,
    /// `addr` is what a trusted proxy forwarded.
    pub found: bool,
    /// Number of the request on its connection, from 1.
    pub requests: u32,
    /// Number of the connection, unique among all threads.
    pub connection: u64,
    /// When it was accepted, on the thread's clock in milliseconds.
    pub since: u64,
    /// The request came while the one before it was answered.
    pub pipelined: bool,
}

/// The request, independent of the HTTP version.
pub struct Request {
    /// Method.
    pub method: Method,
    /// The request-target as sent.
    pub target: Bytes,
    /// Normalised, decoded path; internal redirects change it.
    pub path: Bytes,
    /// The query without `?`, raw; absent without one.
    pub query: Option<Bytes>,
    /// Version the client speaks.
    pub version: Version,
    /// Header fields, hop-by-hop ones removed.
    pub headers: Headers,
    /// Host in lower case, without port; empty for a 1.0 request without one.
    pub host: Bytes,
    /// Body.
    pub body: RequestBody,
    /// The client asks to leave HTTP (RFC 9110 section 7.8).
    pub upgrade: bool,
    /// The `Upgrade` field, removed from `headers`.
    pub upgrade_to: Bytes,
    /// Bytes of the head as received.
    pub head_bytes: u64,
}

/// The response, independent of the HTTP version. Framing fields (Content-Length, Transfer-Encoding, Connection) are the writer's.
pub struct Response {
    /// Status, 200 to 599, or 101 with [`Body::Upgraded`].
    pub status: u16,
    /// The words of an upstream or app for that status, where they are not the usual ones.
    reason: Option<Box<(u16, Bytes)>>,
    /// Header fields.
    pub headers: Headers,
    /// Body.
    pub body: Body,
    /// Made by the gateway for a failure, or a redirect of its own, so `error_page` applies.
    pub own_error: bool,
    /// The connection closes behind it.
    pub close: bool,
    /// Nothing of it is sent, and its status is for the log alone. Said by this flag and not by the status, which apps and
    /// upstreams may use for something else.
    pub unsent: Option<Unsent>,
    /// Conditions of the client are about it, and how If-Modified-Since is compared: answers of this process's own. Those of
    /// upstreams and apps have been looked at there.
    pub conditions: Option<IfModifiedSince>,
    /// Ranges of it that one request may have; 0: it has none.
    pub max_ranges: u32,
}

impl Response {
    /// A response without fields.
    pub fn new(status: u16, body: Body) -> Self {
        Self {
            status,
            reason: None,
            headers: Headers::default(),
            body,
            own_error: false,
            close: false,
            unsent: None,
            conditions: None,
            max_ranges: 0,
        }
    }
}

impl Response {
    /// Keeps the reason phrase that came with the status.
    pub fn set_reason(&mut self, phrase: &[u8]) {
        if phrase != reason(self.status).as_bytes() {
            self.reason = Some(Box::new((self.status, Bytes::copy_from_slice(phrase))));
        }
    }

    /// The reason phrase that came with the status, unless that has been replaced; empty for the usual one.
    pub fn reason(&self) -> &[u8] {
        self.reason.as_ref().filter(|kept| kept.0 == self.status).map_or(b"", |kept| &kept.1)
    }
}

/// Why a response is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// The client has left.
    Gone,
    /// The configuration says so (nginx: `return 444`).
    Closed,
}

/// Sends interim responses (1xx) ahead of the final one.
pub trait Interim {
    /// Sends one. A client that is not reading may not get it.
    fn send(&self, status: u16, headers: &Headers);
}

/// Where the line of phases is entered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Entry {
    /// At the server's own operations: new requests, internal redirects.
    #[default]
    Server,
    /// At the search for a route, after a rewrite.
    Location,
    /// At the named route (`@app`).
    Named(String),
}

/// One request and everything about it.
pub struct Exchange {
    /// The I/O thread it runs on.
    pub thread: Rc<Local>,
    /// The configuration it began with.
    pub scope: ScopeRef,
    /// The client.
    pub client: Client,
    /// The request.
    pub request: Request,
    /// Index of the server.
    pub server: u32,
    /// Index of the route in its server, once located, and of the settings in force with it: they are asked for all the time.
    route: Option<u32>,
    settings: u32,
    /// The first line as it came, of a head that was refused.
    pub line: Option<Bytes>,
    /// Its id, made once.
    pub id: RequestId,
    /// Start, on the thread's clock in milliseconds.
    pub started: u64,
    /// Where the phases are entered next.
    pub entry: Entry,
    /// Changes of the path so far, by internal redirects and rewrites.
    pub redirects: u8,
    /// It was redirected internally, so `internal` routes are open to it.
    pub internal: bool,
    /// The path and query are still those of the request-target, so that may be passed on as it came.
    pub as_sent: bool,
    /// A rewrite changed the path, so a route is looked for anew.
    pub path_changed: bool,
    /// The path is still the one the route was found by, so the part that matched may be replaced (nginx: `proxy_pass` with a URI).
    pub in_location: bool,
    /// `try_files` found the path behind the directory of an `alias` in a regular expression's route.
    pub path_after_alias: bool,
    /// Groups of the last regular expression that matched.
    pub captures: RefCell<Captures>,
    /// Values of variables that the configuration defines.
    pub values: Values,
    /// How deep in subrequests it is; 0 for what a client sent.
    pub depth: u8,
    /// Fields of a response with X-Accel-Redirect that go over the final one.
    pub kept: Option<Headers>,
    /// `WWW-Authenticate` of a check that refused the request; the page of an `error_page` has it too.
    pub challenges: Vec<Vec<u8>>,
    /// `Location` of a redirect that an `error_page` replaces; its page has it too.
    pub location: Option<Vec<u8>>,
    /// The status that led to an `error_page`, or the one that page is to have.
    pub error_status: Option<u16>,
    /// It is on its way to an error page, whose own errors are not looked for.
    pub in_error_page: bool,
    /// It may reach no app and no other server: the error page of a request that could not be read.
    pub local_only: bool,
    /// The cookie that tells the client apart, once it was made.
    pub uid: OnceCell<[u8; 16]>,
    /// Bytes of the body before and after its compression, once it is compressed.
    pub gzip_bytes: OnceCell<Rc<Cell<(u64, u64)>>>,
    /// Bytes a second the answer may take, where the request's own course said so; 0: no limit.
    pub limit_rate: Cell<Option<u64>>,
    /// What limits said, once one was asked.
    limited: OnceCell<Rc<Limited>>,
    /// What the firewall knows of it, once it looked.
    pub inspection: OnceCell<Rc<dyn Any>>,
    /// What upstreams did.
    pub upstream: UpstreamNote,
    /// The way for interim responses; `None` if no route has any or the client takes none.
    pub interim: Option<Rc<dyn Interim>>,
    /// Says that the work goes on when the client leaves; there where some route has that.
    pub patience: Option<Rc<Cell<bool>>>,
    /// The client's socket, where a variable asks the kernel about it.
    pub socket: Weak<Sock>,
    /// The cause of a failure, for the error log.
    pub failure: Option<String>,
    /// Why no phase looks at it: how it came says that none may.
    pub refusal: Option<Box<Error>>,
}

impl Exchange {
    /// A request that has just been read.
    pub fn new(
        thread: Rc<Local>,
        scope: ScopeRef,
        client: Client,
        request: Request,
        server: u32,
        id: RequestId,
    ) -> Self {
        Self {
            started: thread.clock.now(),
            settings: scope.servers.get(server as usize).map_or(0, |server| server.settings),
            values: Values::new(scope.definitions.len()),
            thread,
            scope,
            client,
            request,
            server,
            route: None,
            line: None,
            id,
            entry: Entry::Server,
            redirects: 0,
            internal: false,
            as_sent: true,
            path_changed: false,
            in_location: true,
            path_after_alias: false,
            captures: RefCell::default(),
            depth: 0,
            kept: None,
            challenges: Vec::new(),
            location: None,
            error_status: None,
            in_error_page: false,
            local_only: false,
            uid: OnceCell::new(),
            gzip_bytes: OnceCell::new(),
            limit_rate: Cell::new(None),
            limited: OnceCell::new(),
            inspection: OnceCell::new(),
            upstream: UpstreamNote::default(),
            interim: None,
            patience: None,
            socket: Weak::new(),
            failure: None,
            refusal: None,
        }
    }

    /// It is what a client sent, not a subrequest of that.
    pub fn is_main(&self) -> bool {
        self.depth == 0
    }

    /// What limits said of it so far; nothing where none was asked.
    pub fn limits(&self) -> Option<&Limited> {
        self.limited.get().map(|limited| &**limited)
    }

    /// What limits say of it.
    pub fn limited(&self) -> Rc<Limited> {
        self.limited.get_or_init(Rc::default).clone()
    }

    /// What limits say of `main` they say of this one, too.
    pub fn share_limits(&mut self, main: &Self) {
        self.limited = OnceCell::from(main.limited());
    }

    /// The path was sent with something encoded in it, or with a plus sign.
    pub fn path_was_encoded(&self) -> bool {
        let target = &self.request.target;
        let end = memchr::memchr(b'?', target).unwrap_or(target.len());
        memchr::memchr2(b'%', b'+', &target[..end]).is_some()
    }

    /// The protocols the client asks for, as far as `upgrade_protocols` permits them (RFC 9110 section 7.8).
    pub fn upgrade(&self) -> Option<Cow<'_, [u8]>> {
        if !self.request.upgrade {
            return None;
        }
        permitted(&self.request.upgrade_to, &self.settings().get::<connection::Settings>().upgrade_protocols)
    }

    /// Its server.
    pub fn server(&self) -> &Server {
        &self.scope.servers[self.server as usize]
    }

    /// Its route.
    pub fn route(&self) -> Option<&Route> {
        self.route.map(|route| &self.server().routes[route as usize])
    }

    /// Index of its route in its server.
    pub fn route_index(&self) -> Option<u32> {
        self.route
    }

    /// Its route, by the index in its server, has been found; or it has none.
    pub fn set_route(&mut self, route: Option<u32>) {
        self.route = route;
        let server = self.server();
        self.settings = route.map_or(server.settings, |route| server.routes[route as usize].settings);
    }

    /// The content handler of its route, if it is of this type.
    pub fn backend<T: Any>(&self) -> Option<&T> {
        self.route()?.backend.as_ref()?.downcast_ref()
    }

    /// The settings in force: the route's, else the server's.
    #[inline]
    pub fn settings(&self) -> &Settings {
        &self.scope.settings[self.settings as usize]
    }

    /// The index of the settings in force.
    pub fn settings_index(&self) -> u32 {
        self.settings
    }

    /// `http` or `https`, as the client sees it.
    pub fn scheme(&self) -> &'static str {
        if self.client.secure { "https" } else { "http" }
    }

    /// Milliseconds since its start.
    pub fn elapsed_ms(&self) -> u64 {
        self.thread.clock.now().saturating_sub(self.started)
    }

    /// Changes the URI for an internal redirect: a path, and the query after its `?`. Without a `?` there is no query.
    pub fn set_uri(&mut self, uri: &[u8]) {
        let (path, query) = match memchr::memchr(b'?', uri) {
            Some(at) => (&uri[..at], Some(&uri[at + 1..])),
            None => (uri, None),
        };
        self.as_sent = false;
        self.request.path = Bytes::copy_from_slice(path);
        self.request.query = query.map(Bytes::copy_from_slice);
    }
}

/// The members of an `Upgrade` field that are among the protocols; `None` without one. A name holds for all its versions.
pub fn permitted<'v>(upgrade: &'v [u8], protocols: &[String]) -> Option<Cow<'v, [u8]>> {
    let known = |member: &&[u8]| {
        let name = member.split(|byte| *byte == b'/').next().unwrap_or_default();
        protocols.iter().any(|protocol| {
            protocol.as_bytes().eq_ignore_ascii_case(member) || protocol.as_bytes().eq_ignore_ascii_case(name)
        })
    };
    if list_members(upgrade).all(|member| known(&member)) {
        return list_members(upgrade).next().map(|_| Cow::Borrowed(upgrade));
    }
    let members: Vec<&[u8]> = list_members(upgrade).filter(known).collect();
    (!members.is_empty()).then(|| Cow::Owned(members.join(&b", "[..])))
}

#[cfg(test)]
mod tests {
    use super::permitted;

    #[test]
    fn only_protocols_that_are_listed_are_upgraded_to() {
        let protocols = ["websocket".to_owned(), "tls/1.0".to_owned()];
        for (asked, wanted) in [
            ("websocket", Some("websocket")),
            ("WebSocket/13", Some("WebSocket/13")),
            ("h2c", None),
            ("h2c, websocket", Some("websocket")),
            ("websocket,HTTP/2.0 , TLS/1.0", Some("websocket, TLS/1.0")),
            ("TLS/1.2", None),
            ("", None),
            (",", None),
            ("websockets", None),
        ] {
            let found = permitted(asked.as_bytes(), &protocols);
            assert_eq!(found.as_deref(), wanted.map(str::as_bytes), "{asked}");
        }
        assert_eq!(permitted(b"websocket", &[]), None);
    }
}
