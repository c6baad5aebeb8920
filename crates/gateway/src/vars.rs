//! Variables (`$host`, `$remote_addr`, …) under nginx's names, and templates that use them. Names are resolved
//! when the configuration is compiled; a request only ever sees numbers and enum values.
use crate::exchange::{Exchange, Peer};
use buchner_wire::h1::Version;
use buchner_wire::headers::HeaderId;
use std::io::Write;
use std::net::IpAddr;

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
    Cookie(String),
    Host,
    Http(String),
    HttpHost,
    IsArgs,
    Msec,
    Pid,
    ProxyAddXForwardedFor,
    ProxyHost,
    RealipRemoteAddr,
    RemoteAddr,
    RemotePort,
    RemoteUser,
    Request,
    RequestBodyLength,
    RequestId,
    RequestLength,
    RequestMethod,
    RequestTime,
    RequestUri,
    Scheme,
    SentHttp(String),
    ServerAddr,
    ServerName,
    ServerPort,
    ServerProtocol,
    Status,
    TimeIso8601,
    TimeLocal,
    Traceparent,
    UpstreamAddr,
    UpstreamResponseTime,
    UpstreamStatus,
    Uri,
    Https,
}

/// Every fixed name, for messages and documentation.
pub const NAMES: &[(&str, Var)] = &[
    ("args", Var::Args),
    ("body_bytes_sent", Var::BodyBytesSent),
    ("bytes_sent", Var::BytesSent),
    ("connection_requests", Var::ConnectionRequests),
    ("content_length", Var::ContentLength),
    ("content_type", Var::ContentType),
    ("document_uri", Var::Uri),
    ("host", Var::Host),
    ("http_host", Var::HttpHost),
    ("https", Var::Https),
    ("is_args", Var::IsArgs),
    ("msec", Var::Msec),
    ("pid", Var::Pid),
    ("proxy_add_x_forwarded_for", Var::ProxyAddXForwardedFor),
    ("proxy_host", Var::ProxyHost),
    ("query_string", Var::Args),
    ("realip_remote_addr", Var::RealipRemoteAddr),
    ("remote_addr", Var::RemoteAddr),
    ("remote_port", Var::RemotePort),
    ("remote_user", Var::RemoteUser),
    ("request", Var::Request),
    ("request_id", Var::RequestId),
    ("request_length", Var::RequestLength),
    ("request_method", Var::RequestMethod),
    ("request_time", Var::RequestTime),
    ("request_uri", Var::RequestUri),
    ("scheme", Var::Scheme),
    ("server_addr", Var::ServerAddr),
    ("server_name", Var::ServerName),
    ("server_port", Var::ServerPort),
    ("server_protocol", Var::ServerProtocol),
    ("status", Var::Status),
    ("time_iso8601", Var::TimeIso8601),
    ("time_local", Var::TimeLocal),
    ("traceparent", Var::Traceparent),
    ("upstream_addr", Var::UpstreamAddr),
    ("upstream_response_time", Var::UpstreamResponseTime),
    ("upstream_status", Var::UpstreamStatus),
    ("uri", Var::Uri),
];

impl Var {
    /// The variable of a name without `$`.
    pub fn parse(name: &str) -> Option<Self> {
        if let Some((_, var)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Some(var.clone());
        }
        let header = |rest: &str| rest.replace('_', "-");
        let prefixed = |prefix: &str| name.strip_prefix(prefix).filter(|rest| !rest.is_empty());
        if let Some(rest) = prefixed("http_") {
            return Some(Self::Http(header(rest)));
        }
        if let Some(rest) = prefixed("sent_http_") {
            return Some(Self::SentHttp(header(rest)));
        }
        if let Some(rest) = prefixed("cookie_") {
            return Some(Self::Cookie(rest.into()));
        }
        prefixed("arg_").map(|rest| Self::Arg(rest.into()))
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
    /// Fields of the response.
    pub headers: Option<&'a buchner_wire::headers::Headers>,
}

/// Text with variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Var(Var),
}

impl Template {
    /// Compiles `$name` and `${name}`; `$$` is not special, as in nginx. An unknown name is an error that says so.
    pub fn compile(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            if at > 0 {
                parts.push(Part::Text(rest.as_bytes()[..at].to_vec()));
            }
            let (name, after) = variable_name(&rest[at + 1..]).ok_or_else(|| {
                format!("invalid variable name in {text:?}: a name follows \"$\" (letters, digits, _)")
            })?;
            parts.push(Part::Var(Var::parse(name).ok_or_else(|| format!("unknown variable \"${name}\" in {text:?}"))?));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.as_bytes().to_vec()));
        }
        Ok(Self { parts })
    }

    /// Appends its value.
    pub fn write(&self, ex: &Exchange, sent: Sent<'_>, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Var(var) => write_var(var, ex, sent, out),
            }
        }
    }

    /// Like [`Template::write`], for logs: an empty value is `-`, and `"`, `\` and control characters are escaped (nginx's `escape=default`).
    pub fn write_log(&self, ex: &Exchange, sent: Sent<'_>, out: &mut Vec<u8>) {
        let mut value = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Var(var) => {
                    if var.is_plain() {
                        let before = out.len();
                        write_var(var, ex, sent, out);
                        if out.len() == before {
                            out.push(b'-');
                        }
                    } else {
                        value.clear();
                        write_var(var, ex, sent, &mut value);
                        escape_log(&value, out);
                    }
                }
            }
        }
    }

    /// True without text and variables.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
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
}

