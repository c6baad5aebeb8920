//! Settings that every server and route has; equal groups of them are kept once.
use crate::config::{
    AddHeader, BodyFile, CharsetMap, CookieFlags, HttpVersion, Lingering, NextUpstream, OldBrowser, Proxied, RealIp,
    Replace, Root, Satisfy, SubFilter, UserId,
};
use crate::observe::error_log::ErrorLog;
use crate::units::{Millis, Size};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;
use std::collections::BTreeMap;

/// Settings that are inherited: root → server → route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Bytes of a request body; more is 413. 0: no limit. Default: 64 MiB, and no limit for a Flask app that has a `MAX_CONTENT_LENGTH`, which answers by itself (nginx: `client_max_body_size`).
    pub max_body: Size,
    /// Time between two reads of a request body; then 408. Default: 60 s (nginx: `client_body_timeout`).
    pub body_timeout: Millis,
    /// Time between two writes to the client; then the connection is closed. Default: 60 s (nginx: `send_timeout`).
    pub send_timeout: Millis,
    /// Time a connection is kept idle behind a request; 0: it is closed. Default: 75 s (nginx: `keepalive_timeout`).
    pub keepalive_timeout: Millis,
    /// Time that clients are told connections are kept, in a `Keep-Alive` field. Default: 0, they aren't told (nginx: the second time of `keepalive_timeout`).
    pub keepalive_told: Millis,
    /// Requests on one connection before it is closed. Default: 1000 (nginx: `keepalive_requests`); 0 is no limit.
    pub keepalive_requests: u32,
    /// Time a connection is used for further requests; the one after that is its last. Default: 0, no limit (nginx: `keepalive_time`, 1 h).
    pub keepalive_time: Millis,
    /// Connections are closed only when the client has ended its side, so that it sees the answer although it still sends: `on`, when it may still send, `off` or `always`. Default: on (nginx: `lingering_close`).
    pub lingering_close: Lingering,
    /// Time that this takes at most. Default: 30 s (nginx: `lingering_time`).
    pub lingering_time: Millis,
    /// Time that it waits for more of what the client sends. Default: 5 s (nginx: `lingering_timeout`).
    pub lingering_timeout: Millis,
    /// Connections whose clients have not taken their answer in time, and those answered 444, are reset, which frees what the kernel keeps for them. Default: false (nginx: `reset_timedout_connection`).
    pub reset_timedout_connection: bool,
    /// Browsers whose connections are closed behind each answer: `msie6` (behind a POST), `safari`. Default: none (nginx: `keepalive_disable`).
    pub keepalive_disable: Vec<OldBrowser>,
    /// Protocols that clients may leave HTTP for with `Upgrade`; who asks for another is answered as if it had not. In `h2c` requests would pass unseen, by access rules too. Default: `websocket`.
    pub upgrade_protocols: Vec<String>,
    /// Time without a byte in either direction, after which an upgraded connection is closed. Default: `read_timeout` behind a proxied route (nginx: `proxy_read_timeout`), 1 h behind an app.
    pub tunnel_timeout: Option<Millis>,
    /// Request bodies are read whole before the backend sees them. Default: true (nginx: `proxy_request_buffering`).
    pub request_buffering: bool,
    /// Bytes of a request body that are read before an app gets the request; a larger one is streamed to it, as is one that `spool_max` has no room for, to half of the slots at most. Default: 0, any number; the `MAX_CONTENT_LENGTH` of a Flask app if `max_body` is not set.
    pub request_buffering_max: Size,
    /// Bytes a second that such a body must come at; 10 s behind, it is 408. Default: 8 KiB; 0: any rate.
    pub body_min_rate: Size,
    /// Responses are taken off the backend at its speed and kept for slow clients. Default: true (nginx: `proxy_buffering`).
    pub buffering: bool,
    /// Bytes of a body kept in memory before it spills into `spool_dir`. Default: 64 KiB.
    pub buffer_memory: Size,
    /// Request bodies that are read whole are put into files with names, which `$request_body_file` tells: `on`, or `clean` for files that go when the request is over. Default: off (nginx: `client_body_in_file_only`).
    pub request_body_file: BodyFile,
    /// Directory of these files; made when it is missing. Default: `gateway.spool_dir` (nginx: `client_body_temp_path`).
    pub request_body_dir: Option<String>,
    /// Name servers for names of upstreams, `address` or `address:port`. Default: `gateway.resolver`, with all that it has (nginx: `resolver`).
    pub resolver: Vec<String>,
    /// Time their answers hold. Default: 0, what they say themselves (nginx: `valid=`).
    pub resolver_valid: Millis,
    /// Names lead to IPv4 addresses, where `resolver` is set. Default: true (nginx: `ipv4=`).
    pub resolver_ipv4: bool,
    /// Names lead to IPv6 addresses, where `resolver` is set. Default: true (nginx: `ipv6=`).
    pub resolver_ipv6: bool,
    /// Time for an answer of a name server. Default: `gateway.resolver_timeout` (nginx: `resolver_timeout`).
    pub resolver_timeout: Option<Millis>,
    /// Bytes of one response that may spill. Default: 64 MiB.
    pub buffer_spool: Size,
    /// Time to connect to an upstream. Default: 5 s (nginx: `proxy_connect_timeout`).
    pub connect_timeout: Millis,
    /// Time between two writes to an upstream. Default: 60 s (nginx: `proxy_send_timeout`).
    pub upstream_send_timeout: Millis,
    /// Time between two reads from an upstream. Default: 60 s (nginx: `proxy_read_timeout`).
    pub read_timeout: Millis,
    /// Time an app has for the head of its answer, from the moment a slot takes the request; then 504 and the stack in the log. Default: 60 s; 0: none.
    pub app_timeout: Millis,
    /// Request headers for the upstream, name to value with variables, or to a list of values that are sent one after the other; empty value: not sent (nginx: `proxy_set_header`). Default: the client's, with Host and X-Forwarded-* set.
    pub set_headers: BTreeMap<String, HeaderValues>,
    /// Send X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Request-ID and traceparent, unless `set_headers` has them, keep the client's Host, drop other headers that speak for the client (X-Forwarded-*, Forwarded, X-Real-IP, …) unless a trusted proxy sent them, and pass on that a client asks for another protocol. Default: true.
    pub forwarded_headers: bool,
    /// Method sent to upstreams, with variables. Default: the client's.
    pub proxy_method: Option<String>,
    /// Version upstreams are spoken to in: `1.0` or `1.1`. Default: 1.1.
    pub proxy_http_version: HttpVersion,
    /// Body sent to upstreams instead of the client's, with variables. Default: the client's.
    pub proxy_set_body: Option<String>,
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
    pub proxy_bind: Option<String>,
    /// Bytes a second a response is read from an upstream at, with variables and `k` or `m`; 0: no limit. Default: none.
    pub proxy_limit_rate: Option<String>,
    /// Ranges are cut out of answers of upstreams that do not do so themselves. Default: false.
    pub proxy_force_ranges: bool,
    /// An upstream's work goes on when its client leaves. Default: false.
    pub proxy_ignore_client_abort: bool,
    /// Connections to upstreams have TCP keep-alive probes. Default: false.
    pub proxy_socket_keepalive: bool,
    /// Early hints (103) of upstreams go on to clients of HTTP/1.1 and later if one of these texts with variables is neither empty nor `0` (nginx: `early_hints`). Default: they don't.
    pub early_hints: Vec<String>,
    /// Trailers of upstreams go on to clients. Default: false.
    pub proxy_pass_trailers: bool,
    /// Response headers added to answers below 400 and 3xx, name to value with variables; or a list of tables, which may name a header several times (nginx: `add_header`). Default: none.
    pub add_headers: Vec<AddHeader>,
    /// Fields sent behind a body, name to value with variables, or a list of tables (nginx: `add_trailer`). Default: none.
    pub add_trailers: Vec<AddHeader>,
    /// Pages for statuses: a URI for an internal redirect, `@route`, the URL of a redirect, or a table. Default: the built-in pages.
    pub error_page: BTreeMap<u16, ErrorPage>,
    /// An error on the way to an error page has its page too. Default: false (nginx: `recursive_error_pages`).
    pub recursive_error_pages: bool,
    /// Errors of an upstream or app are replaced by `error_page` too. Default: false (nginx: `proxy_intercept_errors`).
    pub intercept_errors: bool,
    /// Indices into [`Config::access_log`]. Default: none.
    pub access_log: Vec<u32>,
    /// Where messages about requests go: a file, `-` for the log of the process, a table, or a list of these (nginx: `error_log`). Default: the log of the process.
    pub error_log: Vec<ErrorLog>,
    /// Files that are not there are errors in the log. Default: false (nginx: `log_not_found`, whose default is on).
    pub log_not_found: bool,
    /// Directory of the paths that `$document_root`, `$request_filename` and `try_files` are about.
    pub root: Option<Root>,
    /// Index into [`Config::types`]. Default: none.
    pub types: Option<u32>,
    /// Extensions that `types` does not have are looked for in the built-in table. Default: true.
    pub built_in_types: bool,
    /// Media type of other extensions; empty: none is sent. Default: application/octet-stream.
    pub default_type: String,
    /// Which clients may come in: `allow 10.0.0.0/8`, `deny all`; the first rule that fits decides, without one all may (nginx: `allow`, `deny`). Default: none.
    pub access: Vec<String>,
    /// The client has to give a name and a password: the name of the realm it is told, with variables; `off`: it need not (nginx: `auth_basic`). Default: off.
    pub auth_basic: Option<String>,
    /// The file with the users and the hashes of their passwords, with variables: `name:hash` a line, as htpasswd writes them (nginx: `auth_basic_user_file`). Default: none, and no check without it.
    pub auth_basic_user_file: Option<String>,
    /// Time a client that is answered 401 waits for it, against guessing (nginx: `auth_delay`). Default: 0.
    pub auth_delay: Millis,
    /// The client may come in if a subrequest for this URI is answered 2xx; 401 and 403 are passed on, anything else is 500; `off`: no check (nginx: `auth_request`). Default: off.
    pub auth_request: Option<String>,
    /// Variables that are set when the subrequest is answered, by name; the values may use variables of the answer (nginx: `auth_request_set`). Default: none.
    pub auth_request_set: BTreeMap<String, String>,
    /// URIs that each request is copied to, in subrequests whose answers are ignored (nginx: `mirror`). Default: none.
    pub mirror: Vec<String>,
    /// The copies have the request's body, which is read whole first (nginx: `mirror_request_body`). Default: true.
    pub mirror_request_body: bool,
    /// Subrequests have lines in the access log (nginx: `log_subrequest`). Default: false.
    pub log_subrequest: bool,
    /// The sum that a link carries, and behind a comma the time it ends in seconds since 1970, with variables; `$secure_link` is the verdict (nginx: `secure_link`). Default: none.
    pub secure_link: Option<String>,
    /// The text whose MD5 that sum must be, with variables (nginx: `secure_link_md5`). Default: none.
    pub secure_link_md5: Option<String>,
    /// The secret of links of the form `/prefix/sum/link`; `$secure_link` is the link (nginx: `secure_link_secret`). Default: none.
    pub secure_link_secret: Option<String>,
    /// Referers for which `$invalid_referer` is empty: `none`, `blocked`, `server_names`, names with or without a wildcard and a path, `~regex` (nginx: `valid_referers`). Default: none, and all are valid.
    pub valid_referers: Vec<String>,
    /// What tells browsers for which `$ancient_browser` has a value: texts in `User-Agent`, `netscape4` (nginx: `ancient_browser`). Default: none.
    pub ancient_browser: Vec<String>,
    /// Browsers from a version on for which `$modern_browser` has a value: `msie 5.5`, `gecko 1.8`, `opera 9`, `safari 413`, `konqueror 3`, `unlisted` (nginx: `modern_browser`). Default: none.
    pub modern_browser: Vec<String>,
    /// That value (nginx: `ancient_browser_value`). Default: 1.
    pub ancient_browser_value: String,
    /// That value (nginx: `modern_browser_value`). Default: 1.
    pub modern_browser_value: String,
    /// Whether `all` checks of a client (address, password, …) must let it in, or `any`. Default: all (nginx: `satisfy`).
    pub satisfy: Satisfy,
    /// Proxies in front that say who the client is (nginx: the realip module). Default: `gateway.trusted_proxies`.
    pub real_ip: Option<RealIp>,
    /// Redirects of the gateway's own name scheme and host (nginx: `absolute_redirect`, on there). Default: false.
    pub absolute_redirect: bool,
    /// Such redirects name the server's first name instead of the request's host. Default: false (nginx: `server_name_in_redirect`).
    pub server_name_in_redirect: bool,
    /// Such redirects name the port where it is not the scheme's own. Default: true (nginx: `port_in_redirect`).
    pub port_in_redirect: bool,
    /// Answer `X-Accel-Redirect` of the backend, and `X-Sendfile` if there are `sendfile_roots`, by sending the file they name. Written as true, it gives apps their default roots. Default: true.
    pub sendfile_headers: bool,
    /// Directories `X-Sendfile` may name files in; without them, the header is not obeyed. Default: none, and for a Flask app with `USE_X_SENDFILE` its own folder, less its code, its templates and its instance folder.
    pub sendfile_roots: Option<Vec<String>>,
    /// What `X-Sendfile` may not name below `sendfile_roots`: absolute paths, and names of files or directories with `*` at the start or end. Default: none.
    pub sendfile_except: Vec<String>,
    /// HTTP/1.1 bodies of unknown length are sent in chunks; else the connection's end is theirs. Default: true (nginx: `chunked_transfer_encoding`).
    pub chunked_transfer_encoding: bool,
    /// How long answers keep, as `Expires` and `Cache-Control`: `off`, `epoch`, `max`, a time (`1h`, `-1`), `modified +1h`, `@15h30m`, or a text with variables (nginx: `expires`). Default: off.
    pub expires: Option<String>,
    /// Answers are compressed for clients that take gzip (nginx: `gzip`). Default: false.
    pub gzip: bool,
    /// How well, 1 to 9 (nginx: `gzip_comp_level`). Default: 1.
    pub gzip_comp_level: u32,
    /// Media types that are compressed; `*`: all (nginx: `gzip_types`). Default: text/html.
    pub gzip_types: Vec<String>,
    /// Bytes of the shortest answer that is compressed (nginx: `gzip_min_length`). Default: 20.
    pub gzip_min_length: Size,
    /// Which answers to requests through a proxy (with `Via`) are compressed (nginx: `gzip_proxied`). Default: off, none.
    pub gzip_proxied: Vec<Proxied>,
    /// Answers that could be compressed say `Vary: Accept-Encoding` (nginx: `gzip_vary`). Default: false.
    pub gzip_vary: bool,
    /// Lowest version of requests whose answers are compressed, `1.0` or `1.1` (nginx: `gzip_http_version`). Default: 1.1.
    pub gzip_http_version: String,
    /// Regular expressions; clients whose `User-Agent` one matches get nothing compressed (nginx: `gzip_disable`). Default: none.
    pub gzip_disable: Vec<String>,
    /// Compressed answers are unpacked for clients that don't take gzip (nginx: `gunzip`). Default: false.
    pub gunzip: bool,
    /// Texts that are replaced in bodies (nginx: `sub_filter`). Default: none.
    pub sub_filter: Vec<SubFilter>,
    /// Each of them is replaced once only (nginx: `sub_filter_once`). Default: true.
    pub sub_filter_once: bool,
    /// Media types in which they are replaced; `*`: all (nginx: `sub_filter_types`). Default: text/html.
    pub sub_filter_types: Vec<String>,
    /// `Last-Modified` and `ETag` (as a weak one) stay (nginx: `sub_filter_last_modified`). Default: false.
    pub sub_filter_last_modified: bool,
    /// URI whose answer is put before the body; empty: none (nginx: `add_before_body`). Default: none.
    pub add_before_body: Option<String>,
    /// URI whose answer is put behind the body; empty: none (nginx: `add_after_body`). Default: none.
    pub add_after_body: Option<String>,
    /// Media types to which they are added; `*`: all (nginx: `addition_types`). Default: text/html.
    pub addition_types: Vec<String>,
    /// Charset that answers are in, with variables; `off`: nothing is said (nginx: `charset`). Default: off.
    pub charset: Option<String>,
    /// Charset that they come in; where it is another one, they are recoded by `charset_map` (nginx: `source_charset`). Default: none.
    pub source_charset: Option<String>,
    /// Answers that name their charset are recoded too (nginx: `override_charset`). Default: false.
    pub override_charset: bool,
    /// Media types that have a charset; `*`: all (nginx: `charset_types`). Default: text/html, text/xml, text/plain, text/vnd.wap.wml, application/javascript, application/rss+xml.
    pub charset_types: Vec<String>,
    /// Tables between charsets (nginx: `charset_map`). Default: none.
    pub charset_map: Vec<CharsetMap>,
    /// A cookie that tells clients apart: `off`, `log`, `v1`, `on` (nginx: `userid`). Default: off.
    pub userid: UserId,
    /// Its name (nginx: `userid_name`). Default: uid.
    pub userid_name: String,
    /// Its domain (nginx: `userid_domain`). Default: none.
    pub userid_domain: Option<String>,
    /// Its path (nginx: `userid_path`). Default: /.
    pub userid_path: String,
    /// How long it keeps: `off` for the session, `max`, or a time (nginx: `userid_expires`). Default: off.
    pub userid_expires: Option<String>,
    /// Value of a `P3P` header beside it (nginx: `userid_p3p`). Default: none.
    pub userid_p3p: Option<String>,
    /// A letter or digit that marks it; one without is set again (nginx: `userid_mark`). Default: off.
    pub userid_mark: Option<String>,
    /// Number of the service in it (nginx: `userid_service`). Default: the server's address.
    pub userid_service: Option<u32>,
    /// Its flags: `secure`, `httponly`, `samesite=lax`, … (nginx: `userid_flags`). Default: none.
    pub userid_flags: Vec<String>,
    /// Bytes per second of one answer, with variables; 0: as fast as can be (nginx: `limit_rate`). Default: 0.
    pub limit_rate: Option<String>,
    /// Bytes before that holds, with variables (nginx: `limit_rate_after`). Default: 0.
    pub limit_rate_after: Option<String>,
}

