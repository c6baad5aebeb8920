//! TLS (RFC 8446, RFC 5246) by rustls, as a member of [`crate::io::stream::Stream`]: what was agreed on and with whom is the
//! business of [`crate::tls`].
pub mod engine;
pub mod session;
