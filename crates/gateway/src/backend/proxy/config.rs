//! Settings of proxied routes, and what a route says about its proxy.
use crate::kept;
use crate::kinds::{Pattern, Text};
use crate::units::Millis;
use crate::upstream::Language;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Proxying.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Time to connect to an upstream. Default: 5 s (nginx: `proxy_connect_timeout`).
    pub connect_timeout: Millis,
    /// Time between two writes to an upstream. Default: 60 s (nginx: `proxy_send_timeout`).
    pub upstream_send_timeout: Millis,
    /// Time for the head of an upstream's response, and between two reads of its body. Default: 60 s (nginx: `proxy_read_timeout`, which is between two reads of a head too).
    pub read_timeout: Millis,
    /// Heads of upstreams may end all of their lines with LF instead of CR LF; a head with both kinds of line ends is 502. Default: false (a nginx.conf: true).
    pub upstream_bare_lf: bool,
    /// Request headers for the upstream, name to value with variables, or to a list of values that are sent one after the other; empty value: not sent (nginx: `proxy_set_header`). Default: the client's, with Host and X-Forwarded-* set.
    pub set_headers: BTreeMap<String, HeaderValues>,
    /// Send X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Request-ID and traceparent, unless `set_headers` has them, keep the client's Host, drop other headers that speak for the client (X-Forwarded-*, Forwarded, X-Real-IP, …) unless a trusted proxy sent them, and pass on that a client asks for another protocol. Default: true.
    pub forwarded_headers: bool,
    /// Method sent to upstreams, with variables. Default: the client's.
    pub proxy_method: Option<Text>,
    /// Version upstreams are spoken to in: `1.0` or `1.1`. Default: 1.1.
    pub proxy_http_version: HttpVersion,
    /// Body sent to upstreams instead of the client's, with variables. Default: the client's.
    pub proxy_set_body: Option<Text>,
    /// The client's body goes to the upstream. Default: true.
    pub proxy_pass_request_body: bool,
    /// The client's header fields go to the upstream. Default: true.
    pub proxy_pass_request_headers: bool,
    /// Response headers of upstreams that clients do not get, beside Date, Server, X-Pad and X-Accel-*. Default: none.
    pub proxy_hide_headers: Vec<String>,
    /// Response headers of upstreams that clients get although they would not. Default: none.
    pub proxy_pass_headers: Vec<String>,
    /// Response headers of upstreams that mean nothing to the gateway: of X-Accel-Redirect, X-Accel-Expires, X-Accel-Limit-Rate, X-Accel-Buffering, X-Accel-Charset, Expires, Cache-Control, Set-Cookie, Vary. Default: none.
    pub proxy_ignore_headers: Vec<String>,
    /// What is replaced in `Location` and `Refresh` of upstreams, the first that fits: texts they begin with, regular expressions, or `default`, the upstream's URL by the route's path. Default: nothing (nginx: `default`).
    pub proxy_redirect: Vec<Replace>,
    /// What is replaced in the domains of cookies that upstreams set. Default: nothing.
    pub proxy_cookie_domain: Vec<Replace>,
    /// What is replaced in the paths of cookies that upstreams set. Default: nothing.
    pub proxy_cookie_path: Vec<Replace>,
    /// Attributes of cookies that upstreams set; the first cookie that fits. Default: as they come.
    pub proxy_cookie_flags: Vec<CookieFlags>,
    /// When another server of the upstream is asked, as long as nothing was sent to the client: `error`, `timeout`, `invalid_header`, `http_500`, `http_502`, `http_503`, `http_504`, `http_403`, `http_404`, `http_429`, `non_idempotent`, `off`. Default: error, and a timeout while connecting (nginx: error and timeout).
    pub proxy_next_upstream: Option<Vec<NextUpstream>>,
    /// Time after which no further server is asked; 0: no limit. Default: 0.
    pub proxy_next_upstream_timeout: Millis,
    /// Servers asked for one request at most; 0: no limit. Default: 0.
    pub proxy_next_upstream_tries: u32,
    /// Local address of connections to upstreams, with variables; empty: the kernel's choice. Default: none.
    pub proxy_bind: Option<Text>,
    /// Bytes a second a response is read from an upstream at, with variables and `k` or `m`; 0: no limit. Default: none.
    pub proxy_limit_rate: Option<Text>,
    /// Ranges are cut out of answers of upstreams that do not do so themselves. Default: false.
    pub proxy_force_ranges: bool,
    /// An upstream's work goes on when its client leaves. Default: false.
    pub proxy_ignore_client_abort: bool,
    /// Connections to upstreams have TCP keep-alive probes. Default: false.
    pub proxy_socket_keepalive: bool,
    /// Trailers of upstreams go on to clients. Default: false.
    pub proxy_pass_trailers: bool,
    /// Early hints (103) of upstreams go on to clients of HTTP/1.1 and later if one of these texts with variables is neither empty nor `0` (nginx: `early_hints`). Default: they don't.
    pub early_hints: Vec<Text>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Millis(5_000),
            upstream_send_timeout: Millis(60_000),
            read_timeout: Millis(60_000),
            upstream_bare_lf: false,
            set_headers: BTreeMap::new(),
            forwarded_headers: true,
            proxy_method: None,
            proxy_http_version: HttpVersion::Http11,
            proxy_set_body: None,
            proxy_pass_request_body: true,
            proxy_pass_request_headers: true,
            proxy_hide_headers: Vec::new(),
            proxy_pass_headers: Vec::new(),
            proxy_ignore_headers: Vec::new(),
            proxy_redirect: Vec::new(),
            proxy_cookie_domain: Vec::new(),
            proxy_cookie_path: Vec::new(),
            proxy_cookie_flags: Vec::new(),
            proxy_next_upstream: None,
            proxy_next_upstream_timeout: Millis(0),
            proxy_next_upstream_tries: 0,
            proxy_bind: None,
            proxy_limit_rate: None,
            proxy_force_ranges: false,
            proxy_ignore_client_abort: false,
            proxy_socket_keepalive: false,
            proxy_pass_trailers: false,
            early_hints: Vec::new(),
        }
    }
}

