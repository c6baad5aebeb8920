//! Access logs.
use crate::units::{Millis, Size};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

/// An access log.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessLog {
    /// File, with variables; `-` for standard output; `syslog:server=address[:port]` or `syslog:server=unix:/path`, with `,facility=local7,severity=info,tag=buchner,nohostname` as wanted.
    pub path: String,
    /// `combined`, `json`, or a format with variables (`$remote_addr "$request" $status`).
    #[serde(default = "combined")]
    pub format: String,
    /// How values are escaped: `default` for lines of text, `json` within JSON strings, or `none`. Default: default.
    #[serde(default)]
    pub escape: Escape,
    /// Only requests for which this text with variables is neither empty nor `0` are logged. Default: all.
    #[serde(default, rename = "if")]
    pub condition: Option<String>,
    /// Bytes that are collected before they are written. Default: 64 KiB, and lines are written within a second in any case.
    #[serde(default)]
    pub buffer: Option<Size>,
    /// Time after which they are written anyway. Default: a second, or none with `buffer` or `gzip`.
    #[serde(default)]
    pub flush: Option<Millis>,
    /// Level the log is compressed with, 1 to 9; 0: it is not. Default: 0.
    #[serde(default)]
    pub gzip: u32,
}

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

fn combined() -> String {
    "combined".into()
}