fn variable_name(rest: &str) -> Option<(&str, &str)> {
    let (braced, body) = match rest.strip_prefix('{') {
        Some(body) => (true, body),
        None => (false, rest),
    };
    let end = body.bytes().position(|b| !b.is_ascii_alphanumeric() && b != b'_').unwrap_or(body.len());
    if end == 0 {
        return None;
    }
    let (name, after) = body.split_at(end);
    if braced { Some((name, after.strip_prefix('}')?)) } else { Some((name, after)) }
}

/// Appends a value to a log line, escaped; `-` when empty.
pub fn escape_log(value: &[u8], out: &mut Vec<u8>) {
    if value.is_empty() {
        out.push(b'-');
        return;
    }
    let plain = |b: &u8| (0x20..0x7f).contains(b) && *b != b'"' && *b != b'\\';
    if value.iter().all(plain) {
        out.extend_from_slice(value);
        return;
    }
    for byte in value {
        if plain(byte) {
            out.push(*byte);
        } else {
            let _ = write!(out, "\\x{byte:02X}");
        }
    }
}

/// Appends an address without its port; `unix:` for Unix sockets.
pub fn write_addr(peer: &Peer, out: &mut Vec<u8>) {
    match peer.ip() {
        // Written so often that the detour through fmt shows.
        Some(IpAddr::V4(ip)) => {
            for (i, octet) in ip.octets().into_iter().enumerate() {
                if i > 0 {
                    out.push(b'.');
                }
                write_number(u64::from(octet), out);
            }
        }
        Some(ip) => {
            let _ = write!(out, "{ip}");
        }
        None => out.extend_from_slice(b"unix:"),
    }
}

pub(crate) fn write_number(value: u64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = value;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn seconds(ms: u64, out: &mut Vec<u8>) {
    let _ = write!(out, "{}.{:03}", ms / 1000, ms % 1000);
}

pub(crate) fn write_var(var: &Var, ex: &Exchange, sent: Sent<'_>, out: &mut Vec<u8>) {
    match var {
        Var::Host => write_host(ex, out),
        Var::RemoteAddr => write_addr(&ex.client.addr, out),
        Var::ProxyAddXForwardedFor => write_forwarded_for(ex, out),
        Var::Status => write_number(u64::from(sent.status), out),
        Var::BodyBytesSent => write_number(sent.body_bytes, out),
        Var::BytesSent => write_number(sent.bytes, out),
        Var::RequestTime => seconds(ex.elapsed_ms(), out),
        Var::SentHttp(name) => {
            if let Some(value) = sent.headers.and_then(|headers| headers.get_name(name.as_bytes())) {
                out.extend_from_slice(value);
            }
        }
        Var::UpstreamAddr => out.extend_from_slice(ex.upstream.address().as_bytes()),
        Var::UpstreamStatus if ex.upstream.status != 0 => write_number(u64::from(ex.upstream.status), out),
        Var::UpstreamStatus => {}
        Var::UpstreamResponseTime if ex.upstream.tries != 0 => seconds(ex.upstream.header_ms, out),
        Var::UpstreamResponseTime => {}
        Var::ProxyHost => {
            if let Some(crate::backend::Backend::Proxy(proxy)) = ex.route().map(|route| &route.backend) {
                out.extend_from_slice(&proxy.host);
            }
        }
        _ => write_request_var(var, ex, out),
    }
}

fn write_request_var(var: &Var, ex: &Exchange, out: &mut Vec<u8>) {
    let request = &ex.request;
    match var {
        Var::Uri => out.extend_from_slice(&request.path),
        Var::RequestUri => out.extend_from_slice(&request.target),
        Var::Args => out.extend_from_slice(request.query.as_deref().unwrap_or_default()),
        Var::IsArgs if request.query.as_ref().is_some_and(|query| !query.is_empty()) => out.push(b'?'),
        Var::Arg(name) => write_arg(request.query.as_deref().unwrap_or_default(), name, out),
        Var::Cookie(name) => write_cookie(ex, name, out),
        Var::Http(name) => out.extend_from_slice(request.headers.get_name(name.as_bytes()).unwrap_or_default()),
        Var::HttpHost => header(ex, HeaderId::Host, out),
        Var::ContentLength => header(ex, HeaderId::ContentLength, out),
        Var::ContentType => header(ex, HeaderId::ContentType, out),
        Var::RequestMethod => out.extend_from_slice(request.method.as_bytes()),
        Var::Request => {
            out.extend_from_slice(request.method.as_bytes());
            out.push(b' ');
            out.extend_from_slice(&request.target);
            out.push(b' ');
            out.extend_from_slice(protocol(request.version));
        }
        Var::ServerProtocol => out.extend_from_slice(protocol(request.version)),
        Var::RequestLength => write_number(request.head_bytes + request.body.length().unwrap_or(0), out),
        Var::RequestBodyLength => write_number(request.body.length().unwrap_or(0), out),
        _ => write_context_var(var, ex, out),
    }
}

fn write_context_var(var: &Var, ex: &Exchange, out: &mut Vec<u8>) {
    match var {
        Var::RequestId => ex.id.write(out),
        Var::Traceparent => match ex.request.headers.get(HeaderId::Traceparent) {
            Some(given) => out.extend_from_slice(given),
            None => ex.id.write_traceparent(out),
        },
        Var::Scheme => out.extend_from_slice(ex.scheme().as_bytes()),
        Var::Https if ex.client.secure => out.extend_from_slice(b"on"),
        Var::RealipRemoteAddr => write_addr(&ex.client.peer, out),
        Var::RemotePort => write_number(u64::from(ex.client.addr.port()), out),
        Var::ServerAddr => write_addr(&ex.client.local, out),
        Var::ServerPort => write_number(u64::from(ex.client.local.port()), out),
        Var::ServerName => out.extend_from_slice(ex.server().name.as_bytes()),
        Var::ConnectionRequests => write_number(u64::from(ex.client.requests), out),
        Var::Pid => write_number(u64::from(std::process::id()), out),
        Var::Msec => seconds(ex.thread.clock.unix_ms(), out),
        Var::TimeLocal => ex.thread.clock.log_time(out),
        Var::TimeIso8601 => {
            let t = crate::clock::Civil::of(ex.thread.clock.unix_ms() / 1000);
            let _ = write!(
                out,
                "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}+00:00",
                t.year, t.month, t.day, t.hour, t.minute, t.second
            );
        }
        _ => {}
    }
}

/// `HTTP/1.0`, `HTTP/1.1`.
pub fn protocol(version: Version) -> &'static [u8] {
    match version {
        Version::H10 => b"HTTP/1.0",
        Version::H11 => b"HTTP/1.1",
    }
}

