//! `Content-Disposition` of a part (RFC 7578, section 4.2).
use super::Flags;
use crate::body::Message;

/// What it says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Disposition {
    pub(super) name: Vec<u8>,
    pub(super) filename: Option<Vec<u8>>,
}

/// Reads `form-data; name="…"; filename="…"`; other parameters and repeated ones are errors, as parsers disagree on them.
pub(super) fn parse(value: &[u8], flags: &mut Flags) -> Result<Disposition, Message> {
    let kind = b"form-data";
    let Some(mut rest) = value.get(kind.len()..).filter(|_| value[..kind.len()].eq_ignore_ascii_case(kind)) else {
        return Err("a part's Content-Disposition is not form-data".into());
    };
    let (mut name, mut filename) = (None, None);
    loop {
        rest = rest.trim_ascii_start();
        match rest.first() {
            None => break,
            Some(b';') => rest = rest[1..].trim_ascii_start(),
            Some(_) => {
                flags.missing_semicolon = true;
                return Err("a semicolon is missing in a part's Content-Disposition".into());
            }
        }
        if rest.is_empty() {
            // A semicolon at the end.
            break;
        }
        let Some(equals) = memchr::memchr(b'=', rest) else {
            return Err("a parameter without a value in a part's Content-Disposition".into());
        };
        let parameter = rest[..equals].trim_ascii();
        let (value, after) = parameter_value(rest[equals + 1..].trim_ascii_start(), flags)?;
        rest = after;
        let slot = match parameter {
            parameter if parameter.eq_ignore_ascii_case(b"name") => &mut name,
            parameter if parameter.eq_ignore_ascii_case(b"filename") => &mut filename,
            _ => return Err("an unknown parameter in a part's Content-Disposition".into()),
        };
        if slot.replace(value).is_some() {
            return Err("a parameter twice in a part's Content-Disposition".into());
        }
    }
    let Some(name) = name else {
        flags.invalid_part = true;
        return Err("a part's Content-Disposition has no name".into());
    };
    Ok(Disposition { name, filename })
}

/// A value, in quotes or not, and what follows.
fn parameter_value<'a>(rest: &'a [u8], flags: &mut Flags) -> Result<(Vec<u8>, &'a [u8]), Message> {
    let Some((quote @ (b'"' | b'\''), within)) = rest.split_first() else {
        let length = rest.iter().take_while(|byte| !matches!(byte, b';' | b' ' | b'\t')).count();
        let (value, after) = rest.split_at(length);
        if value.is_empty() {
            return Err("an empty parameter in a part's Content-Disposition".into());
        }
        flags.invalid_quoting |= value.iter().any(|byte| matches!(byte, b'"' | b'\''));
        return Ok((value.to_vec(), after));
    };
    flags.invalid_quoting |= *quote == b'\'';
    let mut value = Vec::with_capacity(within.len());
    let mut at = 0;
    while let Some(&byte) = within.get(at) {
        at += 1;
        if byte == *quote {
            return Ok((value, &within[at..]));
        }
        let next = within.get(at).copied();
        match (byte, next) {
            (b'\\', None) => break,
            // Browsers send backslashes of Windows paths as they are, so only these two are escaped.
            (b'\\', Some(next)) if next == *quote || next == b'\\' => {
                value.push(next);
                at += 1;
            }
            _ => value.push(byte),
        }
    }
    flags.invalid_quoting = true;
    Err("a quote is not closed in a part's Content-Disposition".into())
}
