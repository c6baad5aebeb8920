//! What a transaction reports: matches and the intervention.

use std::sync::Arc;

use crate::rule::RuleInfo;

/// What is to be done with a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Respond with the status.
    Deny,
    /// Close the connection.
    Drop,
    /// Redirect to this URL.
    Redirect(Vec<u8>),
}

/// A transaction is cut short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intervention {
    /// What is to be done.
    pub verdict: Verdict,
    /// The status of the response.
    pub status: u16,
    /// The id of the rule; 0, if a limit of the configuration was exceeded.
    pub rule: u64,
    /// The phase, 1 to 4.
    pub phase: u8,
}

/// A match of a rule with `log` or `auditlog`, one for each variable that matched.
#[derive(Clone, Debug)]
pub struct Match {
    /// The rule.
    pub rule: Arc<RuleInfo>,
    /// `msg`, expanded.
    pub message: Vec<u8>,
    /// `logdata`, expanded.
    pub data: Vec<u8>,
    /// `tag`, expanded.
    pub tags: Vec<Vec<u8>>,
    /// The variable, such as `ARGS:id`; empty for `SecAction`.
    pub variable: Vec<u8>,
    /// The value after the transformations, at most 1024 bytes of it.
    pub value: Vec<u8>,
    /// The part that the operator matched, if the rule has `capture`.
    pub part: Option<Vec<u8>>,
    /// `log`.
    pub log: bool,
    /// `auditlog`.
    pub audit: bool,
}
