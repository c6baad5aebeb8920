//! Character references of HTML.
use super::hex_digit;
use std::borrow::Cow;

/// The named references that ModSecurity knows.
const NAMED: &[(&[u8], u8)] = &[(b"quot", b'"'), (b"amp", b'&'), (b"lt", b'<'), (b"gt", b'>'), (b"nbsp", 0xa0)];

/// Decodes `&#x41;`, `&#65;` and five names, in any case, with or without the semicolon. A number beyond a byte is its low
/// byte.
pub(super) fn decode(input: &[u8]) -> Cow<'_, [u8]> {
    let Some(mut at) = memchr::memchr(b'&', input) else { return Cow::Borrowed(input) };
    let mut out = Vec::with_capacity(input.len());
    out.extend_from_slice(&input[..at]);
    loop {
        if let Some((byte, length)) = reference(&input[at + 1..]) {
            out.push(byte);
            at += 1 + length;
            at += usize::from(input.get(at) == Some(&b';'));
        } else {
            out.push(b'&');
            at += 1;
        }
        let rest = &input[at..];
        let Some(next) = memchr::memchr(b'&', rest) else {
            out.extend_from_slice(rest);
            break;
        };
        out.extend_from_slice(&rest[..next]);
        at += next;
    }
    Cow::Owned(out)
}

/// The byte that the text after `&` stands for, and the length of that text without the semicolon.
fn reference(rest: &[u8]) -> Option<(u8, usize)> {
    if let [b'#', number @ ..] = rest {
        return match number {
            [b'x' | b'X', digits @ ..] => numeric(digits, 16).map(|(byte, length)| (byte, length + 2)),
            digits => numeric(digits, 10).map(|(byte, length)| (byte, length + 1)),
        };
    }
    // The longest name has four letters, so a longer run needn't be read to its end.
    let length = rest.iter().take(5).take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let name = &rest[..length];
    NAMED.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, byte)| (*byte, length))
}

/// The low byte of a number of any length, saturated at 63 bits as `strtol` does, and its length.
fn numeric(digits: &[u8], base: u8) -> Option<(u8, usize)> {
    let read = digits.iter().map_while(|byte| hex_digit(*byte).filter(|digit| *digit < base));
    let (value, length) = read.fold((0_i64, 0), |(value, length), digit| {
        let next = value.checked_mul(i64::from(base)).and_then(|value| value.checked_add(i64::from(digit)));
        (next.unwrap_or(i64::MAX), length + 1)
    });
    (length > 0).then_some((value as u8, length))
}
