//! The header section of an HTTP/2 request, as far as it is more than HPACK: the limits of a head, Cookie in one piece, and what
//! HTTP/1 refuses (RFC 9113 section 8.2). The framing layer has refused connection-specific headers and bad pseudo-headers.
use crate::h1::{H1Error, H1ErrorKind, Limits, MAX_FIELDS, Notes, target_too_long, too_many_fields};
use crate::headers::{HeaderId, Headers};
use crate::path::is_valid_host;

/// What a client begins a connection with (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A header section that is being read.
pub struct Section<'a> {
    limits: &'a Limits,
    headers: Headers,
    notes: Notes<'a>,
    cookie: Vec<u8>,
    fields: usize,
    bytes: usize,
}

/// A header section that was read.
pub struct Fields {
    /// The headers in their order; Cookie is one, at the end.
    pub headers: Headers,
    /// The client waits for 100 before it sends its body.
    pub expect_continue: bool,
    /// Bytes of names and values, those of `:path` and `:authority` among them.
    pub bytes: usize,
}

impl<'a> Section<'a> {
    /// The section of a request for `target` with so many headers.
    ///
    /// # Errors
    /// The target is too long (414), or there are too many headers (431).
    pub fn new(limits: &'a Limits, target: &[u8], authority: &[u8], fields: usize) -> Result<Self, H1Error> {
        if target.len() > limits.max_target {
            return Err(target_too_long(limits));
        }
        let mut headers = Headers::default();
        headers.reserve(fields + 1, 64 * fields + authority.len());
        let bytes = target.len() + authority.len();
        Ok(Self { limits, headers, notes: Notes::default(), cookie: Vec::new(), fields: 0, bytes })
    }

    /// Adds a header, whose name is in lower case.
    ///
    /// # Errors
    /// It is too large, or makes the section too large (431), or its value is none (400).
    pub fn add(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), H1Error> {
        // What it would take in HTTP/1, so that the limits mean the same.
        let line = name.len() + value.len() + 4;
        let longest = self.limits.max_field.min(usize::from(u16::MAX));
        if line > longest {
            return Err(H1Error::field_too_large(name, longest));
        }
        self.bytes += line;
        if self.bytes > self.limits.max_head {
            let message = format!("the head is longer than the limit of {} bytes", self.limits.max_head);
            return Err(H1Error::with_status(431, H1ErrorKind::HeadTooLarge, message));
        }
        let id = HeaderId::of(name);
        if id == HeaderId::Cookie {
            // RFC 9113 section 8.2.3: crumbs are one header again.
            if !self.cookie.is_empty() {
                self.cookie.extend_from_slice(b"; ");
            }
            self.cookie.extend_from_slice(value);
            self.fields += usize::from(!self.headers.contains(id) && self.cookie.len() == value.len());
        } else {
            self.fields += 1;
            let space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
            let valid = !space(value.first()) && !space(value.last());
            let added =
                if id == HeaderId::Other { self.headers.push_name(name, value) } else { self.headers.push(id, value) };
            if !(valid && added) {
                let message = "a header value has control characters, or white space at its ends";
                return Err(H1Error::bad(H1ErrorKind::FieldValue, message));
            }
        }
        if self.fields > self.limits.max_fields.min(MAX_FIELDS) {
            return Err(too_many_fields(self.limits));
        }
        self.notes.note(id, value);
        Ok(())
    }

