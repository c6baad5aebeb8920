//! An app as the content of a route, and its pool of workers.
use crate::units::Millis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// App workers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename = "AppContent", deny_unknown_fields)]
pub struct App {
    /// Key into [`Config::app`].
    pub pool: String,
    /// Prefix the app is mounted under, without a trailing slash: it becomes `SCRIPT_NAME`. Default: empty.
    #[serde(default)]
    pub mount: String,
}

/// A pool of app workers, as the gateway sees it; how workers are started is the supervisor's (`buchner.config.model.AppSettings`).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AppPool {
    /// Requests that may wait for a slot; more get 503 with Retry-After. Default: 1000.
    pub queue: u32,
    /// Time a request may wait for a slot; then 503. Default: 30 s.
    pub queue_timeout: Millis,
    /// Requests handed to a busy slot ahead of time, the running one included, while they are less than about 5 ms of work
    /// in all; 1 turns look-ahead off. Default: 16.
    pub look_ahead: u32,
}

impl Default for AppPool {
    fn default() -> Self {
        Self { queue: 1000, queue_timeout: Millis(30_000), look_ahead: 16 }
    }
}
