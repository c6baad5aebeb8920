//! Request-targets, and the one normal form of a path that routes are matched with.
//!
//! A path is percent-decoded once, and what comes out is what counts: a decoded slash separates segments, a decoded dot makes
//! dot segments. Then repeated slashes become one (if asked for) and `.` and `..` are resolved (RFC 3986 section 5.2.4).
//! So a path can't be spelled so that the router sees one thing and the file system or the app another.
//!
//! Laws: a normalised path begins with a slash, holds no NUL and no dot segment, and never leaves the root: what would is
//! refused. Encoding it ([`encode_path`]) and normalising again gives the same path.
use crate::h1::{H1Error, H1ErrorKind};
use crate::method::{Method, letters_digits_and};
use bytes::Bytes;
use std::ops::Range;

/// Which form a request-target has (RFC 9112 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `/path?query`
    Origin,
    /// `http://authority/path?query`
    Absolute,
    /// `host:port`, of CONNECT
    Authority,
    /// `*`, of OPTIONS
    Asterisk,
}

/// A request-target taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its form.
    pub form: Form,
    /// The normalised path, decoded; `*` of the asterisk form, empty of the authority form. Shares the target's memory if
    /// there was nothing to normalise.
    pub path: Bytes,
    /// Where the path as sent is in the target; empty if an absolute form has none (then `path` is `/`).
    pub raw_path: Range<usize>,
    /// Where the query is in the target, without its `?`; `None` without a `?`.
    pub query: Option<Range<usize>>,
    /// Host and port of the absolute and authority forms. It takes the place of Host (RFC 9112 section 3.2.2).
    pub authority: Option<Bytes>,
}

/// Takes `target`, the target of a `method` request, apart and normalises its path.
///
/// `merge_slashes` makes `//` and `/` the same (nginx's directive of that name). Refused with 400: other forms than those of
/// RFC 9112 section 3.2, `#`, a `%` without two hex digits behind it, `%00`, and `..` above the root.
pub fn parse_target(method: &Method, target: &Bytes, merge_slashes: bool) -> Result<Target, H1Error> {
    if *method == Method::Connect {
        return authority_form(target);
    }
    match target.first() {
        Some(b'/') => with_path(target, 0, Form::Origin, None, merge_slashes),
        Some(b'*') if target.len() == 1 && *method == Method::Options => {
            Ok(Target { form: Form::Asterisk, path: target.clone(), raw_path: 0..1, query: None, authority: None })
        }
        _ => absolute_form(target, merge_slashes),
    }
}

fn bad(message: &'static str) -> H1Error {
    H1Error::bad(H1ErrorKind::Target, message)
}

fn authority_form(target: &Bytes) -> Result<Target, H1Error> {
    let port = split_port(target).and_then(|(_, port)| port).filter(|port| !port.is_empty());
    if !is_valid_host(target) || port.is_none() {
        return Err(bad("the target of CONNECT isn't host:port"));
    }
    let path = Bytes::new();
    Ok(Target { form: Form::Authority, path, raw_path: 0..0, query: None, authority: Some(target.clone()) })
}

fn absolute_form(target: &Bytes, merge_slashes: bool) -> Result<Target, H1Error> {
    let scheme = |name: &str| target.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()));
    let begin = match () {
        () if scheme("http://") => "http://".len(),
        () if scheme("https://") => "https://".len(),
        () => return Err(bad("the request-target is neither a path that begins with / nor an http or https URL")),
    };
    let end = target[begin..].iter().position(|byte| b"/?#".contains(byte)).map_or(target.len(), |len| begin + len);
    let authority = target.slice(begin..end);
    if !is_valid_host(&authority) {
        return Err(bad("the URL in the request line has no valid host"));
    }
    with_path(target, end, Form::Absolute, Some(authority), merge_slashes)
}

/// The forms with a path, which begins at `at`.
fn with_path(
    target: &Bytes,
    at: usize,
    form: Form,
    authority: Option<Bytes>,
    merge_slashes: bool,
) -> Result<Target, H1Error> {
    let (plain, end) = scan(&target[at..], merge_slashes);
    let end = at + end;
    let query = (end < target.len()).then_some(end + 1..target.len());
    // Where the scan ended is `?`, `#` or the end.
    if target.get(end) == Some(&b'#') || query.clone().is_some_and(|query| target[query].contains(&b'#')) {
        return Err(bad("# in the request-target"));
    }
    let path = match () {
        () if at == end => Bytes::from_static(b"/"),
        () if plain => target.slice(at..end),
        () => Bytes::from(normalise(&target[at..end], merge_slashes)?),
    };
    Ok(Target { form, path, raw_path: at..end, query, authority })
}

/// Whether the path at the front of `bytes` is its own normal form, as far as a glance tells, and where it ends.
fn scan(bytes: &[u8], merge_slashes: bool) -> (bool, usize) {
    let mut plain = true;
    let mut previous = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'?' | b'#' => return (plain, at),
            b'%' | 0 => plain = false,
            b'.' if previous == b'/' => plain = false,
            b'/' if previous == b'/' && merge_slashes => plain = false,
            _ => {}
        }
        previous = byte;
    }
    (plain, bytes.len())
}

