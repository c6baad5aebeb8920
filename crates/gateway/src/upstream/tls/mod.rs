//! TLS towards servers of upstreams: on which terms they are spoken to, and what they are worth. The bytes are the business of
//! [`crate::io::tls`]; the language spoken inside makes no difference.
//!
//! | file | noun |
//! |---|---|
//! | `config` | the terms as the configuration has them |
//! | `terms` | the same compiled |
//! | `verify` | certificates of servers, and what they are worth |
//! | `handshake` | the handshake of a new connection, and why it failed |
pub mod config;
pub mod handshake;
pub mod terms;
mod verify;

#[cfg(test)]
mod tests;
