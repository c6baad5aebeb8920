//! Commands as their shells see them.
use std::borrow::Cow;

/// Drops backslashes, quotes and carets, turns runs of whitespace, commas and semicolons into one space, drops that before
/// `/` and `(`, and makes letters lowercase.
pub(super) fn cmd_line(input: &[u8]) -> Cow<'_, [u8]> {
    if input.iter().all(|byte| stays(*byte)) && !loses_space(input) {
        return Cow::Borrowed(input);
    }
    let mut out = Vec::with_capacity(input.len());
    let mut spaced = false;
    for byte in input {
        match byte {
            b'"' | b'\'' | b'\\' | b'^' => {}
            b' ' | b',' | b';' | b'\t' | b'\r' | b'\n' => {
                if !spaced {
                    out.push(b' ');
                }
                spaced = true;
            }
            _ => {
                if spaced && matches!(byte, b'/' | b'(') {
                    out.pop();
                }
                spaced = false;
                out.push(byte.to_ascii_lowercase());
            }
        }
    }
    Cow::Owned(out)
}

fn stays(byte: u8) -> bool {
    !matches!(byte, b'"' | b'\'' | b'\\' | b'^' | b',' | b';' | b'\t' | b'\r' | b'\n' | b'A'..=b'Z')
}

/// Whether a space is followed by another one, `/` or `(`.
fn loses_space(input: &[u8]) -> bool {
    memchr::memchr_iter(b' ', input).any(|at| matches!(input.get(at + 1), Some(b' ' | b'/' | b'(')))
}
