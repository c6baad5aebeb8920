//! What a handshake agreed on.
use buchner_wire::client_hello::ClientHello;

/// The TLS of a client's connection.
#[derive(Debug, Default)]
pub struct Secure {
    /// The version, as OpenSSL calls it.
    pub protocol: &'static str,
    /// The cipher suite, as OpenSSL calls it.
    pub cipher: &'static str,
    /// The key-exchange group, as OpenSSL calls it.
    pub group: &'static str,
    /// The protocol inside (RFC 7301); empty if none was agreed on.
    pub alpn: Box<[u8]>,
    /// The session was resumed.
    pub reused: bool,
    /// What the policy asks of clients; servers whose policies ask for something else do not answer here.
    pub terms: [u8; 32],
    /// The host that the client asked for.
    pub server_name: Option<Box<str>>,
    /// What the client offered, if some variable wants it.
    pub hello: Option<Box<ClientHello>>,
    /// The certificate that it was shown is by no authority, its own included.
    pub self_signed: bool,
    /// The client's certificate (DER).
    pub certificate: Option<Box<[u8]>>,
    /// What it is worth, in nginx's words: `SUCCESS`, `FAILED:reason`, `NONE`; empty where none was asked for.
    pub verify: Box<str>,
    /// The status for whoever may not go on because of it (495, 496).
    pub refused: Option<u16>,
}
