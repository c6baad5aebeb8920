//! Headers of a part.
use super::{Flags, MAX_HEADER};
use crate::body::Message;
use std::borrow::Cow;

/// The line without its CRLF or LF.
pub(super) fn without_ending(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn name(header: &[u8]) -> &[u8] {
    header.split(|byte| *byte == b':').next().unwrap_or_default()
}

/// Adds a line: a header, or the continuation of the one before it. Which characters a name may have is left to rules
/// (`MULTIPART_PART_HEADERS`).
pub(super) fn add<'a>(headers: &mut Vec<Cow<'a, [u8]>>, line: &'a [u8], flags: &mut Flags) -> Result<(), Message> {
    if memchr::memchr(0, line).is_some() {
        return Err("a NUL byte in a header of a part".into());
    }
    if line[0].is_ascii_whitespace() || line[0] == 11 {
        flags.header_folding = true;
        flags.invalid_header_folding |= !matches!(line[0], b' ' | b'\t') || line.trim_ascii().is_empty();
        let Some(last) = headers.last_mut() else {
            return Err("a folded line before any header of a part".into());
        };
        last.to_mut().extend_from_slice(line);
        return fits(last);
    }
    if memchr::memchr(b':', line).is_none() {
        return Err("a header of a part has no colon".into());
    }
    let new = name(line);
    if new.is_empty() {
        return Err("a header of a part has no name".into());
    }
    if headers.iter().any(|header| name(header).eq_ignore_ascii_case(new)) {
        return Err(format!("a part has the header {} twice", String::from_utf8_lossy(new)));
    }
    if headers.len() >= 32 {
        return Err("a part has more than 32 headers".into());
    }
    fits(line)?;
    headers.push(Cow::Borrowed(line));
    Ok(())
}

fn fits(header: &[u8]) -> Result<(), Message> {
    if header.len() > MAX_HEADER {
        Err(format!("a header of a part is longer than {MAX_HEADER} bytes"))
    } else {
        Ok(())
    }
}

/// The value of `Content-Disposition`.
pub(super) fn disposition<'h>(headers: &'h [Cow<'_, [u8]>]) -> Result<&'h [u8], Message> {
    let found = headers.iter().find(|header| name(header).eq_ignore_ascii_case(b"content-disposition"));
    let Some(header) = found else { return Err("a part has no Content-Disposition".into()) };
    Ok(header[b"content-disposition:".len()..].trim_ascii())
}
