//! The data plane's settings: the one definition every front end adapts to.
//!
//! Three front ends (gateway.toml, nginx.conf, the Python API and flags) produce one JSON document of the
//! type [`Config`]. It is *resolved*: inheritance (root → server → route) was settled in Python, equal groups
//! of settings are interned in [`Config::settings`] and routes hold an index, so ten thousand servers stay small
//! and nothing here looks upward. `make gen` writes the JSON schema, the Python classes and the reference page
//! from these types; doc comments are the documentation, so they give unit and default.
mod server;
mod settings;

pub use crate::backend::Content;
pub use crate::backend::app::config::AppPool;
pub use crate::gateway::Gateway;
pub use crate::observe::access_log::AccessLog;
pub use crate::rewrite::config::{Branch, Condition, FileTest, If, Return, Rewrite, RewriteFlag, RewriteOp, Set};
pub use crate::route::Match;
pub use crate::tls::config::Tls;
pub use crate::upstream::config::{Upstream, UpstreamServer};
pub use crate::upstream::tls::config::UpstreamTls;
use crate::{limit, variables, waf};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
pub use server::*;
pub use settings::*;
use std::collections::BTreeMap;

/// The whole resolved configuration.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Settings of the gateway process as a whole.
    pub gateway: Gateway,
    /// What is listened on; servers refer to these by index.
    pub listen: Vec<Listen>,
    /// Virtual servers, in the order of the file.
    pub server: Vec<Server>,
    /// Groups of servers by name, for `proxy`.
    pub upstream: BTreeMap<String, Upstream>,
    /// Pools of app workers by name, for `app`.
    pub app: BTreeMap<String, AppPool>,
    /// Interned settings; routes and servers refer to these by index. Never empty in a valid document.
    pub settings: Vec<Settings>,
    /// TLS policies; servers refer to these by index.
    pub tls: Vec<Tls>,
    /// Terms of TLS towards upstreams; settings refer to these by index.
    pub upstream_tls: Vec<UpstreamTls>,
    /// Certificates of the CAs that this system trusts, as PEM, where upstreams are compared with them. Default: none.
    pub system_roots: String,
    /// Access logs; settings refer to these by index.
    pub access_log: Vec<AccessLog>,
    /// Variables beside the built-in ones.
    pub variable: Vec<Variable>,
    /// Tables of rates by name, for `limit_req` and `limit`.
    pub limit_req_zone: BTreeMap<String, limit::zone::ReqConfig>,
    /// Tables of connections by name, for `limit_conn`.
    pub limit_conn_zone: BTreeMap<String, limit::zone::ConnConfig>,
    /// Rules of the firewall, for all that have none of their own.
    pub waf: waf::config::Rules,
    /// Media types by file extension; settings refer to these by index.
    pub types: Vec<BTreeMap<String, String>>,
}

/// A variable that the configuration defines.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// Its name, without `$`.
    pub name: String,
    /// Where its value comes from.
    pub value: variables::Config,
}
