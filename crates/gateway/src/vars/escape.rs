//! How values are escaped in a line of a log.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How values in a log line are escaped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "LogEscape")]
pub enum Escape {
    /// `"`, `\` and what is not printable become `\xXX`; a value that is not there becomes `-`.
    #[default]
    Default,
    /// As in a JSON string.
    Json,
    /// Not at all.
    None,
}
