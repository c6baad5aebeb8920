//! Percent-encoding (RFC 3986, section 2.1) and `%uXXXX`, which IIS reads and no RFC defines.
use super::{UnicodeMap, encode::push_hex, full_width, hex_pair};
use std::borrow::Cow;

/// Decodes `%XX` and `+`; a `%` without two digits stays.
pub(super) fn decode(input: &[u8]) -> Cow<'_, [u8]> {
    decode_counting(input).0
}

/// As [`decode`]; says also whether there was a `%` without two digits.
pub(super) fn decode_counting(input: &[u8]) -> (Cow<'_, [u8]>, bool) {
    let Some(first) = memchr::memchr2(b'%', b'+', input) else { return (Cow::Borrowed(input), false) };
    let mut invalid = false;
    let mut out = Vec::with_capacity(input.len());
    out.extend_from_slice(&input[..first]);
    let mut at = first;
    while let Some(&byte) = input.get(at) {
        match (byte, hex_pair(input, at + 1)) {
            (b'%', Some(decoded)) => {
                out.push(decoded);
                at += 3;
                continue;
            }
            (b'%', None) => {
                invalid = true;
                out.push(b'%');
            }
            (b'+', _) => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    (Cow::Owned(out), invalid)
}

pub(super) fn decode_unicode(input: &[u8]) -> Cow<'_, [u8]> {
    decode_unicode_with(input, Some(UnicodeMap::us_ascii()))
}

pub(super) fn decode_unicode_with<'a>(input: &'a [u8], map: Option<&UnicodeMap>) -> Cow<'a, [u8]> {
    let Some(first) = memchr::memchr2(b'%', b'+', input) else { return Cow::Borrowed(input) };
    let mut out = Vec::with_capacity(input.len());
    out.extend_from_slice(&input[..first]);
    let mut at = first;
    while let Some(&byte) = input.get(at) {
        if byte == b'%' {
            if let Some(code) = unicode_escape(input, at) {
                let mapped = map.and_then(|map| map.get(code));
                out.push(mapped.unwrap_or_else(|| full_width(code)));
                at += 6;
                continue;
            }
            if let Some(decoded) = hex_pair(input, at + 1) {
                out.push(decoded);
                at += 3;
                continue;
            }
        }
        out.push(if byte == b'+' { b' ' } else { byte });
        at += 1;
    }
    Cow::Owned(out)
}

/// The number in `%uXXXX` at `at`.
fn unicode_escape(input: &[u8], at: usize) -> Option<u16> {
    if !matches!(input.get(at + 1), Some(b'u' | b'U')) {
        return None;
    }
    Some(u16::from_be_bytes([hex_pair(input, at + 2)?, hex_pair(input, at + 4)?]))
}

pub(super) fn encode(input: &[u8]) -> Cow<'_, [u8]> {
    let stays = |byte: u8| byte == b'*' || byte.is_ascii_alphanumeric();
    if input.iter().all(|byte| stays(*byte)) {
        return Cow::Borrowed(input);
    }
    let mut out = Vec::with_capacity(input.len() * 2);
    for byte in input {
        match byte {
            b' ' => out.push(b'+'),
            byte if stays(*byte) => out.push(*byte),
            byte => {
                out.push(b'%');
                push_hex(&mut out, *byte);
            }
        }
    }
    Cow::Owned(out)
}
