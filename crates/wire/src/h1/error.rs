//! Why bytes were refused.
use crate::headers::printable_name;
use std::borrow::Cow;
use std::fmt;

/// Bytes that aren't HTTP/1 as the RFCs have it, or beyond a limit. The connection can't be used for another message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct H1Error {
    /// The status that answers it: 400, 414, 431, 501 or 505. For a bad response it is 502, sent to the client.
    pub status: u16,
    /// What is wrong.
    pub kind: H1ErrorKind,
    /// The same in words, with the limit or the field named; printable, whatever was received.
    pub message: Cow<'static, str>,
}

/// What is wrong with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum H1ErrorKind {
    /// Not HTTP/1 at all: TLS on a plain port, a binary protocol.
    NotHttp,
    /// The head is longer than `max_head`.
    HeadTooLarge,
    /// The target is longer than `max_target`.
    TargetTooLong,
    /// A field line is longer than `max_field`.
    FieldTooLarge,
    /// More fields than `max_fields`.
    TooManyFields,
    /// A line ends with LF alone (RFC 9112 section 2.2).
    BareLf,
    /// CR without LF.
    BareCr,
    /// The request line is malformed (RFC 9112 section 3).
    RequestLine,
    /// The status line is malformed (RFC 9112 section 4).
    StatusLine,
    /// The method is no token or too long.
    Method,
    /// The request-target has none of the forms of RFC 9112 section 3.2, or can't be normalised.
    Target,
    /// A major version other than 1.
    Version,
    /// A field goes on in the next line (RFC 9112 section 5.2).
    ObsFold,
    /// White space between a field name and the colon (RFC 9112 section 5.1).
    SpaceBeforeColon,
    /// A field line without a name or colon, or a name that isn't a token.
    FieldName,
    /// A control character in a value.
    FieldValue,
    /// HTTP/1.1 without Host.
    HostMissing,
    /// More than one Host.
    HostRepeated,
    /// Host isn't `uri-host [ ":" port ]`.
    HostInvalid,
    /// A field that may be there once is there more often, and readers would take different ones.
    FieldRepeated,
    /// Content-Length isn't a decimal number of at most 64 bits.
    ContentLength,
    /// More than one Content-Length, even if they agree.
    ContentLengthRepeated,
    /// Both Content-Length and Transfer-Encoding.
    LengthAndEncoding,
    /// A transfer coding other than chunked.
    TransferCoding,
    /// Chunked not alone and last, or an empty list.
    TransferEncoding,
    /// Transfer-Encoding in HTTP/1.0.
    TransferEncodingInHttp10,
    /// A chunk size that isn't 1 to 16 hex digits and CRLF.
    ChunkSize,
    /// Chunk extensions beyond the limit or with control characters.
    ChunkExtension,
    /// The bytes behind a chunk's data aren't CRLF.
    ChunkEnd,
    /// The connection closed inside the body.
    Truncated,
}

impl H1Error {
    /// A refusal with status 400.
    pub(crate) fn bad(kind: H1ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status: 400, kind, message: message.into() }
    }

    /// A refusal with another status.
    pub(crate) fn with_status(status: u16, kind: H1ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, kind, message: message.into() }
    }

    /// The same about a response: the upstream's fault, so 502.
    pub(crate) fn of_upstream(self) -> Self {
        Self { status: 502, ..self }
    }

    /// A field line beyond `limit` bytes; `line` is its beginning.
    pub(crate) fn field_too_large(line: &[u8], limit: usize) -> Self {
        let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
        let message = format!("the field {} is longer than the limit of {limit} bytes", printable_name(name));
        Self::with_status(431, H1ErrorKind::FieldTooLarge, message)
    }
}

impl fmt::Display for H1Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for H1Error {}
