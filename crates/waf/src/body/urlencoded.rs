//! Query strings and `application/x-www-form-urlencoded` bodies.
use crate::transform::decode_url;
use std::borrow::Cow;

/// A pair of a name and a value, decoded (`%XX` and `+`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair<'a> {
    /// The name; may be empty.
    pub name: Cow<'a, [u8]>,
    /// The value; empty if there was no `=`.
    pub value: Cow<'a, [u8]>,
    /// Whether a `%` without two hexadecimal digits was left as it is (`URLENCODED_ERROR`).
    pub invalid: bool,
}

/// The pairs of a query string or a body, in their order. `separator` is `&`, or that of `SecArgumentSeparator`.
///
/// Without `=` the whole is the name. Between two separators is an empty name; after the last one is nothing.
pub fn pairs(input: &[u8], separator: u8) -> impl Iterator<Item = Pair<'_>> {
    let before_last = input.strip_suffix(&[separator]).unwrap_or(input);
    let pieces = (!input.is_empty()).then(|| before_last.split(move |byte| *byte == separator));
    pieces.into_iter().flatten().map(pair)
}

fn pair(piece: &[u8]) -> Pair<'_> {
    let (name, value) = match memchr::memchr(b'=', piece) {
        Some(at) => (&piece[..at], &piece[at + 1..]),
        None => (piece, &piece[piece.len()..]),
    };
    let (name, bad_name) = decode_url(name);
    let (value, bad_value) = decode_url(value);
    Pair { name, value, invalid: bad_name || bad_value }
}
