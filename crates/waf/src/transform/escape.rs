//! Escapes that begin with a backslash: JavaScript, CSS, ANSI C.
use super::{full_width, hex_digit, hex_pair, is_space};
use std::borrow::Cow;

/// Runs `escape` at each backslash: it appends what the escape stands for and gives the position after it.
fn decode(input: &[u8], escape: impl Fn(&[u8], usize, &mut Vec<u8>) -> usize) -> Cow<'_, [u8]> {
    let Some(mut at) = memchr::memchr(b'\\', input) else { return Cow::Borrowed(input) };
    let mut out = Vec::with_capacity(input.len());
    out.extend_from_slice(&input[..at]);
    loop {
        at = escape(input, at, &mut out);
        let Some(rest) = input.get(at..) else { break };
        let Some(next) = memchr::memchr(b'\\', rest) else {
            out.extend_from_slice(rest);
            break;
        };
        out.extend_from_slice(&rest[..next]);
        at += next;
    }
    Cow::Owned(out)
}

/// The control character that C and JavaScript name by a letter.
fn control(letter: u8) -> Option<u8> {
    Some(match letter {
        b'a' => 7,
        b'b' => 8,
        b't' => b'\t',
        b'n' => b'\n',
        b'v' => 11,
        b'f' => 12,
        b'r' => b'\r',
        _ => return None,
    })
}

/// The value of up to three octal digits at `at`, and their number.
fn octal(input: &[u8], at: usize) -> Option<(u16, usize)> {
    let digits = input.iter().skip(at).take(3).take_while(|byte| matches!(byte, b'0'..=b'7'));
    let (value, count) = digits.fold((0, 0), |(value, count), digit| (value * 8 + u16::from(digit - b'0'), count + 1));
    (count > 0).then_some((value, count))
}

pub(super) fn javascript(input: &[u8]) -> Cow<'_, [u8]> {
    decode(input, javascript_escape)
}

fn javascript_escape(input: &[u8], at: usize, out: &mut Vec<u8>) -> usize {
    let Some(&letter) = input.get(at + 1) else {
        out.push(b'\\');
        return at + 1;
    };
    if letter == b'u' {
        if let (Some(high), Some(low)) = (hex_pair(input, at + 2), hex_pair(input, at + 4)) {
            out.push(full_width(u16::from_be_bytes([high, low])));
            return at + 6;
        }
    }
    if letter == b'x' {
        if let Some(byte) = hex_pair(input, at + 2) {
            out.push(byte);
            return at + 4;
        }
    }
    if let Some((value, count)) = octal(input, at + 1) {
        // Beyond 0377 the third digit is a character of its own.
        let (value, count) = if value > 0xff { (value >> 3, count - 1) } else { (value, count) };
        out.push(value as u8);
        return at + 1 + count;
    }
    out.push(control(letter).unwrap_or(letter));
    at + 2
}

pub(super) fn ansi_c(input: &[u8]) -> Cow<'_, [u8]> {
    decode(input, ansi_c_escape)
}

/// An escape that C doesn't know stays, with its backslash.
fn ansi_c_escape(input: &[u8], at: usize, out: &mut Vec<u8>) -> usize {
    let Some(&letter) = input.get(at + 1) else {
        out.push(b'\\');
        return at + 1;
    };
    let (byte, length) = match letter {
        b'\\' | b'?' | b'\'' | b'"' => (letter, 2),
        b'x' | b'X' => match hex_pair(input, at + 2) {
            Some(byte) => (byte, 4),
            None => (b'\\', 1),
        },
        _ => match (control(letter), octal(input, at + 1)) {
            (Some(byte), _) => (byte, 2),
            (None, Some((value, count))) => (value as u8, 1 + count),
            (None, None) => (b'\\', 1),
        },
    };
    out.push(byte);
    at + length
}

pub(super) fn css(input: &[u8]) -> Cow<'_, [u8]> {
    decode(input, css_escape)
}

/// CSS 2.1, section 4.1.3: up to six digits and one whitespace, a line that goes on, or any character itself.
fn css_escape(input: &[u8], at: usize, out: &mut Vec<u8>) -> usize {
    let start = at + 1;
    let digits = input.iter().skip(start).take(6).map_while(|byte| hex_digit(*byte));
    let (value, count) = digits.fold((0_u32, 0), |(value, count), digit| (value << 4 | u32::from(digit), count + 1));
    if count > 0 {
        let fits = count >= 4 && value <= 0xffff;
        out.push(if fits { full_width(value as u16) } else { value as u8 });
        let end = start + count;
        return end + usize::from(input.get(end).is_some_and(|byte| is_space(*byte)));
    }
    match input.get(start) {
        None => start,
        Some(b'\n') => start + 1,
        Some(byte) => {
            out.push(*byte);
            start + 1
        }
    }
}