impl Default for Settings {
    #[allow(clippy::too_many_lines)] // a line for each setting
    fn default() -> Self {
        Self {
            max_body: Size(64 << 20),
            body_timeout: Millis(60_000),
            send_timeout: Millis(60_000),
            keepalive_timeout: Millis(75_000),
            keepalive_told: Millis(0),
            keepalive_requests: 1000,
            keepalive_time: Millis(0),
            lingering_close: Lingering::On,
            lingering_time: Millis(30_000),
            lingering_timeout: Millis(5_000),
            reset_timedout_connection: false,
            keepalive_disable: Vec::new(),
            upgrade_protocols: vec!["websocket".into()],
            tunnel_timeout: None,
            request_buffering: true,
            request_buffering_max: Size(0),
            body_min_rate: Size(8 << 10),
            buffering: true,
            buffer_memory: Size(64 << 10),
            request_body_file: BodyFile::Off,
            request_body_dir: None,
            resolver: Vec::new(),
            resolver_valid: Millis(0),
            resolver_ipv4: true,
            resolver_ipv6: true,
            resolver_timeout: None,
            buffer_spool: Size(64 << 20),
            connect_timeout: Millis(5_000),
            upstream_send_timeout: Millis(60_000),
            read_timeout: Millis(60_000),
            app_timeout: Millis(60_000),
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
            early_hints: Vec::new(),
            proxy_pass_trailers: false,
            add_headers: Vec::new(),
            add_trailers: Vec::new(),
            error_page: BTreeMap::new(),
            recursive_error_pages: false,
            intercept_errors: false,
            access_log: Vec::new(),
            error_log: Vec::new(),
            log_not_found: false,
            root: None,
            types: None,
            built_in_types: true,
            default_type: "application/octet-stream".into(),
            access: Vec::new(),
            auth_basic: None,
            auth_basic_user_file: None,
            auth_delay: Millis(0),
            auth_request: None,
            auth_request_set: BTreeMap::new(),
            mirror: Vec::new(),
            mirror_request_body: true,
            log_subrequest: false,
            secure_link: None,
            secure_link_md5: None,
            secure_link_secret: None,
            valid_referers: Vec::new(),
            ancient_browser: Vec::new(),
            modern_browser: Vec::new(),
            ancient_browser_value: "1".into(),
            modern_browser_value: "1".into(),
            satisfy: Satisfy::All,
            real_ip: None,
            absolute_redirect: false,
            server_name_in_redirect: false,
            port_in_redirect: true,
            sendfile_headers: true,
            sendfile_roots: None,
            sendfile_except: Vec::new(),
            chunked_transfer_encoding: true,
            expires: None,
            gzip: false,
            gzip_comp_level: 1,
            gzip_types: html(),
            gzip_min_length: Size(20),
            gzip_proxied: Vec::new(),
            gzip_vary: false,
            gzip_http_version: "1.1".into(),
            gzip_disable: Vec::new(),
            gunzip: false,
            sub_filter: Vec::new(),
            sub_filter_once: true,
            sub_filter_types: html(),
            sub_filter_last_modified: false,
            add_before_body: None,
            add_after_body: None,
            addition_types: html(),
            charset: None,
            source_charset: None,
            override_charset: false,
            charset_types: charset_types(),
            charset_map: Vec::new(),
            userid: UserId::Off,
            userid_name: "uid".into(),
            userid_domain: None,
            userid_path: "/".into(),
            userid_expires: None,
            userid_p3p: None,
            userid_mark: None,
            userid_service: None,
            userid_flags: Vec::new(),
            limit_rate: None,
            limit_rate_after: None,
        }
    }
}

fn html() -> Vec<String> {
    vec!["text/html".into()]
}

fn charset_types() -> Vec<String> {
    let names =
        ["text/html", "text/xml", "text/plain", "text/vnd.wap.wml", "application/javascript", "application/rss+xml"];
    names.map(Into::into).into()
}

/// The page of a status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorPage {
    /// A URI, `@route`, or the URL of a redirect; with variables.
    pub to: String,
    /// Status of the answer; 0: whatever the page answers. Default: the status it is the page of; 302 for a redirect.
    #[serde(default)]
    pub status: Option<u16>,
}

/// The values of a header that is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum HeaderValues {
    /// One.
    One(String),
    /// Several, in their order.
    Several(Vec<String>),
}

impl HeaderValues {
    /// The values in their order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let values = match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Several(values) => values,
        };
        values.iter().map(String::as_str)
    }
}
