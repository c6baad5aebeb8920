//! What the gateway tells about its work: access log, error log, counters, request ids.
pub mod access_log;
pub mod backlog;
pub mod error_log;
pub mod level;
pub mod log;
pub mod metrics;
pub mod syslog;

use std::sync::OnceLock;

/// The machine's name, in lower case as nginx has it.
pub fn hostname() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase())
}
