//! How long connections live and how they end.
use crate::kept;
use crate::scope::Room;
use crate::settings::old_browser::OldBrowser;
use crate::units::Millis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When a connection that closes is read from for a while, so that the client sees its answer before a reset (nginx: `lingering_close`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lingering {
    /// When the client may still send.
    #[default]
    On,
    /// Never.
    Off,
    /// Whether or not the client may still send.
    Always,
}

/// Connections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
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
    /// The `Server` header has the version. Default: false (nginx: `server_tokens`, whose default is on).
    pub server_tokens: bool,
    /// HTTP/1.1 bodies of unknown length are sent in chunks; else the connection's end is theirs. Default: true (nginx: `chunked_transfer_encoding`).
    pub chunked_transfer_encoding: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
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
            server_tokens: false,
            chunked_transfer_encoding: true,
        }
    }
}

kept!(Settings);

impl Room for Settings {
    const TITLE: &'static str = "Connections";
}
