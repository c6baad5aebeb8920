//! Values as text, where the detour through fmt shows.
use crate::net::peer::Peer;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write;
use std::net::IpAddr;

/// Appends an address without its port; `unix:` for Unix sockets.
pub fn write_addr(peer: &Peer, out: &mut Vec<u8>) {
    match peer.ip() {
        // Written so often that the detour through fmt shows.
        Some(IpAddr::V4(ip)) => {
            let (mut text, mut end) = ([b'.'; 16], 0);
            for octet in ip.octets() {
                let (digits, length) = OCTETS[usize::from(octet)];
                text[end..end + 3].copy_from_slice(&digits);
                end += usize::from(length) + 1;
                text[end - 1] = b'.';
            }
            out.extend_from_slice(&text[..end - 1]);
        }
        Some(ip) => {
            let _ = write!(out, "{ip}");
        }
        None => out.extend_from_slice(b"unix:"),
    }
}

/// The decimal digits of each byte, and how many there are.
const OCTETS: [([u8; 3], u8); 256] = {
    let mut texts = [([0; 3], 0); 256];
    let mut octet = 0;
    while octet < 256 {
        let (hundreds, tens, ones) = (octet / 100, octet / 10 % 10, octet % 10);
        let [hundreds, tens, ones] = [b'0' + hundreds as u8, b'0' + tens as u8, b'0' + ones as u8];
        texts[octet] = match octet {
            0..10 => ([ones, 0, 0], 1),
            10..100 => ([tens, ones, 0], 2),
            _ => ([hundreds, tens, ones], 3),
        };
        octet += 1;
    }
    texts
};

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

/// The text with its control characters escaped, so that nothing a client sends can be taken for a line of a log, or moves a
/// terminal's cursor.
pub fn printable(text: &str) -> Cow<'_, str> {
    // C0 and C1, the separators that some readers take for line ends, and what turns the direction of writing.
    let odd = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if !text.contains(odd) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        let _ = match c {
            '\n' => clean.write_str("\\n"),
            '\r' => clean.write_str("\\r"),
            '\t' => clean.write_str("\\t"),
            c if odd(c) && c < '\u{100}' => write!(clean, "\\x{:02x}", u32::from(c)),
            c if odd(c) => write!(clean, "\\u{:04x}", u32::from(c)),
            c => clean.write_char(c),
        };
    }
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    #[test]
    fn octets_and_numbers_are_decimal() {
        for octet in 0..=255u8 {
            let mut out = Vec::new();
            let ip = IpAddr::from([octet, 255 - octet, octet, octet]);
            write_addr(&Peer::Ip(SocketAddr::new(ip, 1)), &mut out);
            assert_eq!(out, ip.to_string().as_bytes());
        }
        let mut out = Vec::new();
        write_number(0, &mut out);
        write_number(u64::MAX, &mut out);
        assert_eq!(out, b"018446744073709551615");
    }

    #[test]
    fn control_characters_are_escaped_and_letters_are_not() {
        assert!(matches!(printable("GET /café 雪"), Cow::Borrowed(_)));
        let odd = "a\nb\r\tc\u{0}\u{1b}[31m\u{7f}\u{85}\u{2028}\u{202e}\u{2066}é";
        assert_eq!(printable(odd), r"a\nb\r\tc\x00\x1b[31m\x7f\x85\u2028\u202e\u2066é");
    }
}
