//! The head of a uwsgi request (uWSGI's own protocol, "The uwsgi Protocol"): four bytes and pairs with 16-bit lengths.
//!
//! The body follows as it is, and the response is one of CGI or HTTP/1 ([`crate::cgi`]).

/// Bytes that the pairs of one request may take: their length is a 16-bit number.
pub const MAX_PAIRS: usize = u16::MAX as usize;

/// More pairs than a request can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// Writes one request behind what `out` holds.
pub struct Writer<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    is_too_large: bool,
}

impl<'o> Writer<'o> {
    /// Begins a request. `modifiers`: what the receiver is to do with it; 0 and 0 is WSGI.
    pub fn new(modifiers: (u8, u8), out: &'o mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend_from_slice(&[modifiers.0, 0, 0, modifiers.1]);
        Self { out, start, is_too_large: false }
    }

    /// Adds a pair.
    pub fn pair(&mut self, name: &[u8], value: &[u8]) {
        for part in [name, value] {
            let Ok(length) = u16::try_from(part.len()) else {
                self.is_too_large = true;
                return;
            };
            self.out.extend_from_slice(&length.to_le_bytes());
            self.out.extend_from_slice(part);
        }
    }

    /// Ends the request.
    pub fn finish(self) -> Result<(), TooLarge> {
        let size = self.out.len() - self.start - 4;
        let size = u16::try_from(size).ok().filter(|_| !self.is_too_large).ok_or(TooLarge)?;
        self.out[self.start + 1..self.start + 3].copy_from_slice(&size.to_le_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_byte_by_byte() {
        let mut out = b"before".to_vec();
        let mut writer = Writer::new((5, 7), &mut out);
        writer.pair(b"AB", b"c");
        writer.pair(b"D", b"");
        writer.finish().unwrap();
        assert_eq!(out, b"before\x05\x0c\x00\x07\x02\x00AB\x01\x00c\x01\x00D\x00\x00");
    }

    #[test]
    fn what_no_length_can_say_is_refused() {
        for (value, pairs, result) in
            [(65_531 - 1, 1, Ok(())), (65_532, 1, Err(TooLarge)), (65_536, 1, Err(TooLarge)), (1000, 66, Err(TooLarge))]
        {
            let mut out = Vec::new();
            let mut writer = Writer::new((0, 0), &mut out);
            for _ in 0..pairs {
                writer.pair(b"A", &vec![b'v'; value]);
            }
            assert_eq!(writer.finish(), result, "{value} {pairs}");
        }
    }
}
