//! Comments of C, SQL, shells and HTML.
use memchr::memmem;
use std::borrow::Cow;

/// Each `/* … */` becomes one space, and so does one without an end.
pub(super) fn replace(input: &[u8]) -> Cow<'_, [u8]> {
    if memmem::find(input, b"/*").is_none() {
        return Cow::Borrowed(input);
    }
    let mut out = Vec::with_capacity(input.len());
    let mut rest = input;
    while let Some(start) = memmem::find(rest, b"/*") {
        out.extend_from_slice(&rest[..start]);
        out.push(b' ');
        let within = &rest[start + 2..];
        rest = memmem::find(within, b"*/").map_or(&[], |end| &within[end + 2..]);
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

/// What opens and closes comments, longest first.
const MARKS: &[&[u8]] = &[b"<!--", b"-->", b"/*", b"*/", b"--", b"#"];

fn mark(rest: &[u8]) -> Option<&'static [u8]> {
    MARKS.iter().find(|mark| rest.starts_with(mark)).copied()
}

/// Whether a byte can be in one of the marks.
fn suspicious(byte: u8) -> bool {
    matches!(byte, b'<' | b'-' | b'/' | b'*' | b'#')
}

pub(super) fn remove_characters(input: &[u8]) -> Cow<'_, [u8]> {
    if !input.iter().any(|byte| suspicious(*byte)) {
        return Cow::Borrowed(input);
    }
    let mut out = Vec::with_capacity(input.len());
    let mut at = 0;
    while let Some(&byte) = input.get(at) {
        if let Some(mark) = mark(&input[at..]) {
            at += mark.len();
        } else {
            out.push(byte);
            at += 1;
        }
    }
    Cow::Owned(out)
}

/// `/* … */` and `<!-- … -->` go, and all that follows `--` or `#`. One without an end becomes a space.
pub(super) fn remove(input: &[u8]) -> Cow<'_, [u8]> {
    if !input.iter().any(|byte| suspicious(*byte)) {
        return Cow::Borrowed(input);
    }
    let mut out = Vec::with_capacity(input.len());
    let mut at = 0;
    while let Some(&byte) = input.get(at) {
        let opened = match mark(&input[at..]) {
            Some(b"--" | b"#" | b"-->") => break,
            Some(mark @ (b"/*" | b"<!--")) => mark.len(),
            _ => {
                out.push(byte);
                at += 1;
                continue;
            }
        };
        at += opened;
        let Some(end) = close(&input[at..]) else {
            out.push(b' ');
            break;
        };
        at += end;
    }
    Cow::Owned(out)
}

/// The end of a comment: after the first `*/` or `-->`, whichever opened it.
fn close(rest: &[u8]) -> Option<usize> {
    memchr::memchr2_iter(b'*', b'-', rest).find_map(|at| match &rest[at..] {
        [b'*', b'/', ..] => Some(at + 2),
        [b'-', b'-', b'>', ..] => Some(at + 3),
        _ => None,
    })
}