/// The normal form of `raw`, an encoded path that begins with a slash and has no query.
fn normalise(raw: &[u8], merge_slashes: bool) -> Result<Vec<u8>, H1Error> {
    let mut path = Vec::with_capacity(raw.len());
    let mut rest = raw.iter();
    while let Some(&byte) = rest.next() {
        let byte = if byte == b'%' { decode(rest.next(), rest.next())? } else { byte };
        match byte {
            0 => return Err(bad("%00 in the path")),
            b'/' => {
                let dots = close_segment(&mut path)?;
                let merged = merge_slashes && path.ends_with(b"/");
                if !dots && !merged {
                    path.push(b'/');
                }
            }
            _ => path.push(byte),
        }
    }
    close_segment(&mut path)?;
    Ok(path)
}

/// The path of a target with the empty segments that merging slashes took out of it (`/a//b`), decoded, without dot
/// segments; `None` if there are none. `raw` is the path as sent, `merged` what [`parse_target`] made of it.
///
/// Refused with 400: a path that names another place when its slashes are merged before `..` is resolved than when they
/// are not (`/admin//../public`). Whoever looked at one reading must not find that another was meant.
pub fn with_empty_segments(raw: &[u8], merged: &[u8]) -> Result<Option<Vec<u8>>, H1Error> {
    if raw == merged || !has_neighbours(raw) {
        return Ok(None);
    }
    let path = normalise(raw, false)?;
    let mut again = Vec::with_capacity(path.len());
    for &byte in &path {
        if byte != b'/' || again.last() != Some(&b'/') {
            again.push(byte);
        }
    }
    if again != merged {
        return Err(bad("// before .. in the path: it would name another place to those who merge slashes"));
    }
    Ok((path != merged).then_some(path))
}

/// Two slashes side by side, encoded or not, or a dot segment between them.
fn has_neighbours(raw: &[u8]) -> bool {
    let encoded = |at: usize| raw.get(at..at + 3).is_some_and(|text| text.eq_ignore_ascii_case(b"%2f"));
    raw.iter().enumerate().any(|(at, &byte)| match byte {
        b'/' => raw.get(at + 1) == Some(&b'/') || encoded(at + 1),
        b'%' => encoded(at),
        _ => false,
    })
}

/// Resolves the last segment of `path` if it is `.` or `..`. True if it was: then the path ends with the slash in front of it,
/// which also stands for the one behind it.
fn close_segment(path: &mut Vec<u8>) -> Result<bool, H1Error> {
    if path.ends_with(b"/.") {
        path.truncate(path.len() - 1);
        return Ok(true);
    }
    if !path.ends_with(b"/..") {
        return Ok(false);
    }
    path.truncate(path.len() - 3);
    let parent = path.iter().rposition(|&byte| byte == b'/');
    let parent = parent.ok_or_else(|| bad("the path leaves the root with .."))?;
    path.truncate(parent + 1);
    Ok(true)
}

fn decode(high: Option<&u8>, low: Option<&u8>) -> Result<u8, H1Error> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    match (digit(high), digit(low)) {
        (Some(high), Some(low)) => Ok((high * 16 + low) as u8),
        _ => Err(bad("% without two hex digits behind it in the path")),
    }
}

/// Encodes a decoded path for a request-target or a Location: what isn't `pchar` or `/` (RFC 3986 section 3.3) becomes `%XX`.
pub fn encode_path(path: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.reserve(path.len());
    for &byte in path {
        if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

/// Whether `value` is a valid Host: `uri-host [ ":" port ]` (RFC 9110 section 7.2) with a host that isn't empty. A host is a
/// name, an IPv4 address, or an IPv6 address or a future one in brackets; no user info. A name has no empty labels but behind
/// its last dot, and nothing in it is encoded: names with `%` would be the same to some readers and others to the rest.
pub fn is_valid_host(value: &[u8]) -> bool {
    let Some((host, port)) = split_port(value) else { return false };
    let port_ok = port.is_none_or(|port| {
        port.len() <= 5
            && port.iter().all(u8::is_ascii_digit)
            && port.iter().fold(0, |sum, d| sum * 10 + u32::from(d - b'0')) <= 65535
    });
    port_ok
        && match host {
            [] => false,
            [b'[', address @ .., b']'] => {
                std::str::from_utf8(address).is_ok_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
                    || is_future_address(address)
            }
            name => is_name(name),
        }
}

/// Splits `host[:port]` at the colon of the port; the brackets of an IPv6 address stay. `None` if there is text between the
/// bracket and the port. The port may be empty.
pub fn split_port(value: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let host = match value {
        [b'[', ..] => value.iter().position(|&byte| byte == b']')? + 1,
        _ => value.iter().position(|&byte| byte == b':').unwrap_or(value.len()),
    };
    match value.split_at(host) {
        (host, []) => Some((host, None)),
        (host, [b':', port @ ..]) => Some((host, Some(port))),
        _ => None,
    }
}

/// `reg-name` of RFC 3986 section 3.2.2, without encoded bytes and empty labels.
fn is_name(name: &[u8]) -> bool {
    name.iter().all(|&byte| REG_NAME[usize::from(byte)]) && name != b"." && !name.windows(2).any(|two| two == b"..")
}

/// `IPvFuture` of RFC 3986 section 3.2.2.
fn is_future_address(address: &[u8]) -> bool {
    let Some(dot) = address.iter().position(|&byte| byte == b'.') else { return false };
    let (version, rest) = (&address[..dot], &address[dot + 1..]);
    matches!(version, [b'v' | b'V', digits @ ..] if !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit))
        && !rest.is_empty()
        && rest.iter().all(|&byte| byte == b':' || REG_NAME[usize::from(byte)])
}

/// `unreserved` and `sub-delims` of RFC 3986.
static REG_NAME: [bool; 256] = letters_digits_and(b"-._~!$&'()*+,;=");

#[cfg(test)]
mod tests;
