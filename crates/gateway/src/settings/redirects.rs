//! What redirects of the gateway's own name.
use crate::kept;
use crate::scope::Room;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Redirects of the gateway's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Redirects of the gateway's own name scheme and host (nginx: `absolute_redirect`, on there). Default: false.
    pub absolute_redirect: bool,
    /// Such redirects name the server's first name instead of the request's host. Default: false (nginx: `server_name_in_redirect`).
    pub server_name_in_redirect: bool,
    /// Such redirects name the port where it is not the scheme's own. Default: true (nginx: `port_in_redirect`).
    pub port_in_redirect: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { absolute_redirect: false, server_name_in_redirect: false, port_in_redirect: true }
    }
}

kept!(Settings);

impl Room for Settings {
    const TITLE: &'static str = "Redirects of the gateway's own";
}
