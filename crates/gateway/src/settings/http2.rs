//! HTTP/2.
use crate::kept;
use crate::scope::Room;
use crate::units::Size;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// HTTP/2, as the default server of an address has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Clients may speak HTTP/2: on a port without TLS those that begin with it (prior knowledge), with TLS those that choose it (ALPN). Default: false (nginx: `http2`).
    pub http2: bool,
    /// Requests that one connection may have under way; further ones are refused, and the client may repeat them. Default: 128 (nginx: `http2_max_concurrent_streams`).
    pub http2_max_concurrent_streams: u32,
    /// Bytes of a request's body that a client may send before somebody reads it: the window of a stream. That of a connection is as many for each stream. Default: 64 KiB (nginx: `http2_body_preread_size`).
    pub http2_body_preread_size: Size,
    /// Most bytes of a response's body in one frame. Default: 16 KiB (nginx: `http2_chunk_size`, 8 KiB).
    pub http2_chunk_size: Size,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            http2: false,
            http2_max_concurrent_streams: 128,
            http2_body_preread_size: Size(64 << 10),
            http2_chunk_size: Size(16 << 10),
        }
    }
}

kept!(Settings);

impl Room for Settings {
    const TITLE: &'static str = "HTTP/2";
}