    /// The end of the section.
    ///
    /// # Errors
    /// There is no host, more than one, or none that is valid; a header is repeated that may be there once (400).
    pub fn end(mut self, authority: Option<&[u8]>) -> Result<Fields, H1Error> {
        let host = match (authority, self.notes.host) {
            _ if self.notes.hosts > 1 => {
                return Err(H1Error::bad(H1ErrorKind::HostRepeated, "Host is there more than once"));
            }
            (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
                let message = ":authority and Host are not the same (RFC 9113 section 8.3.1)";
                return Err(H1Error::bad(H1ErrorKind::HostRepeated, message));
            }
            (Some(host), _) | (None, Some(host)) => host,
            (None, None) => {
                return Err(H1Error::bad(H1ErrorKind::HostMissing, "neither :authority nor Host is there"));
            }
        };
        if !is_valid_host(host) {
            let message = "the host isn't a host name or address with an optional port";
            return Err(H1Error::bad(H1ErrorKind::HostInvalid, message));
        }
        if let Some(id) = self.notes.repeated {
            let message = format!("{} is there more than once", id.name());
            return Err(H1Error::bad(H1ErrorKind::FieldRepeated, message));
        }
        self.notes.body()?;
        if !self.cookie.is_empty() {
            self.headers.push(HeaderId::Cookie, &self.cookie);
        }
        let expect_continue = self.notes.expect_continue;
        Ok(Fields { headers: self.headers, expect_continue, bytes: self.bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(authority: Option<&[u8]>, headers: &[(&str, &str)], limits: &Limits) -> Result<Fields, (u16, H1ErrorKind)> {
        let section = Section::new(limits, b"/", authority.unwrap_or_default(), headers.len());
        let mut section = section.map_err(|error| (error.status, error.kind))?;
        for (name, value) in headers {
            section.add(name.as_bytes(), value.as_bytes()).map_err(|error| (error.status, error.kind))?;
        }
        section.end(authority).map_err(|error| (error.status, error.kind))
    }

    #[test]
    fn crumbs_of_cookies_are_one_header_and_known_names_are_written_as_in_http_1() {
        let headers =
            [("cookie", "a=b"), ("accept-encoding", "br"), ("x-own", "1"), ("cookie", "c=d"), ("cookie", "e")];
        let fields = read(Some(b"example.com"), &headers, &Limits::default()).unwrap();
        let mut out = Vec::new();
        fields.headers.write_to(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "Accept-Encoding: br\r\nx-own: 1\r\nCookie: a=b; c=d; e\r\n");
        assert_eq!(fields.headers.get_all(HeaderId::Cookie).count(), 1);
    }

    #[test]
    fn what_http_1_refuses_is_refused() {
        let few = Limits { max_fields: 2, max_field: 40, max_head: 70, max_target: 3, ..Limits::default() };
        let long = "x".repeat(40);
        for (authority, headers, limits, wanted) in [
            (None, vec![], Limits::default(), (400, H1ErrorKind::HostMissing)),
            (None, vec![("host", "a"), ("host", "a")], Limits::default(), (400, H1ErrorKind::HostRepeated)),
            (Some(&b"a"[..]), vec![("host", "b")], Limits::default(), (400, H1ErrorKind::HostRepeated)),
            (Some(b"a b"), vec![], Limits::default(), (400, H1ErrorKind::HostInvalid)),
            (Some(b""), vec![], Limits::default(), (400, H1ErrorKind::HostInvalid)),
            (Some(b"a"), vec![("x", " a")], Limits::default(), (400, H1ErrorKind::FieldValue)),
            (Some(b"a"), vec![("x", "a\t")], Limits::default(), (400, H1ErrorKind::FieldValue)),
            (Some(b"a"), vec![("x", "a\nb")], Limits::default(), (400, H1ErrorKind::FieldValue)),
            (
                Some(b"a"),
                vec![("authorization", "a"), ("authorization", "b")],
                Limits::default(),
                (400, H1ErrorKind::FieldRepeated),
            ),
            (Some(b"a"), vec![("content-length", "+1")], Limits::default(), (400, H1ErrorKind::ContentLength)),
            (Some(b"a"), vec![("a", "1"), ("b", "1"), ("c", "1")], few.clone(), (431, H1ErrorKind::TooManyFields)),
            (Some(b"a"), vec![("a", &long)], few.clone(), (431, H1ErrorKind::FieldTooLarge)),
            (Some(b"a"), vec![("a", &long[..33]), ("b", &long[..33])], few, (431, H1ErrorKind::HeadTooLarge)),
        ] {
            assert_eq!(read(authority, &headers, &limits).map(|_| ()).unwrap_err(), wanted, "{headers:?}");
        }
        let short = Limits { max_target: 3, ..Limits::default() };
        assert_eq!(Section::new(&short, b"/long", b"a", 0).map(|_| ()).unwrap_err().status, 414);
    }

    #[test]
    fn many_crumbs_count_as_the_one_header_that_they_are() {
        let few = Limits { max_fields: 2, ..Limits::default() };
        let headers: Vec<_> = (0..30).map(|_| ("cookie", "a=b")).chain([("expect", "100-Continue")]).collect();
        assert!(read(Some(b"a"), &headers, &few).unwrap().expect_continue);
        assert!(read(None, &[("host", "a")], &few).is_ok() && read(Some(b"A:80"), &[("host", "a:80")], &few).is_ok());
    }
}
