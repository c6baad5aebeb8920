//! Transformations that look at one byte at a time.
use super::is_space;
use std::borrow::Cow;

/// NBSP in Latin-1, which ModSecurity counts as whitespace in some transformations.
const NBSP: u8 = 0xa0;

/// Whitespace of `removeWhitespace` and `compressWhitespace`.
fn is_wide_space(byte: u8) -> bool {
    is_space(byte) || byte == NBSP
}

/// Keeps the bytes that pass `keep`; borrows if all do.
fn retain(input: &[u8], keep: impl Fn(u8) -> bool) -> Cow<'_, [u8]> {
    let Some(first) = input.iter().position(|byte| !keep(*byte)) else { return Cow::Borrowed(input) };
    let mut out = Vec::with_capacity(input.len());
    out.extend_from_slice(&input[..first]);
    out.extend(input[first..].iter().copied().filter(|byte| keep(*byte)));
    Cow::Owned(out)
}

/// Replaces each byte by `with` of it; borrows if all stay.
fn map(input: &[u8], with: impl Fn(u8) -> u8) -> Cow<'_, [u8]> {
    let Some(first) = input.iter().position(|byte| with(*byte) != *byte) else { return Cow::Borrowed(input) };
    let mut out = input.to_vec();
    for byte in &mut out[first..] {
        *byte = with(*byte);
    }
    Cow::Owned(out)
}

pub(super) fn none(input: &[u8]) -> Cow<'_, [u8]> {
    Cow::Borrowed(input)
}

pub(super) fn lowercase(input: &[u8]) -> Cow<'_, [u8]> {
    map(input, |byte| byte.to_ascii_lowercase())
}

pub(super) fn uppercase(input: &[u8]) -> Cow<'_, [u8]> {
    map(input, |byte| byte.to_ascii_uppercase())
}

pub(super) fn length(input: &[u8]) -> Cow<'_, [u8]> {
    Cow::Owned(input.len().to_string().into_bytes())
}

pub(super) fn remove_nulls(input: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(0, input).is_none() { Cow::Borrowed(input) } else { retain(input, |byte| byte != 0) }
}

pub(super) fn replace_nulls(input: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(0, input).is_none() {
        return Cow::Borrowed(input);
    }
    map(input, |byte| if byte == 0 { b' ' } else { byte })
}

pub(super) fn remove_whitespace(input: &[u8]) -> Cow<'_, [u8]> {
    retain(input, |byte| !is_wide_space(byte))
}

pub(super) fn compress_whitespace(input: &[u8]) -> Cow<'_, [u8]> {
    let changes = |at: usize| {
        let byte = input[at];
        is_wide_space(byte) && (byte != b' ' || input.get(at + 1).is_some_and(|next| is_wide_space(*next)))
    };
    let Some(first) = (0..input.len()).find(|at| changes(*at)) else { return Cow::Borrowed(input) };
    let mut out = Vec::with_capacity(input.len());
    out.extend_from_slice(&input[..first]);
    let mut within = false;
    for byte in &input[first..] {
        let space = is_wide_space(*byte);
        if !(space && within) {
            out.push(if space { b' ' } else { *byte });
        }
        within = space;
    }
    Cow::Owned(out)
}

pub(super) fn trim(input: &[u8]) -> Cow<'_, [u8]> {
    Cow::Borrowed(right(left(input)))
}

pub(super) fn trim_left(input: &[u8]) -> Cow<'_, [u8]> {
    Cow::Borrowed(left(input))
}

pub(super) fn trim_right(input: &[u8]) -> Cow<'_, [u8]> {
    Cow::Borrowed(right(input))
}

fn left(input: &[u8]) -> &[u8] {
    let start = input.iter().position(|byte| !is_space(*byte)).unwrap_or(input.len());
    &input[start..]
}

fn right(input: &[u8]) -> &[u8] {
    let end = input.iter().rposition(|byte| !is_space(*byte)).map_or(0, |last| last + 1);
    &input[..end]
}

/// The byte with its top bit such that the number of ones is even, or odd.
fn parity(byte: u8, odd: bool) -> u8 {
    let low = byte & 0x7f;
    if (low.count_ones() % 2 == 1) == odd { low } else { low | 0x80 }
}

pub(super) fn parity_even(input: &[u8]) -> Cow<'_, [u8]> {
    map(input, |byte| parity(byte, false))
}

pub(super) fn parity_odd(input: &[u8]) -> Cow<'_, [u8]> {
    map(input, |byte| parity(byte, true))
}

pub(super) fn parity_zero(input: &[u8]) -> Cow<'_, [u8]> {
    map(input, |byte| byte & 0x7f)
}
