//! Bytes to events and back. Nothing here does I/O, knows a socket or a clock.
//!
//! | module | what it turns into what |
//! |---|---|
//! | [`h1`] | the head of an HTTP/1 request or response, both ways |
//! | [`client_hello`] | the first message of a TLS client, and its fingerprint |
//! | [`cgi`] | the head of a CGI response |
//! | [`fastcgi`], [`scgi`], [`uwsgi`] | a request for an application and, where it has a framing of its own, what comes back |
//! | [`chunked`] | the bytes of a body, by length, chunked or until the connection closes |
//! | [`h2`] | the header section of an HTTP/2 request: limits, and what HTTP/1 refuses too |
//! | [`headers`] | the fields of a head, and their known names |
//! | [`method`] | the method of a request |
//! | [`path`] | a request-target into the path that routes are matched with |
//! | [`proxy_protocol`] | the header that says whom a proxy of connections speaks for |
//! | [`slot`] | the frames between gateway and app workers |
//! | [`target`] | what may be written as a request-target or a URI in a field |
pub mod cgi;
pub mod chunked;
pub mod client_hello;
pub mod fastcgi;
pub mod h1;
pub mod h2;
pub mod headers;
pub mod malformed;
pub mod method;
pub mod path;
pub mod proxy_protocol;
pub mod scgi;
pub mod slot;
pub mod target;
pub mod uwsgi;
mod version;

pub use version::Version;
