//! Paths without empty segments, `.` and `..`.
use std::borrow::Cow;

pub(super) fn normalize(input: &[u8]) -> Cow<'_, [u8]> {
    if is_normal(input) { Cow::Borrowed(input) } else { Cow::Owned(rewrite(input)) }
}

pub(super) fn normalize_windows(input: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', input).is_none() {
        return normalize(input);
    }
    let slashes: Vec<u8> = input.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect();
    Cow::Owned(if is_normal(&slashes) { slashes } else { rewrite(&slashes) })
}

/// Whether there is surely nothing to do: no two slashes in a row, and no segment that begins with a dot.
fn is_normal(input: &[u8]) -> bool {
    let special = |byte: Option<&u8>| matches!(byte, Some(b'/' | b'.'));
    input.first() != Some(&b'.') && memchr::memchr_iter(b'/', input).all(|slash| !special(input.get(slash + 1)))
}

/// `..` takes the segment before it; at the root it goes away, and at the start of a relative path it stays.
fn rewrite(input: &[u8]) -> Vec<u8> {
    let absolute = input.first() == Some(&b'/');
    let mut kept: Vec<&[u8]> = Vec::new();
    for segment in input.split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => match kept.last() {
                Some(last) if *last != b".." => _ = kept.pop(),
                _ if absolute => {}
                _ => kept.push(segment),
            },
            _ => kept.push(segment),
        }
    }
    let mut out = Vec::with_capacity(input.len());
    if absolute {
        out.push(b'/');
    }
    for (at, segment) in kept.iter().enumerate() {
        if at > 0 {
            out.push(b'/');
        }
        out.extend_from_slice(segment);
    }
    if !kept.is_empty() && input.last() == Some(&b'/') {
        out.push(b'/');
    }
    out
}
