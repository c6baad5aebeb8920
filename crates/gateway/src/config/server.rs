//! What is listened on, servers and their routes.
use crate::config::{Branch, Content, Match, RewriteOp};
use crate::units::{Millis, Size};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

/// A listening address.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// `host:port`, `[v6]:port` or `unix:/path`; the supervisor opened it and sends the descriptor under this key.
    pub address: String,
    /// Index of the server that answers names no server has; the first that listens here unless one says `default_server`.
    pub default_server: u32,
    /// Index of the listener of all addresses whose socket takes the connections to this one too. Default: none, it has its own.
    #[serde(default)]
    pub within: Option<u32>,
    /// Every connection begins with a header of the PROXY protocol, version 1 or 2, that a proxy in front sends; others are closed. Default: false.
    #[serde(default)]
    pub proxy_protocol: bool,
    /// Connections are encrypted; clear text is answered with 400 (497 for `error_page`). Default: false.
    #[serde(default)]
    pub tls: bool,
    /// Clients may speak HTTP/2 here, whatever the default server's `http2` says (nginx: `listen … http2`). Default: false.
    #[serde(default)]
    pub http2: bool,
    /// Limits on what is read before a server is known (the name comes with the head).
    #[serde(default)]
    pub limits: HeadLimits,
}

/// Limits that apply while a request head is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeadLimits {
    /// Bytes of a whole request head; more is 431. Default: 32 KiB (nginx: 4 × 8 KiB).
    pub max_head: Size,
    /// Bytes of a request target; more is 414. Default: 8 KiB.
    pub max_target: Size,
    /// Bytes of one header field; more is 431 naming it. Default: 8 KiB.
    pub max_field: Size,
    /// Header fields of one request; more is 431. Default: 100 (nginx: `max_headers`).
    pub max_fields: u32,
    /// Time for a whole head, from its first byte (or from accept); then 408. Default: 60 s (nginx: `client_header_timeout`).
    pub header_timeout: Millis,
    /// Header fields whose names have other characters than letters, digits, dashes and (where they may) underscores are dropped. Default: false (nginx: `ignore_invalid_headers`, whose default is on).
    pub ignore_invalid_headers: bool,
    /// Header names with underscores are passed on instead of dropped. Default: false (nginx: `underscores_in_headers`).
    pub underscores_in_headers: bool,
    /// Request heads may end all of their lines with LF instead of CR LF, and empty lines before a request are ignored; a head with both kinds of line ends is 400. Default: false (a nginx.conf: true).
    pub bare_lf: bool,
    /// Status for too many or too large header fields: 431, 400, or 494, which is 400 for the client and 494 for `error_page`. Default: 431 (a nginx.conf: 494).
    pub large_fields_status: u16,
    /// Several slashes in a row in a path count as one. Default: true (nginx: `merge_slashes`).
    pub merge_slashes: bool,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            max_head: Size(32 << 10),
            max_target: Size(8 << 10),
            max_field: Size(8 << 10),
            max_fields: 100,
            header_timeout: Millis(60_000),
            ignore_invalid_headers: false,
            underscores_in_headers: false,
            bare_lf: false,
            large_fields_status: 431,
            merge_slashes: true,
        }
    }
}

/// A virtual server.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Indices into [`Config::listen`].
    pub listen: Vec<u32>,
    /// Names: exact (`example.com`), wildcard (`*.example.com`, `www.example.*`, `.example.com`); empty or `_`: only as default.
    pub names: Vec<String>,
    /// Index into [`Config::settings`] for what happens before or without a route.
    pub settings: u32,
    /// Index into [`Config::tls`] for handshakes that name it. Default: that of the default server of the address.
    #[serde(default)]
    pub tls: Option<u32>,
    /// What is done with every request before a route is looked for (nginx: the rewrite directives of a server). Default: nothing.
    #[serde(default)]
    pub rewrite: Vec<RewriteOp>,
    /// Routes, in the order of the file. An exact one wins, then the first regular expression that matches (unless the longest prefix is `no_regex`), then the longest prefix.
    pub route: Vec<Route>,
}

/// A path of a server and what answers there (nginx: location).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The normalised path, or a regular expression, as `match` says. Starts with `/`, or `@` for a named route that only internal redirects reach.
    pub path: String,
    /// How `path` is compared: `prefix`, `exact`, `no_regex`, `regex` or `regex_nocase`. Default: `prefix`.
    #[serde(default, rename = "match")]
    pub matches: Match,
    /// Only internal redirects come here; 404 for clients (nginx: internal). Default: false.
    #[serde(default)]
    pub internal: bool,
    /// What is done with a request before the content answers: variables, rewrites, conditions (nginx: the rewrite module). Default: nothing.
    #[serde(default)]
    pub rewrite: Vec<RewriteOp>,
    /// Paths tried one after the other, with variables: the first that is a file (a directory, if it ends with `/`) becomes the request's path. The last is where the request goes if none is: a URI, an `@route`, or `=404`. Default: none (nginx: `try_files`).
    #[serde(default)]
    pub try_files: Vec<String>,
    /// Routes within this one, looked for among the requests that come here. Default: none.
    #[serde(default)]
    pub route: Vec<Route>,
    /// What answers; without it 404, unless `rewrite` answers.
    #[serde(default)]
    pub content: Option<Content>,
    /// Index into [`Config::settings`].
    pub settings: u32,
    /// What holds for requests with other methods (nginx: `limit_except`). Default: nothing else.
    #[serde(default)]
    pub limit_except: Option<LimitExcept>,
}

/// Settings and content for requests whose method is none of some.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitExcept {
    /// The methods it is not for; GET is HEAD too.
    pub methods: Vec<String>,
    /// What holds for all others. The route's own rewrites do not.
    pub location: Branch,
}
