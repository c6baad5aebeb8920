//! Further variables of nginx's core: the connection, the files a request stands for, and what is not there without TLS.
use crate::backend::Backend;
use crate::body::RequestBody;
use crate::body::spool::Buffered;
use crate::exchange::Exchange;
use crate::sys::{TcpInfo, tcp_info};
use crate::text::write_seconds;
use crate::text::{write_number, write_port};
use crate::vars::Sent;
use std::ffi::OsStr;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Without TLS, and without the PROXY protocol, there is none of it.
pub fn nothing(_: &Exchange, _: Sent<'_>, _: &mut Vec<u8>) {}

/// The client's address as 4 or 16 bytes.
pub fn binary_remote_addr(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    match ex.client.addr.ip() {
        Some(IpAddr::V4(ip)) => out.extend_from_slice(&ip.octets()),
        Some(IpAddr::V6(ip)) => out.extend_from_slice(&ip.octets()),
        None => {}
    }
}

/// The connection's number.
pub fn connection(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    write_number(ex.client.connection, out);
}

/// The time of a round trip to the client, in microseconds.
pub fn tcp_rtt(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    tcp(ex, |info| info.rtt, out);
}

/// How far the times of round trips lie apart, in microseconds.
pub fn tcp_rttvar(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    tcp(ex, |info| info.rttvar, out);
}

/// Segments that may be on their way to the client unacknowledged.
pub fn tcp_snd_cwnd(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    tcp(ex, |info| info.snd_cwnd, out);
}

/// Bytes of the receive buffer that the kernel means to fill.
pub fn tcp_rcv_space(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    tcp(ex, |info| info.rcv_space, out);
}

/// A number of the client's TCP connection; nothing for other sockets.
fn tcp(ex: &Exchange, number: impl Fn(TcpInfo) -> u32, out: &mut Vec<u8>) {
    if let Some(info) = ex.socket.upgrade().and_then(|socket| tcp_info(&*socket)) {
        write_number(u64::from(number(info)), out);
    }
}

/// Seconds since it was accepted.
pub fn connection_time(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    write_seconds(ex.thread.clock.now().saturating_sub(ex.client.since), out);
}

/// The directory that the request's path leads into.
pub fn document_root(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    match (&ex.settings().root, ex.route().map(|route| &route.backend)) {
        (Some(root), _) => root.write(ex, out),
        (None, Some(Backend::Files(files))) => out.extend_from_slice(files.root().as_bytes()),
        _ => {}
    }
}

/// The same with symbolic links resolved.
pub fn realpath_root(ex: &Exchange, sent: Sent<'_>, out: &mut Vec<u8>) {
    let mut root = Vec::new();
    document_root(ex, sent, &mut root);
    if let Ok(real) = std::fs::canonicalize(Path::new(OsStr::from_bytes(&root))) {
        out.extend_from_slice(real.as_os_str().as_bytes());
    }
}

/// The file that the path stands for.
pub fn request_filename(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    match (&ex.settings().root, ex.route().map(|route| &route.backend)) {
        (Some(root), _) => root.write_path(ex, &ex.request.path, out),
        (None, Some(Backend::Files(files))) => files.write_name(&ex.request.path, out),
        _ => {}
    }
}

/// The port of the other end of the connection.
pub fn realip_remote_port(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    write_port(ex.client.peer, out);
}

/// Bytes a second that an answer may take; 0: no limit.
pub fn limit_rate(ex: &Exchange, sent: Sent<'_>, out: &mut Vec<u8>) {
    write_number(crate::filter::limit_rate::rate(ex, sent), out);
}

/// The version of Buchner.
pub fn version(_: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(env!("CARGO_PKG_VERSION").as_bytes());
}

/// The machine's name.
pub fn hostname(_: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(crate::observe::hostname().as_bytes());
}

/// `p` for a request that came before the answer to the one before, else `.`.
pub fn pipe(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    out.push(if ex.client.pipelined { b'p' } else { b'.' });
}

/// The body, where it was read whole and is in memory.
pub fn request_body(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    if let RequestBody::Buffered(Buffered::Memory(body)) = &ex.request.body {
        out.extend_from_slice(body);
    }
}

/// The name of the file with the body, where it has one.
pub fn request_body_file(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    if let RequestBody::Buffered(Buffered::File(file)) = &ex.request.body {
        out.extend_from_slice(file.path().map_or(b"", |path| path.as_os_str().as_bytes()));
    }
}

/// `OK` when the answer was sent whole.
pub fn request_completion(_: &Exchange, sent: Sent<'_>, out: &mut Vec<u8>) {
    if sent.complete {
        out.extend_from_slice(b"OK");
    }
}
