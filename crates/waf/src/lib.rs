//! A web application firewall that runs SecLang rules, such as the OWASP Core Rule Set.
//!
//! The crate reads rules and judges requests; it opens no socket, and no file but those that the rules name while they are loaded.
//!
//! [`Waf`] holds the rules, a [`Transaction`] judges one request and its response in five phases.

// Ground: values and sets.
mod bits;
mod memory;

// What rules are made of.
pub mod body;
pub mod operator;
mod pipeline;
mod prefilter;
mod seclang;
mod store;
mod text;
pub mod transform;
mod tx;

// Rules compiled.
mod compile;
mod rule;

// A transaction: its variables, its phases.
mod act;
mod clock;
mod expand;
mod payload;
mod record;
mod report;
mod request;
mod resolve;
mod run;
mod state;
mod transaction;

pub use record::{Intervention, Match, Verdict};
pub use request::{RequestHead, ResponseHead};
pub use rule::RuleInfo;
pub use seclang::ctl::{AuditMode, EngineMode};
pub use seclang::setting::{Audit, LimitAction, Settings};
pub use seclang::{LoadError, Location};
pub use store::{MemoryStore, Persisted, Store, Update};
pub use transaction::{RuleSource, Transaction, Waf};
