//! A web application firewall that runs SecLang rules, such as the OWASP Core Rule Set.
//!
//! The crate reads rules and judges requests; it opens no socket, and no file but those that the rules name while they are loaded.

pub mod body;
pub mod operator;
#[allow(dead_code)] // the rule engine reads statements
mod seclang;
pub mod transform;

pub use seclang::{LoadError, Location};
