//! The languages of upstreams. A new one is a codec in `wire`, a file here and a row of `protocols!` below; attempts, connections,
//! bodies and their buffers are the same for all.
pub mod cgi;
mod fastcgi;
mod h1;
mod scgi;
mod uwsgi;

use crate::backend::proxy::Target;
use crate::backend::proxy::proxying::Proxying;
use crate::error::Result;
use crate::exchange::Exchange;
use buchner_wire::chunked::{self, Decoded};
use buchner_wire::fastcgi as records;
use buchner_wire::h1::{Framing, ResponseHead};
use buchner_wire::headers::Headers;
use buchner_wire::malformed::Malformed;
use buchner_wire::method::Method;
use bytes::{Bytes, BytesMut};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Names and values with variables.
pub type Pairs = &'static [(&'static str, &'static str)];

/// A request on its way to an upstream.
pub struct Outbound<'a> {
    /// The client's.
    pub ex: &'a Exchange,
    /// Where it goes.
    pub target: &'a Target,
    /// The method that is sent.
    pub method: &'a Method,
    /// Bytes of the body that takes the place of the client's.
    pub own_body: Option<usize>,
}

impl Outbound<'_> {
    /// Bytes of the body that is sent; 0 where nobody knows.
    pub fn body_length(&self) -> u64 {
        let pass = self.ex.settings().get::<Proxying>().options.as_deref().is_none_or(|options| options.pass_body);
        let clients = || if pass { self.ex.request.body.length().unwrap_or(0) } else { 0 };
        self.own_body.map_or_else(clients, |length| length as u64)
    }
}

/// How the pieces of a request's body are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// As they are.
    Plain,
    /// As chunks of HTTP/1.1.
    Chunked,
    /// As records of FastCGI.
    Records,
}

impl Frame {
    /// All of a body, with its end.
    pub fn whole(self, body: Bytes) -> Bytes {
        match self {
            // A body that is there has its length in the head.
            Self::Plain | Self::Chunked => body,
            Self::Records => {
                let mut out =
                    Vec::with_capacity(body.len() + (body.len() / records::MAX_CONTENT + 2) * records::HEADER);
                records::encode_stdin(&body, &mut out);
                out.extend_from_slice(&records::STDIN_END);
                out.into()
            }
        }
    }

    /// A piece of a body.
    pub fn piece(self, piece: Bytes) -> Bytes {
        let mut out = Vec::with_capacity(piece.len() + 32);
        match self {
            Self::Plain => return piece,
            Self::Chunked => {
                chunked::encode_chunk_header(piece.len(), &mut out);
                out.extend_from_slice(&piece);
                out.extend_from_slice(chunked::CHUNK_END);
            }
            Self::Records => records::encode_stdin(&piece, &mut out),
        }
        out.into()
    }

    /// What stands before so many bytes of a file, and how many of them belong to it.
    pub fn before(self, bytes: u64) -> (Bytes, u64) {
        match self {
            Self::Plain | Self::Chunked => (Bytes::new(), bytes),
            Self::Records => {
                let part = bytes.min(records::MAX_CONTENT as u64);
                (Bytes::copy_from_slice(&records::stdin_header(part as usize)), part)
            }
        }
    }

    /// The end of a body that was sent in pieces.
    pub fn end(self) -> &'static [u8] {
        match self {
            Self::Plain => b"",
            Self::Chunked => chunked::LAST_CHUNK,
            Self::Records => &records::STDIN_END,
        }
    }
}

/// One request and its response in a language.
pub trait Protocol {
    /// What URLs in this language begin with, before `://`.
    const SCHEME: &'static str;

    /// The same for this language inside TLS.
    const SECURE_SCHEME: &'static str;

    /// The language's names inside TLS (RFC 7301), best first; without any, none is agreed on.
    const ALPN: &'static [&'static [u8]] = &[];

    /// The port where a URL names none, without TLS and inside it.
    const PORTS: (u16, u16);

    /// Requests that a connection carries at a time: one, unless the language numbers them.
    const AT_A_TIME: usize = 1;

    /// The variables an application gets in this language beside the usual ones of CGI; `None`: it gets no variables, but a head of HTTP.
    const PARAMS: Option<Pairs> = None;

    /// Bodies of responses come in records, not as they are.
    const IN_RECORDS: bool = false;

    /// What is to become of a request.
    fn new(request: &Outbound<'_>) -> Self;

    /// Appends the request without its body.
    fn write_request(&self, request: &Outbound<'_>, out: &mut Vec<u8>) -> Result<()>;

    /// How a body of this length is sent.
    fn frame(&self, length: Option<u64>) -> Frame;

    /// Takes the head of the response, interim ones too, once all of it was read.
    fn read_head(&mut self, buf: &mut BytesMut) -> std::result::Result<Option<ResponseHead>, Malformed>;

    /// A body with this framing follows the head.
    fn begin_body(&mut self, framing: Framing);

    /// Takes the next piece of the body.
    fn read_body(&mut self, buf: &mut BytesMut, eof: bool) -> std::result::Result<Decoded, Malformed>;

    /// Bytes of the body still to come, where known.
    fn remaining(&self) -> Option<u64>;

    /// The trailers, at the end of the body.
    fn trailers(&self) -> Option<&Headers> {
        None
    }

    /// Nothing of the response is still to come once its body has ended.
    fn is_complete(&self) -> bool {
        true
    }

    /// What the application wrote as errors since this was asked last.
    fn take_stderr(&mut self) -> Vec<u8> {
        Vec::new()
    }
}

fn after_scheme<'u>(url: &'u [u8], scheme: &str) -> Option<&'u [u8]> {
    let (start, rest) = url.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme.as_bytes()).then(|| rest.strip_prefix(b"://"))?
}

