//! What answers a route.
use crate::config::{App, Files, Proxy, Redirect, Respond};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What answers a route: one backend.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Content {
    /// Files of a directory.
    Files(Files),
    /// Another HTTP server.
    Proxy(Proxy),
    /// A pool of app workers.
    App(App),
    /// A redirect.
    Redirect(Redirect),
    /// A fixed answer.
    Respond(Respond),
    /// Numbers of connections and requests (nginx: `stub_status`). Always true.
    StubStatus(bool),
    /// One transparent pixel. Always true.
    EmptyGif(bool),
}
