//! Limits of request bodies.
use crate::kept;
use crate::scope::Room;
use crate::units::{Millis, Size};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Request bodies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Bytes of a request body; more is 413. 0: no limit. Default: 64 MiB, and no limit for a Flask app that has a `MAX_CONTENT_LENGTH`, which answers by itself (nginx: `client_max_body_size`).
    pub max_body: Size,
    /// Time between two reads of a request body; then 408. Default: 60 s (nginx: `client_body_timeout`).
    pub body_timeout: Millis,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_body: Size(64 << 20), body_timeout: Millis(60_000) }
    }
}

kept!(Settings);

impl Room for Settings {
    const TITLE: &'static str = "Request bodies";
}
