//! Values as text, where the detour through fmt shows.
use crate::net::peer::Peer;
use std::io::Write;
use std::net::IpAddr;

/// Appends an address without its port; `unix:` for Unix sockets.
pub fn write_addr(peer: &Peer, out: &mut Vec<u8>) {
    match peer.ip() {
        // Written so often that the detour through fmt shows.
        Some(IpAddr::V4(ip)) => {
            for (i, octet) in ip.octets().into_iter().enumerate() {
                if i > 0 {
                    out.push(b'.');
                }
                write_octet(octet, out);
            }
        }
        Some(ip) => {
            let _ = write!(out, "{ip}");
        }
        None => out.extend_from_slice(b"unix:"),
    }
}

fn write_octet(octet: u8, out: &mut Vec<u8>) {
    if octet >= 100 {
        out.push(b'0' + octet / 100);
    }
    if octet >= 10 {
        out.push(b'0' + octet / 10 % 10);
    }
    out.push(b'0' + octet % 10);
}

/// Appends a decimal number.
pub fn write_number(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends milliseconds as seconds with three decimals.
pub fn write_seconds(ms: u64, out: &mut Vec<u8>) {
    write_number(ms / 1000, out);
    let rest = (ms % 1000) as u16;
    let digit = |value: u16| b'0' + (value % 10) as u8;
    out.extend_from_slice(&[b'.', digit(rest / 100), digit(rest / 10), digit(rest)]);
}

/// Appends a port; one that isn't known is left out.
pub fn write_port(peer: Peer, out: &mut Vec<u8>) {
    match peer.port() {
        0 => {}
        port => write_number(u64::from(port), out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_and_numbers_are_decimal() {
        for octet in 0..=255u8 {
            let mut out = Vec::new();
            write_octet(octet, &mut out);
            assert_eq!(out, octet.to_string().as_bytes());
        }
        let mut out = Vec::new();
        write_number(0, &mut out);
        write_number(u64::MAX, &mut out);
        assert_eq!(out, b"018446744073709551615");
    }
}
