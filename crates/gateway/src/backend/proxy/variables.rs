//! The variables of proxied requests: `$proxy_port`, and the `$upstream_` ones beside those every backend has.
use crate::backend::Backend;
use crate::exchange::Exchange;
use crate::text;
use crate::text::write_number;
use crate::vars;
use crate::vars::Sent;
use buchner_wire::headers::HeaderId;

/// Those that are known only when the body has come.
pub const AT_THE_END: &[&str] = &["upstream_bytes_received", "upstream_response_length", "upstream_response_time"];

/// `$proxy_port`.
pub fn port(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    if let Some(Backend::Proxy(proxy)) = ex.route().map(|route| &route.backend) {
        out.extend_from_slice(proxy.target(ex).map_or(b"".as_slice(), |target| &target.port));
    }
}

/// `$proxy_host`.
pub fn write_host(ex: &Exchange, out: &mut Vec<u8>) {
    if let Some(Backend::Proxy(proxy)) = ex.route().map(|route| &route.backend) {
        out.extend_from_slice(proxy.target(ex).map_or(b"".as_slice(), |target| &target.host));
    }
}

/// `$upstream_cache_status`: empty, as nothing is cached.
pub fn cache_status(_: &Exchange, _: Sent<'_>, _: &mut Vec<u8>) {}

/// `$upstream_addr`.
pub fn address(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    ex.upstream.write_each(ex.thread.clock.now(), out, |each, out| {
        out.extend_from_slice(each.address.as_deref().unwrap_or_default().as_bytes());
    });
}

/// `$upstream_status`.
pub fn status(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    ex.upstream.write_each(ex.thread.clock.now(), out, |each, out| match each.status {
        0 => out.push(b'-'),
        status => write_number(u64::from(status), out),
    });
}

/// `$upstream_bytes_received`.
pub fn received(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    ex.upstream.write_each(ex.thread.clock.now(), out, |each, out| write_number(each.received, out));
}

/// `$upstream_bytes_sent`.
pub fn sent(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    ex.upstream.write_each(ex.thread.clock.now(), out, |each, out| write_number(each.sent, out));
}

/// `$upstream_response_length`.
pub fn length(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    ex.upstream.write_each(ex.thread.clock.now(), out, |each, out| write_number(each.length, out));
}

/// `$upstream_connect_time`.
pub fn connect_time(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    ex.upstream.write_each(ex.thread.clock.now(), out, |each, out| seconds(each.connect_ms, out));
}

/// `$upstream_header_time`.
pub fn header_time(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    ex.upstream.write_each(ex.thread.clock.now(), out, |each, out| seconds(each.header_ms, out));
}

/// `$upstream_response_time`.
pub fn response_time(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    ex.upstream.write_each(ex.thread.clock.now(), out, |each, out| seconds(each.response_ms, out));
}

fn seconds(ms: Option<u64>, out: &mut Vec<u8>) {
    match ms {
        Some(ms) => text::write_seconds(ms, out),
        None => out.push(b'-'),
    }
}

/// `$upstream_http_NAME`.
pub fn write_field(ex: &Exchange, name: &str, out: &mut Vec<u8>) {
    if let Some(headers) = &ex.upstream.headers {
        out.extend_from_slice(headers.get_name(name.as_bytes()).unwrap_or_default());
    }
}

/// `$upstream_trailer_NAME`: known once the body has come.
pub fn write_trailer(ex: &Exchange, name: &str, out: &mut Vec<u8>) {
    if let Some(trailers) = ex.upstream.streamed.as_ref().and_then(|body| body.trailers.get()) {
        vars::write::write_named(trailers, name, out);
    }
}

/// `$upstream_cookie_NAME`: the value of a cookie that the upstream sets.
pub fn write_cookie(ex: &Exchange, name: &str, out: &mut Vec<u8>) {
    let Some(headers) = &ex.upstream.headers else { return };
    for cookie in headers.get_all(HeaderId::SetCookie) {
        let pair = cookie.split(|byte| *byte == b';').next().unwrap_or_default();
        let Some(at) = memchr::memchr(b'=', pair) else { continue };
        if pair[..at].trim_ascii().eq_ignore_ascii_case(name.as_bytes()) {
            out.extend_from_slice(pair[at + 1..].trim_ascii());
            return;
        }
    }
}
