//! TLS: what is agreed on, and with whom. The bytes are the business of [`crate::io::tls`].
//!
//! | file | noun |
//! |---|---|
//! | `config` | a policy as the configuration has it |
//! | `policy` | the same compiled, and bound to a listener |
//! | `client` | certificates of clients, and what they are worth |
//! | `variables` | what was agreed on, as variables |
//! | `certificate` | certificates with their keys, and the choice between several |
//! | `suites` | cipher suites and key-exchange groups by their names |
//! | `sessions` | sessions that are kept for clients without tickets |
//! | `tickets` | session tickets, and the keys of all threads |
pub mod certificate;
pub mod client;
pub mod config;
pub mod policy;
pub mod sessions;
pub mod suites;
pub mod tickets;
pub mod variables;

#[cfg(test)]
mod tests;
