//! HTTP/1 heads, both directions (RFC 9112).
//!
//! Theory of operation: [`parse_request`] and [`parse_response`] look for the empty line that ends the head (`scan`), hand the
//! head to `httparse`, walk the fields once to number their names and note what frames the body (`framing`), and then split
//! the head off the buffer. Nothing is copied: [`Headers`] keeps the head and says where each field is.
//!
//! Laws:
//! - The outcome depends on the bytes, never on where the pieces end in which they arrived.
//! - What two parsers could read in two ways is refused: line ends other than CR LF (with [`Limits::bare_lf`]: both kinds in
//!   one head), folded fields, white space before a colon,
//!   Content-Length beside Transfer-Encoding, repeated Content-Length or Host.
//! - After an error the connection is at an unknown place and can't be read further.
//! - Upstreams get the leniency RFC 9112 asks for: no reason phrase, any bytes above 0x7f, white space before a colon.
mod error;
mod explain;
mod framing;
mod parse;
pub(crate) mod scan;
mod write;

pub use crate::chunked::{BodyDecoder, Decoded};
pub use error::{H1Error, H1ErrorKind};
pub(crate) use framing::Notes;
pub use parse::{parse_request, parse_response};
pub(crate) use parse::{parse_trailers, read_fields, too_many_fields};
pub(crate) use scan::FirstLine;
pub(crate) use scan::target_too_long;
pub use write::{nginx_reason, reason, write_request_line, write_status_line};

use crate::Version;
use crate::headers::Headers;
use crate::method::Method;
use bytes::Bytes;

/// How much of a head is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a whole head, its empty line included; at most 16 MiB, whatever is set. Beyond: 431.
    pub max_head: usize,
    /// Bytes of a request-target. Beyond: 414.
    pub max_target: usize,
    /// Bytes of one field line without CR LF. Beyond: 431.
    pub max_field: usize,
    /// Number of fields, at most [`MAX_FIELDS`]. Beyond: 431.
    pub max_fields: usize,
    /// A head may end all of its lines with LF alone (RFC 9112 section 2.2), and any number of empty lines before a request
    /// is ignored. A head that has both kinds of line ends is refused as it is without this.
    pub bare_lf: bool,
}

/// The highest number of fields, whatever the limits say: the reader has room for so many on its stack.
pub const MAX_FIELDS: usize = 512;

impl Default for Limits {
    /// 32 KiB heads, 8 KiB targets, 8 KiB fields (as nginx's `large_client_header_buffers 4 8k`), 100 fields.
    fn default() -> Self {
        Self { max_head: 32 << 10, max_target: 8 << 10, max_field: 8 << 10, max_fields: 100, bare_lf: false }
    }
}

impl Limits {
    /// Places in a head are kept as 32-bit offsets.
    fn max_head(&self) -> usize {
        self.max_head.min(16 << 20)
    }
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// So many bytes; 0 where Content-Length says so.
    Length(u64),
    /// Chunked (RFC 9112 section 7.1).
    Chunked,
    /// The rest of the connection. Responses only.
    UntilClose,
}

impl Framing {
    /// Whether body bytes can follow.
    pub fn has_body(self) -> bool {
        !matches!(self, Self::None | Self::Length(0))
    }
}

/// The head of a request.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// Method.
    pub method: Method,
    /// The request-target as it was sent; [`crate::path::parse_target`] takes it apart.
    pub target: Bytes,
    /// Version, 1.0 or 1.1.
    pub version: Version,
    /// All fields, in their order.
    pub headers: Headers,
    /// How the body ends. Never [`Framing::UntilClose`].
    pub framing: Framing,
    /// The client will send another request on this connection.
    pub keep_alive: bool,
    /// The client wants 100 before it sends its body, if there is one (RFC 9110 section 10.1.1). Never in 1.0.
    pub expect_continue: bool,
    /// The client asks for another protocol: `Connection: upgrade` and Upgrade, 1.1, no body.
    pub upgrade: bool,
}

/// The head of a response, informational ones included.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// 100 to 999.
    pub status: u16,
    /// The reason phrase, often empty.
    pub reason: Bytes,
    /// Version, 1.0 or 1.1.
    pub version: Version,
    /// All fields, in their order.
    pub headers: Headers,
    /// How the body ends, the request's method and the status taken into account. [`Framing::None`] also for 101 and a
    /// successful CONNECT, where the bytes behind the head aren't HTTP.
    pub framing: Framing,
    /// The connection can carry another request behind this response.
    pub keep_alive: bool,
}

#[cfg(test)]
mod tests;
