//! Settings of the gateway process as a whole.
use crate::exchange::conditions::Dialect;
use crate::observe::level::Level;
use crate::units::{Millis, Size};
use crate::vars::Bases;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

/// Settings of the gateway process.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Gateway {
    /// I/O threads. Default: 1 on up to 4 cores, then a quarter of the cores. Changing it replaces the gateway process.
    pub io_threads: u32,
    /// Connections in total, clients and upstreams; accepting pauses above it. Default: 0, what the descriptor limit allows.
    pub max_connections: u32,
    /// Connections per client address; further ones are closed at once. Default: 0, no limit.
    pub max_connections_per_address: u32,
    /// TLS handshakes with clients at a time; above it the one that has lasted longest is given up, as honest clients need a few round trips. Each takes about 20 KiB. Default: 4096; 0: no limit.
    pub max_handshakes: u32,
    /// Networks whose forwarded headers (X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host) are believed: addresses, CIDR, `unix`, or `*`. Default: none.
    pub trusted_proxies: Vec<String>,
    /// Directory of the unlinked files that large bodies spill into. Default: /var/tmp.
    pub spool_dir: String,
    /// Bytes that bodies may take together: in spool files, and in memory while they are still being read. Default: 1 GiB.
    pub spool_max: Size,
    /// How long a stopping gateway waits for requests to finish. Default: 30 s.
    pub shutdown_timeout: Millis,
    /// Name servers, `address` or `address:port`. Default: those of /etc/resolv.conf.
    pub resolver: Vec<String>,
    /// Time a name server's answer holds, whatever it says itself. Default: what it says.
    pub resolver_valid: Option<Millis>,
    /// Time to find the addresses of a name, all tries together. Default: 3 s (nginx: 30 s).
    pub resolver_timeout: Option<Millis>,
    /// Names lead to IPv4 addresses. Default: true.
    pub resolver_ipv4: bool,
    /// Names lead to IPv6 addresses. Default: true.
    pub resolver_ipv6: bool,
    /// The least serious messages in the log of the process (nginx: the level of `error_log`, whose default is error). Default: notice.
    pub error_level: Level,
    /// Error pages show causes, and tracebacks of the app. Default: false.
    pub development: bool,
    /// How conditions and ranges of requests are read where nginx has rules of its own: `rfc9110`, or `nginx`, where all conditions have to hold, HEAD has ranges, and ranges are not merged. Default: rfc9110 (a nginx.conf: nginx).
    pub conditions: Dialect,
    /// Directory that names of files start from if they are made of variables and come out relative. Default: that of the configuration file.
    pub prefix: Option<String>,
    /// The same for files of users (`auth_basic_user_file`). Default: `prefix` (a nginx.conf: the directory of that file).
    pub users_prefix: Option<String>,
    /// Whose words responses have where they differ: reason phrases and titles of pages (`rfc9110`: 405 Method Not Allowed, `nginx`: 405 Not Allowed), and `Connection: keep-alive`, which nginx says in HTTP/1.1 too. Default: rfc9110 (a nginx.conf: nginx).
    pub wording: Dialect,
}

impl Gateway {
    /// Directories that relative names start from.
    pub fn bases(&self) -> Bases {
        let prefix = self.prefix.as_deref().unwrap_or_default();
        Bases { prefix: prefix.into(), users: self.users_prefix.as_deref().unwrap_or(prefix).into() }
    }
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            io_threads: 1,
            max_connections: 0,
            max_connections_per_address: 0,
            max_handshakes: 4096,
            trusted_proxies: Vec::new(),
            spool_dir: "/var/tmp".into(),
            spool_max: Size(1 << 30),
            shutdown_timeout: Millis(30_000),
            error_level: Level::default(),
            resolver: Vec::new(),
            resolver_valid: None,
            resolver_timeout: None,
            resolver_ipv4: true,
            resolver_ipv6: true,
            development: false,
            conditions: Dialect::Rfc9110,
            prefix: None,
            users_prefix: None,
            wording: Dialect::Rfc9110,
        }
    }
}
