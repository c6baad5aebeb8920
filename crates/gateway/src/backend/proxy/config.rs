//! Settings of proxied routes that are tables of their own.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A text and what takes its place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replace {
    /// What is replaced, with variables; behind `~` a regular expression, behind `~*` one that ignores case.
    pub from: String,
    /// What takes its place, with variables and the groups of the regular expression. Default: empty.
    #[serde(default)]
    pub to: String,
}

/// Attributes of cookies.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CookieFlags {
    /// The name of the cookie, with variables, or a regular expression behind `~`.
    pub cookie: String,
    /// `secure`, `httponly`, `samesite=strict`, `samesite=lax`, `samesite=none`, or one to take away: `nosecure`, `nohttponly`, `nosamesite`; with variables.
    #[serde(default)]
    pub flags: Vec<String>,
}

/// Versions an upstream is spoken to in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum HttpVersion {
    /// HTTP/1.0: the connection closes behind each answer unless a `Connection` header says otherwise.
    #[serde(rename = "1.0")]
    Http10,
    /// HTTP/1.1.
    #[default]
    #[serde(rename = "1.1")]
    Http11,
}

/// When another server of the upstream is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NextUpstream {
    /// The connection failed, or ended before the head of an answer.
    Error,
    /// Connecting, sending or waiting took too long.
    Timeout,
    /// The answer was no HTTP.
    InvalidHeader,
    /// It answered 500.
    #[serde(rename = "http_500")]
    Http500,
    /// It answered 502.
    #[serde(rename = "http_502")]
    Http502,
    /// It answered 503.
    #[serde(rename = "http_503")]
    Http503,
    /// It answered 504.
    #[serde(rename = "http_504")]
    Http504,
    /// It answered 403.
    #[serde(rename = "http_403")]
    Http403,
    /// It answered 404.
    #[serde(rename = "http_404")]
    Http404,
    /// It answered 429.
    #[serde(rename = "http_429")]
    Http429,
    /// Also where a request that changes something was sent already.
    NonIdempotent,
    /// Never.
    Off,
}