kept!(Settings);

/// A proxied server.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    /// Key into [`Config::upstream`]; empty where there is a `url`.
    #[serde(default)]
    pub upstream: String,
    /// What the servers speak: `http`, `uwsgi`, `fastcgi`, `scgi`. Default: http.
    #[serde(default)]
    pub language: Language,
    /// Name and port of the server as written, where `upstream` is not that. Default: `upstream`.
    #[serde(default)]
    pub authority: Option<String>,
    /// It is spoken to in TLS, on the terms of `upstream_tls`. Default: false.
    #[serde(default)]
    pub tls: bool,
    /// URL with variables, instead of an upstream: each request goes where its values lead. What lies behind the server in it is the whole URI; without that the client's is passed on. Default: none.
    #[serde(default)]
    pub url: Option<String>,
    /// URI that replaces the part of the path the route matched (nginx: `proxy_pass` with a URI); absent: the path is passed on as the client sent it.
    #[serde(default)]
    pub uri: Option<String>,
}

/// The values of a header that is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum HeaderValues {
    /// One.
    One(Text),
    /// Several, in their order.
    Several(Vec<Text>),
}

impl HeaderValues {
    /// The values in their order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let values = match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Several(values) => values,
        };
        values.iter().map(|value| &**value)
    }
}

/// A text and what takes its place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replace {
    /// What is replaced, with variables; behind `~` a regular expression, behind `~*` one that ignores case.
    pub from: Pattern,
    /// What takes its place, with variables and the groups of the regular expression. Default: empty.
    #[serde(default)]
    pub to: Text,
}

/// Attributes of cookies.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CookieFlags {
    /// The name of the cookie, with variables, or a regular expression behind `~`.
    pub cookie: Pattern,
    /// `secure`, `httponly`, `samesite=strict`, `samesite=lax`, `samesite=none`, or one to take away: `nosecure`, `nohttponly`, `nosamesite`; with variables.
    #[serde(default)]
    pub flags: Vec<Text>,
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
