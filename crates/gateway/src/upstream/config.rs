//! Groups of servers, as the configuration has them.
use crate::kinds::Text;
use crate::units::Millis;
use crate::upstream::balance::Balance;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A group of HTTP servers.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// How a server is chosen. Default: in turn, by weight.
    pub balance: Option<Balance>,
    /// What requests that belong to the same server have in common, with variables, for `balance = "hash"` and `"consistent_hash"`; where it is empty, servers take turns (nginx: `hash`). Default: none.
    pub key: Option<Text>,
    /// The servers.
    pub server: Vec<UpstreamServer>,
    /// Value of `Host` when no `set_headers` gives one. Default: the client's; the upstream's name with `forwarded_headers = false` (nginx: `$proxy_host`).
    pub host: Option<String>,
    /// Idle connections kept per I/O thread. Default: 128 (nginx: keepalive); 0 turns keep-alive off.
    pub keepalive: Option<u32>,
    /// Time an idle upstream connection is kept. Default: 60 s.
    pub keepalive_timeout: Option<Millis>,
    /// Requests on one connection; 0: no limit. Default: 0 (nginx: 1000).
    pub keepalive_requests: Option<u32>,
    /// Age from which a connection is not kept any more. Default: any age (nginx: 1 hour).
    pub keepalive_time: Option<Millis>,
}

/// One server of an upstream.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamServer {
    /// `host:port`, `[v6]:port`, `unix:/path`.
    pub address: String,
    /// Share of requests. Default: 1.
    #[serde(default = "one")]
    pub weight: u32,
    /// Used only when all others fail. Default: false.
    #[serde(default)]
    pub backup: bool,
    /// Never used. Default: false.
    #[serde(default)]
    pub down: bool,
    /// Failures within `fail_timeout` that make it unavailable. Default: 1; 0: none do (nginx: `max_fails`).
    #[serde(default = "one")]
    pub max_fails: u32,
    /// Window for `max_fails`, and how long it is unavailable then. Default: 10 s (nginx: `fail_timeout`).
    #[serde(default = "ten_seconds")]
    pub fail_timeout: Millis,
    /// Requests at a time; 0: no limit. Default: 0.
    #[serde(default)]
    pub max_conns: u32,
}

impl Default for UpstreamServer {
    fn default() -> Self {
        let (max_fails, fail_timeout) = (one(), ten_seconds());
        Self { address: String::new(), weight: 1, backup: false, down: false, max_fails, fail_timeout, max_conns: 0 }
    }
}

fn one() -> u32 {
    1
}

fn ten_seconds() -> Millis {
    Millis(10_000)
}
