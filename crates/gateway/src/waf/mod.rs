//! The web application firewall (nginx: the connector of ModSecurity): requests and responses are judged by SecLang rules, which the crate
//! `waf` reads and runs.
//!
//! A request is judged once, before access control: its head, then its body, read whole where something is to be blocked. A
//! response is judged by a filter that comes first of all. What is only detected delays nothing: a body is looked at as it passes.
pub mod config;
mod hold;
mod inspection;
mod rulesets;
pub mod variables;

pub use inspection::{check, end};
pub use rulesets::Rulesets;
