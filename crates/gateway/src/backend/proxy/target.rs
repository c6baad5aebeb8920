//! Where a request goes: a group of servers, the host they are asked for, and the URI.
use crate::error::{Error, Kind, Result};
use crate::exchange::Exchange;
use crate::rewrite::escape::{Escape, escape};
use crate::upstream::Groups;
use crate::upstream::pool;
use crate::upstream::protocol::cgi::Param;
use crate::upstream::{Address, Group, Language};
use crate::vars::{Sent, Template};
use std::borrow::Cow;
use std::sync::Arc;

/// Where a request goes.
pub struct Target {
    /// What the servers speak.
    pub language: Language,
    /// They speak it inside TLS.
    pub secure: bool,
    /// The servers.
    pub group: Arc<Group>,
    /// Value of `Host` unless `set_headers` has one (nginx: `$proxy_host`).
    pub host: Vec<u8>,
    /// The port (nginx: `$proxy_port`); empty for Unix sockets.
    pub port: Vec<u8>,
    /// The URI.
    pub uri: Uri,
    /// The variables that an application gets, where the language has some.
    pub params: Option<Arc<[Param]>>,
    /// The URL and what stands for it on this side, for `proxy_redirect default`.
    pub default: Option<(Vec<u8>, Vec<u8>)>,
}

/// The URI that is asked for.
pub enum Uri {
    /// The client's.
    Same,
    /// The client's with the part that the route matched replaced.
    Replaced {
        /// What takes its place.
        by: Vec<u8>,
        /// Bytes of the path that are replaced.
        matched: usize,
    },
    /// This one.
    Whole(Vec<u8>),
}

impl Target {
    /// Reads a URL whose variables have got their values.
    pub fn of_url(ex: &Exchange, url: &Template, params: Option<Arc<[Param]>>) -> Result<Self> {
        let url = url.value(ex, Sent::default());
        let wrong =
            |why: &str| Error::new(Kind::Internal, format!("proxy: the URL {:?} {why}", String::from_utf8_lossy(&url)));
        let Some((language, secure, rest)) = Language::of_url(&url) else {
            return Err(wrong(&format!("begins with none of {}", Language::SCHEMES.join("://, ") + "://")));
        };
        let (authority, uri) = if language.params().is_some() { (rest, &b""[..]) } else { split(rest) };
        let authority = std::str::from_utf8(authority).map_err(|_| wrong("has a name that is no text"))?;
        if authority.is_empty() {
            return Err(wrong("names no server"));
        }
        let default_port = language.port(secure);
        let group = if let Some(group) = ex.scope.get::<Groups>().and_then(|groups| groups.0.get(authority)) {
            group.clone()
        } else {
            let address = Address::parse(authority, default_port).map_err(|e| wrong(&e))?;
            pool::of(&ex.thread).borrow_mut().single(&address).map_err(|e| wrong(&e))?
        };
        let (host, port) = host_and_port(authority, default_port);
        let port = port.into_owned().into_bytes();
        let uri = if uri.is_empty() { Uri::Same } else { Uri::Whole(with_path(uri)) };
        Ok(Self { language, secure, group, host: host.into(), port, uri, params, default: None })
    }

    /// Appends the URI.
    pub fn write_uri(&self, ex: &Exchange, out: &mut Vec<u8>) {
        let request = &ex.request;
        let path = |path: &[u8], out: &mut Vec<u8>| {
            // nginx leaves a path alone that came without anything encoded.
            if ex.internal || ex.path_was_encoded() || path.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
                escape(path, Escape::Uri, out);
            } else {
                out.extend_from_slice(path);
            }
        };
        match &self.uri {
            Uri::Same if ex.as_sent => return out.extend_from_slice(&request.target),
            Uri::Whole(uri) => return out.extend_from_slice(uri),
            Uri::Same => path(&request.path, out),
            // A rewrite that stays in the route has made the whole path.
            Uri::Replaced { .. } if !ex.in_location => path(&request.path, out),
            Uri::Replaced { by, matched } => {
                out.extend_from_slice(by);
                path(request.path.get(*matched..).unwrap_or_default(), out);
            }
        }
        if let Some(query) = request.query.as_ref().filter(|query| !query.is_empty()) {
            out.push(b'?');
            out.extend_from_slice(query);
        }
    }
}

/// The server and the URI of what stands behind the scheme.
fn split(rest: &[u8]) -> (&[u8], &[u8]) {
    if let Some(socket) = rest.strip_prefix(b"unix:") {
        return match memchr::memchr(b':', socket) {
            Some(at) => (&rest[.."unix:".len() + at], &socket[at + 1..]),
            None => (rest, b""),
        };
    }
    rest.split_at(memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len()))
}

/// A URI made of variables: a query alone gets a path.
fn with_path(uri: &[u8]) -> Vec<u8> {
    if uri.starts_with(b"?") { [b"/", uri].concat() } else { uri.to_vec() }
}

/// The host as `Host` has it, without the port where that is the default, and the port.
pub fn host_and_port(authority: &str, default_port: u16) -> (&str, Cow<'_, str>) {
    if authority.starts_with("unix:") {
        return ("localhost", "".into());
    }
    let default_port = default_port.to_string();
    match authority.rsplit_once(':') {
        Some((host, port)) if port == default_port => (host, port.into()),
        Some((_, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (authority, port.into())
        }
        _ => (authority, default_port.into()),
    }
}

/// The host of an authority as certificates have it: without port and brackets.
pub fn bare_host(authority: &str) -> &str {
    if let Some((inside, _)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return inside;
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split_where_nginx_splits_them() {
        for (rest, authority, uri) in [
            ("a", "a", ""),
            ("a:80/b?c", "a:80", "/b?c"),
            ("a?b", "a", "?b"),
            ("unix:/run/x.sock", "unix:/run/x.sock", ""),
            ("unix:/run/x.sock:/u", "unix:/run/x.sock", "/u"),
        ] {
            assert_eq!(split(rest.as_bytes()), (authority.as_bytes(), uri.as_bytes()), "{rest}");
        }
        assert_eq!((with_path(b"?a"), with_path(b"/b")), (b"/?a".to_vec(), b"/b".to_vec()));
    }

    #[test]
    fn hosts_do_not_name_the_default_port() {
        for (authority, port, expected) in [
            ("a:80", 80, ("a", "80")),
            ("a:81", 80, ("a:81", "81")),
            ("a:80", 443, ("a:80", "80")),
            ("a", 443, ("a", "443")),
            ("[::1]", 80, ("[::1]", "80")),
            ("unix:/x", 443, ("localhost", "")),
        ] {
            assert_eq!(host_and_port(authority, port), (expected.0, expected.1.into()));
        }
    }

    #[test]
    fn certificates_are_for_hosts_alone() {
        for (authority, host) in
            [("a:443", "a"), ("a", "a"), ("[::1]:443", "::1"), ("[::1]", "::1"), ("10.0.0.1:1", "10.0.0.1")]
        {
            assert_eq!(bare_host(authority), host);
        }
    }
}
