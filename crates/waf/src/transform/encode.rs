//! Base64 and hexadecimal.
use std::borrow::Cow;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// Puts six bits after six bits; what makes no whole byte at the end is dropped.
fn join(sextets: impl Iterator<Item = u8>, capacity: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(capacity);
    let (mut bits, mut count) = (0_u32, 0);
    for sextet in sextets {
        bits = bits << 6 | u32::from(sextet);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    out
}

pub(super) fn base64_decode(input: &[u8]) -> Cow<'_, [u8]> {
    Cow::Owned(join(input.iter().map_while(|byte| sextet(*byte)), input.len() / 4 * 3 + 3))
}

pub(super) fn base64_decode_ext(input: &[u8]) -> Cow<'_, [u8]> {
    Cow::Owned(join(input.iter().filter_map(|byte| sextet(*byte)), input.len() / 4 * 3 + 3))
}

pub(super) fn base64_encode(input: &[u8]) -> Cow<'_, [u8]> {
    let mut out = Vec::with_capacity(input.len().div_ceil(3) * 4);
    for group in input.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * at)) as usize & 63];
            out.push(if at <= group.len() { digit } else { b'=' });
        }
    }
    Cow::Owned(out)
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Appends a byte as two lowercase digits.
pub(super) fn push_hex(out: &mut Vec<u8>, byte: u8) {
    out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

pub(super) fn hex_encode(input: &[u8]) -> Cow<'_, [u8]> {
    let mut out = Vec::with_capacity(input.len() * 2);
    for byte in input {
        push_hex(&mut out, *byte);
    }
    Cow::Owned(out)
}

/// The digit that ModSecurity reads, also from what is no hexadecimal digit.
fn loose_digit(byte: u8) -> u8 {
    if byte >= b'A' { (byte & 0xdf).wrapping_sub(b'A').wrapping_add(10) } else { byte.wrapping_sub(b'0') }
}

/// An odd character at the end is dropped.
pub(super) fn hex_decode(input: &[u8]) -> Cow<'_, [u8]> {
    let pairs = input.chunks_exact(2);
    Cow::Owned(pairs.map(|pair| loose_digit(pair[0]).wrapping_mul(16).wrapping_add(loose_digit(pair[1]))).collect())
}
