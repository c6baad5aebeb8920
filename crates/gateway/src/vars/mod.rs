//! Variables (`$host`, `$remote_addr`, …) under nginx's names, and templates that use them. Names are resolved
//! when the configuration is compiled; a request only ever sees numbers and enum values.
//!
//! Built-in variables are written ([`write`]) from what the exchange holds, each time. Those that the configuration
//! defines ([`crate::variables`]) have a number, and their values are kept in the exchange ([`values`]).
pub mod core;
pub mod escape;
pub mod template;
pub mod values;
pub mod variable;
pub mod write;

pub use escape::Escape;
pub use template::{PathTemplate, Template};
pub use values::Values;
pub use variable::{Variable, Writer};
pub(crate) use write::write_var;
pub use write::{protocol, write_forwarded_for};

use crate::exchange::Exchange;
use buchner_wire::headers::HeaderId;
use std::cell::Cell;
use std::collections::HashMap;

/// A variable, resolved from its name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the documentation: docs/variables.md lists them
pub enum Var {
    Args,
    Arg(String),
    BodyBytesSent,
    BytesSent,
    ConnectionRequests,
    ContentLength,
    ContentType,
    /// A group of the last regular expression that matched.
    Capture(u8),
    Cookie(String),
    Host,
    Http(String),
    /// `Http` of a name that has an id.
    HttpId(HeaderId),
    HttpHost,
    IsArgs,
    Msec,
    Pid,
    ProxyAddXForwardedFor,
    RealipRemoteAddr,
    RemoteAddr,
    RemotePort,
    Request,
    RequestBodyLength,
    RequestId,
    RequestLength,
    RequestMethod,
    RequestTime,
    RequestUri,
    Scheme,
    SentHttp(String),
    /// `SentHttp` of a name that has an id.
    SentHttpId(HeaderId),
    SentTrailer(String),
    ServerAddr,
    ServerName,
    ServerPort,
    ServerProtocol,
    Status,
    TimeIso8601,
    TimeLocal,
    Traceparent,
    Uri,
    Https,
    /// A room's.
    Room(&'static Variable),
    /// One of a room's family, with the end of its name.
    Family(&'static Variable, Box<str>),
    /// One that the configuration defines, by its number.
    User(u32),
}

/// The core's variables with a fixed name, and what each is.
pub const NAMES: &[(&str, Var, &str)] = &[
    ("args", Var::Args, "Query of the request."),
    ("body_bytes_sent", Var::BodyBytesSent, "Bytes of the response's body sent to the client."),
    ("bytes_sent", Var::BytesSent, "Bytes sent to the client."),
    ("connection_requests", Var::ConnectionRequests, "Requests on the connection so far, this one included."),
    ("content_length", Var::ContentLength, "`Content-Length` of the request."),
    ("content_type", Var::ContentType, "`Content-Type` of the request."),
    ("document_uri", Var::Uri, "The same as `$uri`."),
    ("host", Var::Host, "Host of the request in lower case, or the server's first name."),
    ("http_host", Var::HttpHost, "`Host` of the request as sent."),
    ("https", Var::Https, "`on` for a request over TLS."),
    ("is_args", Var::IsArgs, "`?` if the request has a query."),
    ("msec", Var::Msec, "Time in seconds since 1970, with milliseconds."),
    ("pid", Var::Pid, "Id of the gateway process."),
    (
        "proxy_add_x_forwarded_for",
        Var::ProxyAddXForwardedFor,
        "`X-Forwarded-For` of the request with the client's address appended.",
    ),
    ("query_string", Var::Args, "The same as `$args`."),
    ("realip_remote_addr", Var::RealipRemoteAddr, "Address of the connection's other end, whatever a proxy says."),
    ("remote_addr", Var::RemoteAddr, "Address of the client."),
    ("remote_port", Var::RemotePort, "Port of the client."),
    ("request", Var::Request, "Request line."),
    ("request_id", Var::RequestId, "Id of the request, 32 hexadecimal digits."),
    ("request_length", Var::RequestLength, "Bytes of the request: header section and body."),
    ("request_method", Var::RequestMethod, "Method."),
    ("request_time", Var::RequestTime, "Seconds since the request's first byte, with milliseconds."),
    ("request_uri", Var::RequestUri, "Request target as sent."),
    ("scheme", Var::Scheme, "`http` or `https`."),
    ("server_addr", Var::ServerAddr, "Address the client connected to."),
    ("server_name", Var::ServerName, "First name of the server."),
    ("server_port", Var::ServerPort, "Port the client connected to."),
    ("server_protocol", Var::ServerProtocol, "Protocol version: `HTTP/1.0`, `HTTP/1.1`, `HTTP/2.0`, `HTTP/3.0`."),
    ("status", Var::Status, "Status of the response."),
    ("time_iso8601", Var::TimeIso8601, "Local time as in ISO 8601."),
    ("time_local", Var::TimeLocal, "Local time as in Common Log Format."),
    ("traceparent", Var::Traceparent, "`traceparent` of the request, or the one made for it (W3C Trace Context)."),
    ("uri", Var::Uri, "Decoded, normalised path; rewrites and internal redirects change it."),
];

/// The core's families of variables: what their names begin with, and what each is.
pub const PREFIXED: &[(&str, &str)] = &[
    ("arg_", "An argument of the query."),
    ("cookie_", "A cookie of the request."),
    ("http_", "A header of the request."),
    ("sent_http_", "A header of the response."),
    ("sent_trailer_", "A trailer of the response."),
];

/// What some template needs and is otherwise not recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// Headers of upstreams' responses as they came.
    pub fields: bool,
    /// The end of upstreams' bodies.
    pub body: bool,
    /// The client's socket.
    pub socket: bool,
    /// Early hints of some route.
    pub early_hints: bool,
    /// Work of some route that goes on when the client has left.
    pub keep_running: bool,
    /// The first messages of clients that speak TLS.
    pub hello: bool,
}

impl Wants {
    /// Nothing.
    pub const NOTHING: Self =
        Self { fields: false, body: false, socket: false, early_hints: false, keep_running: false, hello: false };

