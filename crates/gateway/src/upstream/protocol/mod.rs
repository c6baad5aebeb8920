//! The languages of upstreams. A new one is a codec in `wire`, a file here and a row of `protocols!` below; attempts, connections,
//! bodies and their buffers are the same for all.
mod h1;

use crate::backend::proxy::Target;
use crate::error::Result;
use crate::exchange::Exchange;
use buchner_wire::chunked::Decoded;
use buchner_wire::h1::{Framing, H1Error, ResponseHead};
use buchner_wire::headers::Headers;
use buchner_wire::method::Method;
use bytes::BytesMut;

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

/// How the pieces of a request's body are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// As they are.
    Plain,
    /// As chunks of HTTP/1.1.
    Chunked,
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

    /// A request with this method; `bare_lf`: the head of its response may end its lines with LF alone.
    fn new(method: &Method, bare_lf: bool) -> Self;

    /// Appends the request without its body.
    fn write_request(&self, request: &Outbound<'_>, out: &mut Vec<u8>) -> Result<()>;

    /// How a body of this length is sent.
    fn frame(&self, length: Option<u64>) -> Frame;

    /// Takes the head of the response, interim ones too, once all of it was read.
    fn read_head(&mut self, buf: &mut BytesMut) -> std::result::Result<Option<ResponseHead>, H1Error>;

    /// A body with this framing follows the head.
    fn begin_body(&mut self, framing: Framing);

    /// Takes the next piece of the body.
    fn read_body(&mut self, buf: &mut BytesMut, eof: bool) -> std::result::Result<Decoded, H1Error>;

    /// Bytes of the body still to come, where known.
    fn remaining(&self) -> Option<u64>;

    /// The trailers, at the end of the body.
    fn trailers(&self) -> Option<&Headers>;
}

fn after_scheme<'u>(url: &'u [u8], scheme: &str) -> Option<&'u [u8]> {
    let (start, rest) = url.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme.as_bytes()).then(|| rest.strip_prefix(b"://"))?
}

/// Makes of the list of languages the one a request is in, which costs no dynamic call.
macro_rules! protocols {
    ($($(#[$meta:meta])* $name:ident = $type:ty,)*) => {
        /// Which language an upstream speaks.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

            /// See [`Protocol::new`].
            pub fn talk(self, method: &Method, bare_lf: bool) -> Talk {
                match self {
                    $(Self::$name => Talk::$name(<$type>::new(method, bare_lf)),)*
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
            pub fn read_head(&mut self, buf: &mut BytesMut) -> std::result::Result<Option<ResponseHead>, H1Error> {
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
            pub fn read_body(&mut self, buf: &mut BytesMut, eof: bool) -> std::result::Result<Decoded, H1Error> {
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
        }
    };
}

protocols! {
    /// HTTP/1.0 and 1.1.
    #[default]
    Http1 = h1::Http1,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_tells_its_language() {
        assert_eq!(Language::of_url(b"HTTP://a/"), Some((Language::Http1, false, &b"a/"[..])));
        assert_eq!(Language::of_url(b"https://a"), Some((Language::Http1, true, &b"a"[..])));
        for other in [&b"ftp://a"[..], b"http:/a", b"http:", b""] {
            assert_eq!(Language::of_url(other), None);
        }
    }
}