fn header(ex: &Exchange, id: HeaderId, out: &mut Vec<u8>) {
    out.extend_from_slice(ex.request.headers.get(id).unwrap_or_default());
}

/// nginx's `$host`: the request's host in lower case without port, else the server's name.
fn write_host(ex: &Exchange, out: &mut Vec<u8>) {
    if ex.request.host.is_empty() {
        out.extend_from_slice(ex.server().name.as_bytes());
    } else {
        out.extend_from_slice(&ex.request.host);
    }
}

/// nginx's `$proxy_add_x_forwarded_for`: what the client sent, with its address appended.
pub fn write_forwarded_for(ex: &Exchange, out: &mut Vec<u8>) {
    for value in ex.request.headers.get_all(HeaderId::XForwardedFor) {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
    write_addr(&ex.client.peer, out);
}

fn write_arg(query: &[u8], name: &str, out: &mut Vec<u8>) {
    for pair in query.split(|b| *b == b'&') {
        let at = memchr::memchr(b'=', pair).unwrap_or(pair.len());
        if pair[..at].eq_ignore_ascii_case(name.as_bytes()) {
            out.extend_from_slice(pair.get(at + 1..).unwrap_or_default());
            return;
        }
    }
}

fn write_cookie(ex: &Exchange, name: &str, out: &mut Vec<u8>) {
    for field in ex.request.headers.get_all(HeaderId::Cookie) {
        for pair in field.split(|b| *b == b';') {
            let pair = pair.trim_ascii();
            let at = memchr::memchr(b'=', pair).unwrap_or(pair.len());
            if pair[..at].eq_ignore_ascii_case(name.as_bytes()) {
                out.extend_from_slice(pair.get(at + 1..).unwrap_or_default());
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_take_both_forms_of_names() {
        let template = Template::compile("a $host-${uri}b $arg_x").unwrap();
        let text = |t: &str| Part::Text(t.as_bytes().to_vec());
        assert_eq!(
            template.parts,
            [
                text("a "),
                Part::Var(Var::Host),
                text("-"),
                Part::Var(Var::Uri),
                text("b "),
                Part::Var(Var::Arg("x".into()))
            ]
        );
    }

    #[test]
    fn unknown_and_malformed_names_are_errors() {
        assert_eq!(Template::compile("x $hots").unwrap_err(), "unknown variable \"$hots\" in \"x $hots\"");
        assert!(Template::compile("100$").is_err() && Template::compile("${host").is_err());
    }

    #[test]
    fn names_are_unique_and_parse_to_themselves() {
        for (name, var) in NAMES {
            assert_eq!(Var::parse(name).as_ref(), Some(var));
        }
    }

    #[test]
    fn log_values_are_escaped() {
        let mut out = Vec::new();
        escape_log(b"a\"b\\c\n\xff", &mut out);
        assert_eq!(out, b"a\\x22b\\x5Cc\\x0A\\xFF");
    }

    #[test]
    fn numbers() {
        let mut out = Vec::new();
        write_number(0, &mut out);
        write_number(u64::MAX, &mut out);
        assert_eq!(out, b"018446744073709551615");
    }
}
