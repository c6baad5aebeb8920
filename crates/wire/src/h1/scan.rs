//! Finding the end of a head, before anything in it is looked at.
//!
//! Laws: every byte is searched once, however small the pieces it comes in. An error is reported as of the first byte that
//! proves it, so the outcome doesn't depend on where the pieces end.
use super::{H1Error, H1ErrorKind, Limits};
use memchr::{memchr, memrchr};

/// What the first line of a section is, and so which limit it has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstLine {
    Request,
    Field,
}

/// Room in a request line for all but the target: a method of 32 bytes, two spaces, the version.
const REQUEST_LINE_REST: usize = 32 + 2 + 8;

/// Finds the empty line that ends the section beginning at `start`, and returns the offset behind it; `None`: more bytes
/// are needed. `scanned` is where the search goes on, 0 at first; it is the caller's to keep between calls.
pub(crate) fn find_end(
    buf: &[u8],
    start: usize,
    scanned: &mut usize,
    limits: &Limits,
    first: FirstLine,
) -> Result<Option<usize>, H1Error> {
    let head_limit = start.saturating_add(limits.max_head());
    let mut at = (*scanned).clamp(start, buf.len());
    let mut line = memrchr(b'\n', &buf[start..at]).map_or(start, |lf| start + lf + 1);
    // The first line end decides which kind the head has.
    let mut bare = match memchr(b'\n', &buf[start..at]) {
        Some(lf) if limits.bare_lf => Some(!buf[start..start + lf].ends_with(b"\r")),
        Some(_) => Some(false),
        None if limits.bare_lf => None,
        None => Some(false),
    };
    loop {
        let line_limit = if line == start && first == FirstLine::Request {
            limits.max_target.saturating_add(REQUEST_LINE_REST)
        } else {
            limits.max_field
        };
        // With this many bytes and no LF, the line is too long even if CR LF were next.
        let line_end = line.saturating_add(line_limit).saturating_add(2);
        let found = memchr(b'\n', &buf[at..]).map(|lf| at + lf);
        let known = found.unwrap_or(buf.len());
        if known >= line_end.min(head_limit + 1) {
            return Err(if line_end <= head_limit + 1 {
                too_long(&buf[line..line_end], line == start && first == FirstLine::Request, limits)
            } else {
                head_too_large(limits)
            });
        }
        let Some(lf) = found else {
            *scanned = buf.len();
            return Ok(None);
        };
        let alone = lf == line || buf[lf - 1] != b'\r';
        if *bare.get_or_insert(alone) != alone {
            return Err(H1Error::bad(H1ErrorKind::BareLf, mixed(limits)));
        }
        if alone && lf - line > line_limit {
            return Err(too_long(&buf[line..lf], line == start && first == FirstLine::Request, limits));
        }
        at = lf + 1;
        if at > head_limit {
            return Err(head_too_large(limits));
        }
        if lf - line == usize::from(!alone) {
            return Ok(Some(at));
        }
        line = at;
    }
}

fn mixed(limits: &Limits) -> &'static str {
    if limits.bare_lf {
        "some lines of the head end with LF, others with CR LF"
    } else {
        "a line of the head ends with LF instead of CR LF"
    }
}

fn head_too_large(limits: &Limits) -> H1Error {
    let message = format!("the head is longer than the limit of {} bytes", limits.max_head());
    H1Error::with_status(431, H1ErrorKind::HeadTooLarge, message)
}

fn too_long(line: &[u8], is_request_line: bool, limits: &Limits) -> H1Error {
    if !is_request_line {
        return H1Error::field_too_large(line, limits.max_field);
    }
    if line.iter().take(33).all(|&byte| byte != b' ') {
        return method_too_long();
    }
    target_too_long(limits)
}

/// No method is that long (RFC 9110 section 15.6.2).
pub(crate) fn method_too_long() -> H1Error {
    H1Error::with_status(501, H1ErrorKind::Method, "the method is longer than 32 bytes")
}

/// The target is beyond its limit.
pub(crate) fn target_too_long(limits: &Limits) -> H1Error {
    let message = format!("the request-target is longer than the limit of {} bytes", limits.max_target);
    H1Error::with_status(414, H1ErrorKind::TargetTooLong, message)
}
