//! The boundary that a `Content-Type` names (RFC 2046, section 5.1.1).
use super::Flags;
use crate::body::Message;
use memchr::memmem;

/// Longest `Content-Type` in bytes.
const MAX_CONTENT_TYPE: usize = 1024;

/// The boundary, without quotes.
pub(super) fn of(content_type: &[u8], flags: &mut Flags) -> Result<Vec<u8>, Message> {
    if content_type.len() > MAX_CONTENT_TYPE {
        return Err("invalid boundary in Content-Type (length)".into());
    }
    let kind = b"multipart/form-data";
    let lower = content_type.to_ascii_lowercase();
    if !lower.starts_with(kind) {
        return Err("the type is not multipart/form-data".into());
    }
    let Some(start) = memmem::find(&lower, b"boundary") else {
        return Err("no boundary in Content-Type".into());
    };
    if memmem::find_iter(&lower[start..], b"boundary").nth(1).is_some_and(|_| named_twice(&lower[start..])) {
        return Err("several boundaries in Content-Type".into());
    }
    if !content_type[start..].starts_with(b"boundary") {
        return Err("invalid boundary in Content-Type (case)".into());
    }
    // Only a semicolon and whitespace may stand before it.
    let between = content_type[kind.len()..start].trim_ascii();
    match between {
        b";" => {}
        b"" => flags.missing_semicolon = true,
        _ => return Err("invalid boundary in Content-Type (malformed)".into()),
    }
    let rest = &content_type[start + b"boundary".len()..];
    let Some(equals) = memchr::memchr(b'=', rest) else {
        return Err("invalid boundary in Content-Type (malformed)".into());
    };
    if !rest[..equals].trim_ascii().is_empty() {
        return Err("invalid boundary in Content-Type (parameter name)".into());
    }
    let value = &rest[equals + 1..];
    let trimmed = value.trim_ascii();
    flags.boundary_whitespace |= equals > 0 || trimmed.len() < value.len();
    let bare = match trimmed {
        [b'"', within @ .., b'"'] => {
            flags.boundary_quoted = true;
            within
        }
        bare => bare,
    };
    if bare.is_empty() {
        return Err("invalid boundary in Content-Type (empty)".into());
    }
    if !bare.iter().all(|byte| is_boundary(*byte)) {
        return Err("invalid boundary in Content-Type (characters)".into());
    }
    Ok(bare.to_vec())
}

/// Whether the parameter itself stands there twice, and not only its name within the value.
fn named_twice(lower: &[u8]) -> bool {
    let named = |at: usize| {
        let rest = lower[at + b"boundary".len()..].trim_ascii_start();
        let before = at.checked_sub(1).and_then(|before| lower.get(before));
        rest.starts_with(b"=") && before.is_none_or(|byte| matches!(byte, b';' | b',' | b' ' | b'\t'))
    };
    memmem::find_iter(lower, b"boundary").filter(|at| named(*at)).nth(1).is_some()
}

fn is_boundary(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&byte)
}
