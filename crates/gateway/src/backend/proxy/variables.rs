//! The variables of proxied requests: `$proxy_port`, and the `$upstream_` ones beside those every backend has.
use crate::backend::proxy::Proxy;
use crate::exchange::Exchange;
use crate::text;
use crate::text::write_number;
use crate::vars;
use crate::vars::{Sent, Variable, Wants};
use buchner_wire::headers::HeaderId;

const HEADERS: Wants = Wants { fields: true, ..Wants::NOTHING };
/// Known only when the body has come.
const AT_THE_END: Wants = Wants { body: true, ..Wants::NOTHING };

/// `$upstream_addr`.
pub const ADDRESS: Variable = Variable::new("upstream_addr", address, "Addresses of the servers asked.");
/// `$upstream_response_time`.
pub const RESPONSE_TIME: Variable =
    Variable::new("upstream_response_time", response_time, "Seconds until the end of each server's response.")
        .wants(AT_THE_END);

/// The variables.
pub const VARIABLES: &[Variable] = &[
    Variable::new("proxy_host", write_host, "Host of the URL that the request is passed to."),
    Variable::new("proxy_internal_body_length", nothing, "Empty: it is nginx's own."),
    Variable::new("proxy_internal_chunked", nothing, "Empty: it is nginx's own."),
    Variable::new("proxy_port", port, "Port of that URL."),
    ADDRESS,
    Variable::new("upstream_bytes_received", received, "Bytes received from each server.").wants(AT_THE_END),
    Variable::new("upstream_bytes_sent", sent, "Bytes sent to each server."),
    Variable::new("upstream_cache_status", nothing, "Empty: nothing is cached."),
    Variable::new("upstream_connect_time", connect_time, "Seconds to connect to each server, with milliseconds."),
    Variable::family("upstream_cookie_", write_cookie, "Value of a cookie that the upstream sets.").wants(HEADERS),
    Variable::new("upstream_header_time", header_time, "Seconds until each server's header section."),
    Variable::headers("upstream_http_", write_field, "A header of the upstream's response.").wants(HEADERS),
    Variable::new("upstream_response_length", length, "Bytes of each server's response body.").wants(AT_THE_END),
    RESPONSE_TIME,
    Variable::new("upstream_status", status, "Status of each server's response."),
    Variable::headers("upstream_trailer_", write_trailer, "A trailer of the upstream's response.").wants(AT_THE_END),
];

/// `$proxy_port`.
fn port(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    if let Some(proxy) = ex.backend::<Proxy>() {
        out.extend_from_slice(proxy.target(ex).map_or(b"".as_slice(), |target| &target.port));
    }
}

/// `$proxy_host`.
fn write_host(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    if let Some(proxy) = ex.backend::<Proxy>() {
        out.extend_from_slice(proxy.target(ex).map_or(b"".as_slice(), |target| &target.host));
    }
}

/// What is always empty: `$upstream_cache_status`, as nothing is cached, and variables that only nginx itself uses.
fn nothing(_: &Exchange, _: Sent<'_>, _: &mut Vec<u8>) {}

/// `$upstream_addr`.
fn address(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    ex.upstream.write_each(ex.thread.clock.now(), out, |each, out| {
        out.extend_from_slice(each.address.as_deref().unwrap_or_default().as_bytes());
    });
}

/// `$upstream_status`.
fn status(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    ex.upstream.write_each(ex.thread.clock.now(), out, |each, out| match each.status {
        0 => out.push(b'-'),
        status => write_number(u64::from(status), out),
    });
}

/// `$upstream_bytes_received`.
fn received(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    ex.upstream.write_each(ex.thread.clock.now(), out, |each, out| write_number(each.received, out));
}

/// `$upstream_bytes_sent`.
fn sent(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    ex.upstream.write_each(ex.thread.clock.now(), out, |each, out| write_number(each.sent, out));
}

/// `$upstream_response_length`.
fn length(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    ex.upstream.write_each(ex.thread.clock.now(), out, |each, out| write_number(each.length, out));
}

/// `$upstream_connect_time`.
fn connect_time(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    ex.upstream.write_each(ex.thread.clock.now(), out, |each, out| seconds(each.connect_ms, out));
}

/// `$upstream_header_time`.
fn header_time(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    ex.upstream.write_each(ex.thread.clock.now(), out, |each, out| seconds(each.header_ms, out));
}

/// `$upstream_response_time`.
fn response_time(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    ex.upstream.write_each(ex.thread.clock.now(), out, |each, out| seconds(each.response_ms, out));
}

fn seconds(ms: Option<u64>, out: &mut Vec<u8>) {
    match ms {
        Some(ms) => text::write_seconds(ms, out),
        None => out.push(b'-'),
    }
}

/// `$upstream_http_NAME`.
fn write_field(name: &str, ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    if let Some(headers) = &ex.upstream.headers {
        vars::write::write_named(headers, name, out);
    }
}

/// `$upstream_trailer_NAME`: known once the body has come.
fn write_trailer(name: &str, ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    if let Some(trailers) = ex.upstream.streamed.as_ref().and_then(|body| body.trailers.get()) {
        vars::write::write_named(trailers, name, out);
    }
}

/// `$upstream_cookie_NAME`: the value of a cookie that the upstream sets.
fn write_cookie(name: &str, ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    let Some(headers) = &ex.upstream.headers else { return };
    for cookie in headers.get_all(HeaderId::SetCookie) {
        let pair = cookie.split(|byte| *byte == b';').next().unwrap_or_default();
        let Some(at) = memchr::memchr(b'=', pair) else { continue };
        // As nginx: spaces before and after a name, no tabs.
        let known = pair[..at].trim_ascii_start();
        let known = &known[..known.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1)];
        if known.eq_ignore_ascii_case(name.as_bytes()) {
            out.extend_from_slice(pair[at + 1..].trim_ascii());
            return;
        }
    }
}
