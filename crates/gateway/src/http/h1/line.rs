//! The first line of a head that could not be read, as far as it came.
use crate::error::Error;
use crate::http::refuse::Refusal;
use buchner_wire::Version;
use bytes::Bytes;

/// Bytes of a request line that are logged; a longer one was refused for its length.
const MAX_LINE: usize = 8 << 10;

/// The refusal of a head that could not be read from `received`.
pub(super) fn refusal(error: Error, received: &[u8]) -> Refusal {
    let line = first(received);
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let version = if matches!(words[..], [_, _, b"HTTP/1.0"]) { Version::H10 } else { Version::H11 };
    Refusal::unread(error, Bytes::copy_from_slice(line), version)
}

fn first(received: &[u8]) -> &[u8] {
    let start = received.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(received.len());
    let rest = &received[start..];
    let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len()).min(MAX_LINE);
    let line = &rest[..end];
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_what_came_of_it() {
        assert_eq!(first(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"), b"GET / HTTP/1.1");
        assert_eq!(first(b"\r\nGET /\n\n"), b"GET /");
        assert_eq!(first(b"GET /half"), b"GET /half");
        assert_eq!(first(b"\x16\x03\x01"), b"\x16\x03\x01");
        assert_eq!(first(b"\r\n"), b"");
        assert_eq!(first(&vec![b'x'; 20_000]).len(), MAX_LINE);
    }
}
