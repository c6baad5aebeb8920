//! What the gateway tells about its work: access log, error log, counters, request ids.
pub mod access_log;
pub mod log;
pub mod metrics;
pub mod trace;
