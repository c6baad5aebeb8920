//! Literals of SQL.
use super::hex_pair;
use std::borrow::Cow;

/// `0x` and pairs of digits become the bytes; a digit without a second one stays.
pub(super) fn hex_decode(input: &[u8]) -> Cow<'_, [u8]> {
    let starts = |at: usize| {
        input[at] == b'0' && matches!(input.get(at + 1), Some(b'x' | b'X')) && hex_pair(input, at + 2).is_some()
    };
    let Some(mut at) = memchr::memchr_iter(b'0', input).find(|at| starts(*at)) else { return Cow::Borrowed(input) };
    let mut out = Vec::with_capacity(input.len());
    out.extend_from_slice(&input[..at]);
    while at < input.len() {
        if starts(at) {
            at += 2;
            while let Some(byte) = hex_pair(input, at) {
                out.push(byte);
                at += 2;
            }
        } else {
            out.push(input[at]);
            at += 1;
        }
    }
    Cow::Owned(out)
}
