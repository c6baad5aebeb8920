//! Which bodies are kept whole, and where.
use crate::kept;
use crate::kinds::FilePath;
use crate::scope::Room;
use crate::units::Size;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether bodies of requests are put into files with names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BodyFile {
    /// They are not.
    #[default]
    Off,
    /// They are, and the files stay.
    On,
    /// They are, and the files go when the request is over.
    Clean,
}

/// Buffering.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
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
    /// Bytes of one response that may spill. Default: 64 MiB.
    pub buffer_spool: Size,
    /// Request bodies that are read whole are put into files with names, which `$request_body_file` tells: `on`, or `clean` for files that go when the request is over. Default: off (nginx: `client_body_in_file_only`).
    pub request_body_file: BodyFile,
    /// Directory of these files; made when it is missing. Default: `gateway.spool_dir` (nginx: `client_body_temp_path`).
    pub request_body_dir: Option<FilePath>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            request_buffering: true,
            request_buffering_max: Size(0),
            body_min_rate: Size(8 << 10),
            buffering: true,
            buffer_memory: Size(64 << 10),
            buffer_spool: Size(64 << 20),
            request_body_file: BodyFile::Off,
            request_body_dir: None,
        }
    }
}

kept!(Settings);

impl Room for Settings {
    const TITLE: &'static str = "Buffering";
}
