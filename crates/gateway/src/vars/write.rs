//! The values of built-in variables.
use crate::body::RequestBody;
use crate::exchange::Exchange;
use crate::text::{write_addr, write_number, write_port, write_seconds};
use crate::vars::{Sent, Var, Writer};
use buchner_wire::Version;
use buchner_wire::headers::{HeaderId, Headers};

pub(crate) fn write_var(var: &Var, ex: &Exchange, sent: Sent<'_>, out: &mut Vec<u8>) {
    match var {
        Var::Host => write_host(ex, out),
        Var::RemoteAddr => write_addr(&ex.client.addr, out),
        Var::ProxyAddXForwardedFor => write_forwarded_for(ex, out),
        Var::Status => write_number(u64::from(sent.status), out),
        Var::BodyBytesSent => write_number(sent.body_bytes, out),
        Var::BytesSent => write_number(sent.bytes, out),
        Var::RequestTime => write_seconds(ex.elapsed_ms(), out),
        Var::SentHttpId(id) => {
            if let Some(headers) = sent.headers {
                joined(headers.get_all(*id), b", ", out);
            }
        }
        Var::SentHttp(name) => {
            if let Some(headers) = sent.headers {
                write_named(headers, name, out);
            }
        }
        Var::SentTrailer(name) => {
            if let Some(trailers) = sent.trailers {
                write_named(trailers, name, out);
            }
        }
        Var::User(index) => ex.values.write(*index, ex, sent, out),
        Var::Capture(n) => out.extend_from_slice(ex.captures.borrow().get(*n)),
        Var::Room(variable) => {
            if let Writer::One(write) = variable.writer {
                write(ex, sent, out);
            }
        }
        Var::Family(family, end) => {
            if let Writer::Each { write, .. } = family.writer {
                write(end, ex, sent, out);
            }
        }
        _ => write_request_var(var, ex, out),
    }
}

/// The value of a variable that lies in the request as it is.
pub(super) fn lent<'e>(var: &Var, ex: &'e Exchange) -> Option<&'e [u8]> {
    let request = &ex.request;
    match var {
        Var::Uri => Some(&request.path),
        Var::RequestUri => Some(&request.target),
        Var::RequestMethod => Some(request.method.as_bytes()),
        Var::Host if !request.host.is_empty() => Some(&request.host),
        Var::HttpId(HeaderId::Upgrade | HeaderId::Connection) => None,
        Var::HttpId(id) => request.headers.get_only(*id),
        Var::Arg(name) => find_arg(request.query.as_deref().unwrap_or_default(), name),
        Var::Cookie(name) => find_cookie(ex, name),
        _ => None,
    }
}

fn write_request_var(var: &Var, ex: &Exchange, out: &mut Vec<u8>) {
    let request = &ex.request;
    match var {
        Var::Uri => out.extend_from_slice(&request.path),
        Var::RequestUri => out.extend_from_slice(&request.target),
        Var::Args => out.extend_from_slice(request.query.as_deref().unwrap_or_default()),
        Var::IsArgs if request.query.as_ref().is_some_and(|query| !query.is_empty()) => out.push(b'?'),
        Var::Arg(name) => {
            let query = request.query.as_deref().unwrap_or_default();
            out.extend_from_slice(find_arg(query, name).unwrap_or_default());
        }
        Var::Cookie(name) => out.extend_from_slice(find_cookie(ex, name).unwrap_or_default()),
        // Taken out of the fields when it was read.
        Var::HttpId(HeaderId::Upgrade) => out.extend_from_slice(&request.upgrade_to),
        Var::HttpId(HeaderId::Connection) if request.upgrade => out.extend_from_slice(b"upgrade"),
        Var::Http(name) => write_named(&request.headers, name, out),
        // Several fields of one name are one list, as nginx 1.23 and later have it.
        Var::HttpId(id) => {
            let between: &[u8] = if *id == HeaderId::Cookie { b"; " } else { b", " };
            joined(request.headers.get_all(*id), between, out);
        }
        Var::HttpHost => header(ex, HeaderId::Host, out),
        Var::ContentLength => write_content_length(ex, out),
        Var::ContentType => joined(request.headers.get_all(HeaderId::ContentType), b", ", out),
        Var::RequestMethod => out.extend_from_slice(request.method.as_bytes()),
        Var::Request if ex.line.is_some() => out.extend_from_slice(ex.line.as_deref().unwrap_or_default()),
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
        Var::RemotePort => write_port(ex.client.addr, out),
        Var::ServerAddr => write_addr(&ex.client.local, out),
        Var::ServerPort => write_number(u64::from(ex.client.local.port()), out),
        Var::ServerName => out.extend_from_slice(ex.server().name.as_bytes()),
        Var::ConnectionRequests => write_number(u64::from(ex.client.requests), out),
        Var::Pid => write_number(u64::from(std::process::id()), out),
        Var::Msec => write_seconds(ex.thread.clock.unix_ms(), out),
        Var::TimeLocal => ex.thread.clock.log_time(out),
        Var::TimeIso8601 => ex.thread.clock.iso_time(out),
        _ => {}
    }
}

/// Whether a field has the name of a variable, in which an underscore stands for each dash.
fn is_named(field: &[u8], name: &[u8]) -> bool {
    let same = |(a, b): (&u8, &u8)| a.eq_ignore_ascii_case(b) || (*b == b'-' && *a == b'_');
    field.len() == name.len() && field.iter().zip(name).all(same)
}

/// Appends the values of the fields of a name, which are one list.
pub(crate) fn write_named(fields: &Headers, name: &str, out: &mut Vec<u8>) {
    let named = fields.iter().filter(|field| is_named(field.name, name.as_bytes()));
    joined(named.map(|field| field.value), b", ", out);
}

/// `HTTP/1.0`, `HTTP/1.1`, `HTTP/2.0`, `HTTP/3.0`.
pub fn protocol(version: Version) -> &'static [u8] {
    version.name().as_bytes()
}

fn joined<'v>(values: impl Iterator<Item = &'v [u8]>, between: &[u8], out: &mut Vec<u8>) {
    for (n, value) in values.enumerate() {
        if n > 0 {
            out.extend_from_slice(between);
        }
        out.extend_from_slice(value);
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

pub(super) fn find_arg<'q>(query: &'q [u8], name: &str) -> Option<&'q [u8]> {
    if name.is_empty() {
        return None;
    }
    query.split(|b| *b == b'&').find_map(|pair| {
        let at = memchr::memchr(b'=', pair)?;
        pair[..at].eq_ignore_ascii_case(name.as_bytes()).then(|| &pair[at + 1..])
    })
}

pub(super) fn find_cookie<'e>(ex: &'e Exchange, name: &str) -> Option<&'e [u8]> {
    if name.is_empty() {
        return None;
    }
    let pairs = ex.request.headers.get_all(HeaderId::Cookie).flat_map(|field| field.split(|b| *b == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| {
        let at = memchr::memchr(b'=', pair)?;
        pair[..at].eq_ignore_ascii_case(name.as_bytes()).then(|| &pair[at + 1..])
    })
}

/// `$content_length`: what the client says, or the length of a body that came in pieces and was read (as in nginx).
fn write_content_length(ex: &Exchange, out: &mut Vec<u8>) {
    match ex.request.headers.get(HeaderId::ContentLength) {
        Some(length) => out.extend_from_slice(length),
        None if matches!(ex.request.body, RequestBody::Buffered(_)) => {
            write_number(ex.request.body.length().unwrap_or(0), out);
        }
        None => {}
    }
}
