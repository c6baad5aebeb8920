//! The head of a request, whatever version it came in.
use buchner_wire::Version;
use buchner_wire::headers::Headers;
use buchner_wire::method::Method;
use bytes::Bytes;

/// The head of a request.
pub struct Head {
    /// Method. CONNECT with a protocol (RFC 8441) asks for what GET and Upgrade ask for in HTTP/1.
    pub method: Method,
    /// The request-target in any form of HTTP/1, or `:path`.
    pub target: Bytes,
    /// `:authority`; a target in absolute form has its own.
    pub authority: Option<Bytes>,
    /// Version.
    pub version: Version,
    /// All headers, in their order; in HTTP/2 and 3 those of the connection are not among them.
    pub headers: Headers,
    /// The protocol that the client asks to leave HTTP for: the `Upgrade` header, or `:protocol`.
    pub upgrade: Option<Bytes>,
    /// The client waits for 100 before it sends its body.
    pub expect_continue: bool,
    /// Bytes as received.
    pub bytes: u64,
}
