//! Words for a head that was refused. Slow and rare, so that the reader can be fast.
use super::{H1Error, H1ErrorKind};
use crate::headers::{is_valid_name, is_valid_value, printable_name};
use crate::method::{is_tchar, is_token};

/// What is wrong with the head of a request.
#[cold]
pub(crate) fn request(head: &[u8]) -> H1Error {
    let mut lines = lines(head);
    request_line(lines.next().unwrap_or_default())
        .or_else(|| lines.find_map(|line| field(line, false)))
        .unwrap_or_else(unknown)
}

/// What is wrong with the head of a response.
#[cold]
pub(crate) fn response(head: &[u8]) -> H1Error {
    let mut lines = lines(head);
    status_line(lines.next().unwrap_or_default())
        .or_else(|| lines.find_map(|line| field(line, true)))
        .unwrap_or_else(unknown)
}

/// What is wrong with a trailer section.
#[cold]
pub(crate) fn fields(section: &[u8]) -> H1Error {
    lines(section).find_map(|line| field(line, false)).unwrap_or_else(unknown)
}

fn unknown() -> H1Error {
    H1Error::bad(H1ErrorKind::RequestLine, "the head is malformed")
}

/// The lines of a section, which all end with CR LF; its empty last one not among them.
fn lines(section: &[u8]) -> impl Iterator<Item = &[u8]> {
    section
        .split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
}

fn request_line(line: &[u8]) -> Option<H1Error> {
    if line.contains(&b'\r') {
        return Some(H1Error::bad(H1ErrorKind::BareCr, "CR without LF in the request line"));
    }
    let parts: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    if !is_token(parts[0]) {
        return Some(H1Error::bad(H1ErrorKind::Method, "the method holds characters that aren't allowed in one"));
    }
    let [_, target, version] = parts[..] else {
        let message = "the request line isn't a method, a target and a version with one space between them";
        return Some(H1Error::bad(H1ErrorKind::RequestLine, message));
    };
    if target.is_empty() || target.iter().any(u8::is_ascii_control) || std::str::from_utf8(target).is_err() {
        let message = "the request-target is empty, holds control characters or isn't UTF-8";
        return Some(H1Error::bad(H1ErrorKind::Target, message));
    }
    version_error(version)
}

fn version_error(version: &[u8]) -> Option<H1Error> {
    match version {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor] if minor.is_ascii_digit() => None,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            let message =
                format!("HTTP/{}.{} isn't supported on this connection", char::from(*major), char::from(*minor));
            Some(H1Error::with_status(505, H1ErrorKind::Version, message))
        }
        _ => Some(H1Error::bad(H1ErrorKind::RequestLine, "the request line doesn't end with an HTTP version")),
    }
}

fn status_line(line: &[u8]) -> Option<H1Error> {
    let (version, rest) = line.split_at(line.len().min(8));
    let message = match rest {
        _ if !matches!(version, [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor] if minor.is_ascii_digit()) => {
            let message = "the upstream's status line doesn't begin with HTTP/1.0 or HTTP/1.1";
            return Some(H1Error::bad(H1ErrorKind::Version, message));
        }
        _ if line.contains(&b'\r') => {
            return Some(H1Error::bad(H1ErrorKind::BareCr, "CR without LF in the status line"));
        }
        [b' ', b'1'..=b'9', b'0'..=b'9', b'0'..=b'9', reason @ ..] => match reason {
            [] => return None,
            [b' ', reason @ ..] if is_valid_value(reason) => return None,
            [b' ', ..] => "the upstream's reason phrase holds control characters",
            _ => "the upstream's status has more than three digits",
        },
        _ => "the upstream's status isn't three digits from 100 on",
    };
    Some(H1Error::bad(H1ErrorKind::StatusLine, message))
}

fn field(line: &[u8], spaces_allowed: bool) -> Option<H1Error> {
    if let [b' ' | b'\t', ..] = line {
        return Some(H1Error::bad(
            H1ErrorKind::ObsFold,
            "a field line begins with white space (obsolete line folding)",
        ));
    }
    let Some(colon) = line.iter().position(|&byte| byte == b':') else {
        let message = format!("the field line \"{}\" has no colon", printable_name(line));
        return Some(H1Error::bad(H1ErrorKind::FieldName, message));
    };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let bare = name.trim_ascii_end();
    let shown = printable_name(bare);
    if name.is_empty() {
        return Some(H1Error::bad(H1ErrorKind::FieldName, "a field line without a name"));
    }
    if bare.len() < name.len() && !spaces_allowed && is_valid_name(bare) {
        let message = format!("white space between the field name {shown} and its colon");
        return Some(H1Error::bad(H1ErrorKind::SpaceBeforeColon, message));
    }
    if let Some(&byte) = bare.iter().find(|&&byte| !is_tchar(byte)) {
        let message = format!("the field name {shown} holds the byte 0x{byte:02x}");
        return Some(H1Error::bad(H1ErrorKind::FieldName, message));
    }
    if value.contains(&b'\r') {
        return Some(H1Error::bad(H1ErrorKind::BareCr, format!("CR without LF in the value of {shown}")));
    }
    let control = value.iter().find(|&&byte| !is_valid_value(&[byte]))?;
    let message = format!("the control character 0x{control:02x} in the value of {shown}");
    Some(H1Error::bad(H1ErrorKind::FieldValue, message))
}
