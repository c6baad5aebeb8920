//! The head of an SCGI request (python.ca/scgi/protocol.txt): a netstring of pairs that end with NUL.
//!
//! The body follows as it is, and the response is one of CGI ([`crate::cgi`]).

/// Room for the digits of the netstring's length, which is known at the end.
const DIGITS: usize = 10;

/// A name or value with a NUL in it, which ends one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HasNul;

/// Writes one request behind what `out` holds.
pub struct Writer<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    has_nul: bool,
}

impl<'o> Writer<'o> {
    /// Begins a request with a body of `length` bytes, which has to be said first.
    pub fn new(length: u64, out: &'o mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; DIGITS + 1]);
        let mut writer = Self { out, start, has_nul: false };
        writer.pair(b"CONTENT_LENGTH", length.to_string().as_bytes());
        writer.pair(b"SCGI", b"1");
        writer
    }

    /// Adds a pair.
    pub fn pair(&mut self, name: &[u8], value: &[u8]) {
        for part in [name, value] {
            self.has_nul |= memchr::memchr(0, part).is_some();
            self.out.extend_from_slice(part);
            self.out.push(0);
        }
    }

    /// Ends the request.
    pub fn finish(self) -> Result<(), HasNul> {
        if self.has_nul {
            return Err(HasNul);
        }
        let room = self.start..self.start + DIGITS + 1;
        let length = format!("{}:", self.out.len() - room.end);
        self.out.splice(room, length.bytes());
        self.out.push(b',');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_byte_by_byte() {
        let mut out = b"before".to_vec();
        let mut writer = Writer::new(27, &mut out);
        writer.pair(b"REQUEST_METHOD", b"POST");
        writer.pair(b"EMPTY", b"");
        writer.finish().unwrap();
        assert_eq!(out, b"before52:CONTENT_LENGTH\x0027\0SCGI\x001\0REQUEST_METHOD\0POST\0EMPTY\0\0,".to_vec());
    }

    #[test]
    fn a_nul_would_end_a_value_early() {
        let mut out = Vec::new();
        let mut writer = Writer::new(0, &mut out);
        writer.pair(b"A", b"b\0C\0d");
        assert_eq!(writer.finish(), Err(HasNul));
    }
}
