//! How conditions of requests are read, and whether they are about a response.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How `If-Modified-Since` is compared with the last modification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IfModifiedSince {
    /// The same date, or a later one.
    #[default]
    Before,
    /// The same date.
    Exact,
    /// Not at all.
    Off,
}

/// The order and the rules by which conditions and ranges of requests are read, where nginx has its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// RFC 9110: an entity tag goes before a date, a date that cannot be read is none, only GET has ranges.
    #[default]
    Rfc9110,
    /// nginx: all conditions have to hold, a date that cannot be read holds for nothing, HEAD has ranges too.
    Nginx,
}