/// Makes of the list of languages the one a request is in, which costs no dynamic call.
macro_rules! protocols {
    ($($(#[$meta:meta])* $name:ident = $type:ty,)*) => {
        /// Which language an upstream speaks.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "lowercase")]
        pub enum Language {
            $($(#[$meta])* $name,)*
        }

        /// A request and its response, in the language of its upstream.
        pub enum Talk {
            $(#[doc = concat!("One in ", stringify!($name), ".")] $name($type),)*
        }

        impl Language {
            /// The language of a URL, whether it is spoken inside TLS, and what is left of the URL after the scheme.
            pub fn of_url(url: &[u8]) -> Option<(Self, bool, &[u8])> {
                $(if let Some(rest) = after_scheme(url, <$type>::SCHEME) {
                    return Some((Self::$name, false, rest));
                }
                if let Some(rest) = after_scheme(url, <$type>::SECURE_SCHEME) {
                    return Some((Self::$name, true, rest));
                })*
                None
            }

            /// What a URL in this language begins with, before `://`.
            pub fn scheme(self, secure: bool) -> &'static str {
                match self {
                    $(Self::$name => if secure { <$type>::SECURE_SCHEME } else { <$type>::SCHEME },)*
                }
            }

            /// The port where a URL names none.
            pub fn port(self, secure: bool) -> u16 {
                match self {
                    $(Self::$name => if secure { <$type>::PORTS.1 } else { <$type>::PORTS.0 },)*
                }
            }

            /// See [`Protocol::ALPN`].
            pub fn alpn(self) -> &'static [&'static [u8]] {
                match self {
                    $(Self::$name => <$type>::ALPN,)*
                }
            }

            /// What URLs begin with, before `://`.
            pub const SCHEMES: &[&str] = &[$(<$type>::SCHEME, <$type>::SECURE_SCHEME,)*];

            /// See [`Protocol::PARAMS`].
            pub fn params(self) -> Option<Pairs> {
                match self {
                    $(Self::$name => <$type>::PARAMS,)*
                }
            }

            /// See [`Protocol::IN_RECORDS`].
            pub fn is_in_records(self) -> bool {
                match self {
                    $(Self::$name => <$type>::IN_RECORDS,)*
                }
            }

            /// See [`Protocol::new`].
            pub fn talk(self, request: &Outbound<'_>) -> Talk {
                match self {
                    $(Self::$name => Talk::$name(<$type>::new(request)),)*
                }
            }

            /// Requests that a connection carries at a time.
            pub fn at_a_time(self) -> usize {
                match self {
                    $(Self::$name => <$type>::AT_A_TIME,)*
                }
            }
        }

        impl Talk {
            /// See [`Protocol::write_request`].
            pub fn write_request(&self, request: &Outbound<'_>, out: &mut Vec<u8>) -> Result<()> {
                match self {
                    $(Self::$name(talk) => talk.write_request(request, out),)*
                }
            }

            /// See [`Protocol::frame`].
            pub fn frame(&self, length: Option<u64>) -> Frame {
                match self {
                    $(Self::$name(talk) => talk.frame(length),)*
                }
            }

            /// See [`Protocol::read_head`].
            pub fn read_head(&mut self, buf: &mut BytesMut) -> std::result::Result<Option<ResponseHead>, Malformed> {
                match self {
                    $(Self::$name(talk) => talk.read_head(buf),)*
                }
            }

            /// See [`Protocol::begin_body`].
            pub fn begin_body(&mut self, framing: Framing) {
                match self {
                    $(Self::$name(talk) => talk.begin_body(framing),)*
                }
            }

            /// See [`Protocol::read_body`].
            pub fn read_body(&mut self, buf: &mut BytesMut, eof: bool) -> std::result::Result<Decoded, Malformed> {
                match self {
                    $(Self::$name(talk) => talk.read_body(buf, eof),)*
                }
            }

            /// See [`Protocol::remaining`].
            pub fn remaining(&self) -> Option<u64> {
                match self {
                    $(Self::$name(talk) => talk.remaining(),)*
                }
            }

            /// See [`Protocol::trailers`].
            pub fn trailers(&self) -> Option<&Headers> {
                match self {
                    $(Self::$name(talk) => talk.trailers(),)*
                }
            }

            /// See [`Protocol::is_complete`].
            pub fn is_complete(&self) -> bool {
                match self {
                    $(Self::$name(talk) => talk.is_complete(),)*
                }
            }

            /// See [`Protocol::take_stderr`].
            pub fn take_stderr(&mut self) -> Vec<u8> {
                match self {
                    $(Self::$name(talk) => talk.take_stderr(),)*
                }
            }
        }
    };
}

protocols! {
    /// HTTP/1.0 and 1.1.
    #[default]
    #[serde(rename = "http")]
    Http1 = h1::Http1,
    /// uwsgi.
    Uwsgi = cgi::Cgi<uwsgi::Uwsgi>,
    /// FastCGI.
    FastCgi = fastcgi::FastCgi,
    /// SCGI.
    Scgi = cgi::Cgi<scgi::Scgi>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_tells_its_language() {
        assert_eq!(Language::of_url(b"HTTP://a/"), Some((Language::Http1, false, &b"a/"[..])));
        assert_eq!(Language::of_url(b"https://a"), Some((Language::Http1, true, &b"a"[..])));
        assert_eq!(Language::of_url(b"fastcgi://a:9"), Some((Language::FastCgi, false, &b"a:9"[..])));
        assert_eq!(Language::of_url(b"suwsgi://a:9"), Some((Language::Uwsgi, true, &b"a:9"[..])));
        for other in [&b"ftp://a"[..], b"http:/a", b"http:", b""] {
            assert_eq!(Language::of_url(other), None);
        }
    }
}
