//! Request ids and trace context, made once per request and passed on.
use crate::random::random;

/// 128 random bits that name a request in every log line, header and error page, unless a trusted proxy named it already.
#[derive(Clone, Debug)]
pub enum RequestId {
    /// Made here.
    Own(u64, u64),
    /// Given by a trusted proxy in X-Request-ID.
    Given(bytes::Bytes),
}

impl RequestId {
    /// A new one.
    pub fn new() -> Self {
        Self::Own(random(), random())
    }

    /// One that a trusted proxy sent: 1 to 128 characters of letters, digits and `-_.:/+=@`.
    pub fn given(value: &[u8]) -> Option<Self> {
        let fine = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:/+=@".contains(b);
        let ok = !value.is_empty() && value.len() <= 128 && value.iter().all(fine);
        ok.then(|| Self::Given(bytes::Bytes::copy_from_slice(value)))
    }

    /// Appends its text: 32 hexadecimal digits, or what was given.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Own(high, low) => {
                hex(*high, out);
                hex(*low, out);
            }
            Self::Given(text) => out.extend_from_slice(text),
        }
    }

    /// Appends a traceparent with this id as the trace and a new span (W3C Trace Context, version 00). It says that
    /// nothing is recorded here, so that what follows samples by its own rate.
    pub fn write_traceparent(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"00-");
        match self {
            Self::Own(high, low) => {
                hex(*high, out);
                hex(*low | 1, out);
            }
            Self::Given(_) => {
                hex(random(), out);
                hex(random() | 1, out);
            }
        }
        out.push(b'-');
        hex(random() | 1, out);
        out.extend_from_slice(b"-00");
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = Vec::with_capacity(32);
        self.write(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

/// Both digits of each byte.
const HEX: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    pairs
};

fn hex(value: u64, out: &mut Vec<u8>) {
    let mut text = [0u8; 16];
    for (digits, byte) in text.chunks_exact_mut(2).zip(value.to_be_bytes()) {
        digits.copy_from_slice(&HEX[usize::from(byte)]);
    }
    out.extend_from_slice(&text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_32_digits_and_differ() {
        let (a, b) = (RequestId::new().to_string(), RequestId::new().to_string());
        assert!(a.len() == 32 && a.bytes().all(|c| c.is_ascii_hexdigit()));
        assert_ne!(a, b);
    }

    #[test]
    fn a_given_id_is_kept_and_a_dangerous_one_is_not() {
        assert_eq!(RequestId::given(b"abc-1").map(|id| id.to_string()).as_deref(), Some("abc-1"));
        assert!(
            RequestId::given(b"").is_none()
                && RequestId::given(b"a b").is_none()
                && RequestId::given(b"a\r\nb").is_none()
        );
    }

    #[test]
    fn traceparent_has_the_form_of_the_standard() {
        let mut out = Vec::new();
        RequestId::new().write_traceparent(&mut out);
        let text = String::from_utf8(out).unwrap();
        let lengths: Vec<usize> = text.split('-').map(str::len).collect();
        assert_eq!(lengths, [2, 32, 16, 2]);
        assert!(text.ends_with("-00"), "not sampled: {text}");
    }
}
