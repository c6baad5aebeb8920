//! Further variables of nginx's core: the connection, the files a request stands for, and what is not there without TLS.
use crate::body::RequestBody;
use crate::body::spool::Buffered;
use crate::clock::zone;
use crate::exchange::Exchange;
use crate::sys::{TcpInfo, tcp_info};
use crate::text::write_seconds;
use crate::text::{write_number, write_port};
use crate::vars::{Sent, Variable, Wants};
use buchner_wire::headers::HeaderId;
use buchner_wire::path::split_port;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;

const SOCKET: Wants = Wants { socket: true, ..Wants::NOTHING };

/// The variables written here.
pub const VARIABLES: &[Variable] = &[
    Variable::new("binary_remote_addr", binary_remote_addr, "Address of the client as 4 or 16 bytes."),
    Variable::new("connection", connection, "Number of the connection."),
    Variable::new("connection_time", connection_time, "Seconds since the connection was accepted, with milliseconds."),
    Variable::new("date_gmt", date_gmt, "Time in GMT, in the form of server-side includes."),
    Variable::new("date_local", date_local, "Local time, in the form of server-side includes."),
    Variable::new("hostname", hostname, "Name of the machine."),
    Variable::new("http2", http2, "`h2` for HTTP/2 over TLS, `h2c` for HTTP/2 without TLS, else empty."),
    Variable::new("http3", nothing, "Empty without HTTP/3."),
    Variable::new("is_request_port", is_request_port, "`:` if the request names a port."),
    Variable::new("nginx_version", version, "Version of Buchner."),
    Variable::new("pipe", pipe, "`p` for a pipelined request, else `.`."),
    Variable::new("realip_remote_port", realip_remote_port, "Port of the connection's other end."),
    Variable::new("request_body", request_body, "Request body, if it was read whole and is in memory."),
    Variable::new("request_body_file", request_body_file, "Name of the file with the request body, if it has one."),
    Variable::new("request_completion", request_completion, "`OK` if the response was sent whole.").empty_counts(),
    Variable::new("request_port", request_port, "Port in `Host`, or in the URL of the request line."),
    Variable::new("slice_range", nothing, "Empty: responses are not sliced."),
    Variable::new(
        "tcpinfo_rcv_space",
        tcp_rcv_space,
        "Bytes of the receive buffer the kernel means to fill (TCP_INFO).",
    )
    .wants(SOCKET),
    Variable::new("tcpinfo_rtt", tcp_rtt, "Round-trip time to the client in microseconds (TCP_INFO).").wants(SOCKET),
    Variable::new("tcpinfo_rttvar", tcp_rttvar, "Variation of the round-trip time in microseconds (TCP_INFO).")
        .wants(SOCKET),
    Variable::new("tcpinfo_snd_cwnd", tcp_snd_cwnd, "Congestion window in segments (TCP_INFO).").wants(SOCKET),
];

/// Without TLS, and without the PROXY protocol, there is none of it.
fn nothing(_: &Exchange, _: Sent<'_>, _: &mut Vec<u8>) {}

/// The protocol's identifier (RFC 9113 section 3.1).
fn http2(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    let identifier = ex.request.version.identifier(ex.client.secure);
    if identifier.starts_with("h2") {
        out.extend_from_slice(identifier.as_bytes());
    }
}

/// The client's address as 4 or 16 bytes.
fn binary_remote_addr(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    match ex.client.addr.ip() {
        Some(IpAddr::V4(ip)) => out.extend_from_slice(&ip.octets()),
        Some(IpAddr::V6(ip)) => out.extend_from_slice(&ip.octets()),
        None => {}
    }
}

/// The connection's number.
fn connection(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    write_number(ex.client.connection, out);
}

/// The time of a round trip to the client, in microseconds.
fn tcp_rtt(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    tcp(ex, |info| info.rtt, out);
}

/// How far the times of round trips lie apart, in microseconds.
fn tcp_rttvar(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    tcp(ex, |info| info.rttvar, out);
}

/// Segments that may be on their way to the client unacknowledged.
fn tcp_snd_cwnd(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    tcp(ex, |info| info.snd_cwnd, out);
}

/// Bytes of the receive buffer that the kernel means to fill.
fn tcp_rcv_space(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    tcp(ex, |info| info.rcv_space, out);
}

/// A number of the client's TCP connection; nothing for other sockets.
fn tcp(ex: &Exchange, number: impl Fn(TcpInfo) -> u32, out: &mut Vec<u8>) {
    if let Some(info) = ex.socket.upgrade().and_then(|socket| tcp_info(&*socket)) {
        write_number(u64::from(number(info)), out);
    }
}

/// Seconds since it was accepted.
fn connection_time(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    write_seconds(ex.thread.clock.now().saturating_sub(ex.client.since), out);
}

/// The port of the other end of the connection.
fn realip_remote_port(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    write_port(ex.client.peer, out);
}

/// The version of Buchner.
fn version(_: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(env!("CARGO_PKG_VERSION").as_bytes());
}

/// The machine's name.
fn hostname(_: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(crate::observe::hostname().as_bytes());
}

/// `p` for a request that came before the answer to the one before, else `.`.
fn pipe(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    out.push(if ex.client.pipelined { b'p' } else { b'.' });
}

/// The body, where it was read whole and is in memory.
fn request_body(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    if let RequestBody::Buffered(Buffered::Memory(body)) = &ex.request.body {
        out.extend_from_slice(body);
    }
}

/// The name of the file with the body, where it has one.
fn request_body_file(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    if let RequestBody::Buffered(Buffered::File(file)) = &ex.request.body {
        out.extend_from_slice(file.path().map_or(b"", |path| path.as_os_str().as_bytes()));
    }
}

/// `OK` when the answer was sent whole.
fn request_completion(_: &Exchange, sent: Sent<'_>, out: &mut Vec<u8>) {
    if sent.complete {
        out.extend_from_slice(b"OK");
    }
}

/// The port in the Host header, or of the URL in the request line.
pub fn request_port(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(port_of_host(ex));
}

/// `:` if there is one.
pub fn is_request_port(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    if !port_of_host(ex).is_empty() {
        out.push(b':');
    }
}

fn port_of_host(ex: &Exchange) -> &[u8] {
    let host = ex.request.headers.get(HeaderId::Host).unwrap_or_default();
    split_port(host).and_then(|(_, port)| port).unwrap_or_default()
}

/// The time in GMT, in the form that server-side includes have it.
pub fn date_gmt(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(zone::long_gmt(ex.thread.clock.unix_ms() / 1000).as_bytes());
}

/// The local time, in the form that server-side includes have it.
pub fn date_local(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(zone::long_local(ex.thread.clock.unix_ms() / 1000).as_bytes());
}