    /// What either needs.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self {
            fields: self.fields || other.fields,
            body: self.body || other.body,
            socket: self.socket || other.socket,
            early_hints: self.early_hints || other.early_hints,
            keep_running: self.keep_running || other.keep_running,
            hello: self.hello || other.hello,
        }
    }
}

/// Directories of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Bases {
    /// Files in general (nginx: the prefix).
    pub prefix: Box<str>,
    /// Files of users (nginx: the directory of the configuration file).
    pub users: Box<str>,
}

/// The variables there are while a configuration is compiled: the core's, the rooms', and those it defines itself.
#[derive(Debug, Default)]
pub struct Names {
    rooms: &'static [&'static [Variable]],
    defined: HashMap<Box<str>, u32>,
    /// Directories that relative names of files start from where they are made of variables.
    pub bases: Bases,
    wants: Cell<Wants>,
}

impl Names {
    /// The rooms' variables, and the names of those that a configuration defines, in the order of their numbers. The error names one that
    /// cannot be defined.
    pub fn new<'n>(
        rooms: &'static [&'static [Variable]],
        variables: impl Iterator<Item = &'n str>,
    ) -> Result<Self, String> {
        let mut names = Self { rooms, ..Self::default() };
        for (i, name) in variables.enumerate() {
            let built_in = NAMES.iter().any(|(known, _, _)| *known == name);
            if built_in || names.one(name).is_some_and(|variable| !variable.definable) {
                return Err(format!("variable[{i}].name: ${name} is built in"));
            }
            if names.defined.insert(name.into(), i as u32).is_some() {
                return Err(format!("variable[{i}].name: ${name} is defined twice"));
            }
        }
        Ok(names)
    }

    /// What the templates compiled so far need recorded.
    pub fn wants(&self) -> Wants {
        self.wants.get()
    }

    /// Something has to be recorded.
    pub fn want(&self, wants: Wants) {
        self.wants.set(self.wants.get().or(wants));
    }

    /// The variable of a name without `$`.
    pub fn find(&self, name: &str) -> Option<Var> {
        if let Some(index) = self.defined.get(name) {
            return Some(Var::User(*index));
        }
        if let [digit @ b'1'..=b'9'] = name.as_bytes() {
            return Some(Var::Capture(digit - b'0'));
        }
        if let Some((_, var, _)) = NAMES.iter().find(|(known, _, _)| *known == name) {
            return Some(var.clone());
        }
        let variable = self.one(name).or_else(|| self.family(name));
        if let Some(variable) = variable {
            self.want(variable.wants);
        }
        variable
            .and_then(|variable| match variable.writer {
                Writer::One(_) => Some(Var::Room(variable)),
                Writer::Each { header, .. } => {
                    let end = variable.end_of(name)?;
                    let end = if header { end.replace('_', "-").into() } else { end.into() };
                    Some(Var::Family(variable, end))
                }
            })
            .or_else(|| Var::prefixed(name))
    }

    fn one(&self, name: &str) -> Option<&'static Variable> {
        self.all().find(|variable| variable.name == name && matches!(variable.writer, Writer::One(_)))
    }

    /// The family with the longest name that fits.
    fn family(&self, name: &str) -> Option<&'static Variable> {
        let families = self.all().filter(|variable| matches!(variable.writer, Writer::Each { .. }));
        families.filter(|family| family.end_of(name).is_some()).max_by_key(|family| family.name.len())
    }

    fn all(&self) -> impl Iterator<Item = &'static Variable> {
        self.rooms.iter().flat_map(|room| room.iter())
    }
}

