//! Request methods (RFC 9110 section 9).
use bytes::Bytes;
use std::fmt;

/// The method of a request. Case-sensitive: `get` is not `GET`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
    /// OPTIONS
    Options,
    /// PATCH (RFC 5789)
    Patch,
    /// TRACE
    Trace,
    /// CONNECT
    Connect,
    /// Any other token. Only [`Method::from_bytes`] and the reader make one, so it is always a token.
    Other(Bytes),
}

impl Method {
    /// The method named by `name`; `None` if that isn't a token (RFC 9110 section 5.6.2).
    pub fn from_bytes(name: &[u8]) -> Option<Self> {
        Self::known(name).or_else(|| is_token(name).then(|| Self::Other(Bytes::copy_from_slice(name))))
    }

    /// The method, if it is one of those with a variant.
    pub(crate) fn known(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            b"PATCH" => Self::Patch,
            b"TRACE" => Self::Trace,
            b"CONNECT" => Self::Connect,
            _ => return None,
        })
    }

    /// Its name.
    pub fn as_bytes(&self) -> &[u8] {
        self.as_str().as_bytes()
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Patch => "PATCH",
            Self::Trace => "TRACE",
            Self::Connect => "CONNECT",
            // A token is ASCII.
            Self::Other(name) => std::str::from_utf8(name).unwrap_or("?"),
        }
    }

    /// Repeating it has the effect of doing it once (RFC 9110 section 9.2.2), so a lost attempt may be retried.
    pub fn is_idempotent(&self) -> bool {
        self.is_safe() || matches!(self, Self::Put | Self::Delete)
    }

    /// It only reads (RFC 9110 section 9.2.1).
    pub fn is_safe(&self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options | Self::Trace)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether `bytes` is a token (RFC 9110 section 5.6.2): what methods and field names are made of.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_tchar(byte))
}

/// Whether `byte` may be part of a token.
pub(crate) const fn is_tchar(byte: u8) -> bool {
    TCHAR[byte as usize]
}

static TCHAR: [bool; 256] = letters_digits_and(b"!#$%&'*+-.^_`|~");

/// A table of bytes: letters, digits and these marks.
pub(crate) const fn letters_digits_and(marks: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < marks.len() {
        table[marks[at] as usize] = true;
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_methods_are_one_to_one() {
        for name in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PROPFIND", "get"]
        {
            let method = Method::from_bytes(name.as_bytes()).unwrap();
            assert_eq!(method.as_str(), name);
            assert_eq!(matches!(method, Method::Other(_)), name == "PROPFIND" || name == "get");
        }
    }

    #[test]
    fn what_is_no_token_is_no_method() {
        for name in ["", "GE T", "GET\r", "G\u{e9}T", "GET/", "(GET)", "\0"] {
            assert_eq!(Method::from_bytes(name.as_bytes()), None, "{name:?}");
        }
    }

    #[test]
    fn safe_and_idempotent_follow_the_table_of_rfc_9110() {
        let safe = ["GET", "HEAD", "OPTIONS", "TRACE"];
        let idempotent = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"];
        for name in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PROPFIND"] {
            let method = Method::from_bytes(name.as_bytes()).unwrap();
            assert_eq!(method.is_safe(), safe.contains(&name), "{name}");
            assert_eq!(method.is_idempotent(), idempotent.contains(&name), "{name}");
        }
    }
}