impl Var {
    /// A variable of the core by what its name begins with.
    fn prefixed(name: &str) -> Option<Self> {
        let header = |rest: &str| rest.replace('_', "-");
        // With nothing behind the prefix there is nothing of that name: the value is empty.
        let prefixed = |prefix: &str| name.strip_prefix(prefix);
        if let Some(rest) = prefixed("http_") {
            let name = header(rest);
            return Some(match HeaderId::of(name.as_bytes()) {
                HeaderId::Other => Self::Http(name),
                id => Self::HttpId(id),
            });
        }
        if let Some(rest) = prefixed("sent_http_") {
            let name = header(rest);
            return Some(match HeaderId::of(name.as_bytes()) {
                HeaderId::Other => Self::SentHttp(name),
                id => Self::SentHttpId(id),
            });
        }
        if let Some(rest) = prefixed("sent_trailer_") {
            return Some(Self::SentTrailer(header(rest)));
        }
        if let Some(rest) = prefixed("cookie_") {
            return Some(Self::Cookie(rest.into()));
        }
        prefixed("arg_").map(|rest| Self::Arg(rest.into()))
    }
}

impl Var {
    /// Its values never need escaping.
    fn is_plain(&self) -> bool {
        matches!(
            self,
            Self::RemoteAddr
                | Self::Status
                | Self::BodyBytesSent
                | Self::BytesSent
                | Self::TimeLocal
                | Self::TimeIso8601
                | Self::RequestTime
                | Self::RequestMethod
                | Self::Msec
                | Self::Pid
                | Self::Scheme
                | Self::ServerProtocol
        )
    }

    /// Its value is there although it is empty; only asked for an empty value.
    fn is_found(&self, ex: &Exchange) -> bool {
        let request = &ex.request;
        match self {
            Self::User(index) => ex.values.is_found(*index, ex),
            Self::Arg(name) => write::find_arg(request.query.as_deref().unwrap_or_default(), name).is_some(),
            Self::Cookie(name) => write::find_cookie(ex, name).is_some(),
            Self::Http(name) => request.headers.get_name(name.as_bytes()).is_some(),
            Self::HttpId(id) => request.headers.contains(*id),
            Self::HttpHost => request.headers.contains(HeaderId::Host),
            Self::ContentType => request.headers.contains(HeaderId::ContentType),
            Self::Capture(n) => ex.captures.borrow().has(*n),
            Self::Room(variable) => variable.empty_counts,
            Self::Host | Self::Https | Self::IsArgs | Self::ServerName | Self::Uri => true,
            _ => false,
        }
    }
}

/// What is known about the answer when a log line or a response header is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent<'a> {
    /// Status sent.
    pub status: u16,
    /// Bytes of the body sent.
    pub body_bytes: u64,
    /// Bytes sent in all.
    pub bytes: u64,
    /// All of the answer was sent.
    pub complete: bool,
    /// Fields of the response.
    pub headers: Option<&'a buchner_wire::headers::Headers>,
    /// Fields behind its body.
    pub trailers: Option<&'a buchner_wire::headers::Headers>,
}

#[cfg(test)]
mod tests;
