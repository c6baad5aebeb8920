//! Access logs: nginx's combined format, JSON, or a format string with variables.
use crate::config;
use crate::exchange::Exchange;
use crate::observe::log::ThreadLog;
use crate::vars::{self, Names, Sent, Template, Var};
use buchner_wire::headers::HeaderId;
use std::sync::Arc;

const COMBINED: &str = "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent \"$http_referer\" \"$http_user_agent\"";

/// A compiled access log.
pub struct LogPlan {
    path: Arc<str>,
    format: Format,
}

enum Format {
    Json,
    Text(Template),
}

impl LogPlan {
    /// Compiles an access log.
    pub fn compile(log: &config::AccessLog, names: &Names) -> Result<Self, String> {
        let format = match log.format.as_str() {
            "json" => Format::Json,
            "combined" => Format::Text(Template::compile(COMBINED, names)?),
            format => Format::Text(Template::compile(format, names).map_err(|e| format!("format: {e}"))?),
        };
        Ok(Self { path: log.path.as_str().into(), format })
    }

    /// Appends the request's line to the thread's buffer.
    pub fn write(&self, ex: &Exchange, sent: Sent<'_>, log: &ThreadLog) {
        log.access(&self.path, |out| {
            match &self.format {
                Format::Json => json(ex, sent, out),
                Format::Text(template) => template.write_log(ex, sent, out),
            }
            out.push(b'\n');
        });
    }
}

fn json(ex: &Exchange, sent: Sent<'_>, out: &mut Vec<u8>) {
    let strings = [
        ("time", Var::TimeIso8601),
        ("remote_addr", Var::RemoteAddr),
        ("method", Var::RequestMethod),
        ("host", Var::Host),
        ("uri", Var::RequestUri),
        ("protocol", Var::ServerProtocol),
        ("request_id", Var::RequestId),
        ("upstream", Var::UpstreamAddr),
    ];
    let numbers = [
        ("status", Var::Status),
        ("bytes", Var::BodyBytesSent),
        ("request_time", Var::RequestTime),
        ("upstream_time", Var::UpstreamResponseTime),
    ];
    let mut value = Vec::with_capacity(64);
    out.push(b'{');
    for (name, var) in strings {
        value.clear();
        vars::write_var(&var, ex, sent, &mut value);
        string(name, &value, out);
    }
    for (name, id) in [("user_agent", HeaderId::UserAgent), ("referer", HeaderId::Referer)] {
        string(name, ex.request.headers.get(id).unwrap_or_default(), out);
    }
    if let Some(failure) = &ex.failure {
        string("error", failure.as_bytes(), out);
    }
    for (i, (name, var)) in numbers.iter().enumerate() {
        value.clear();
        vars::write_var(var, ex, sent, &mut value);
        if i > 0 {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        out.extend_from_slice(if value.is_empty() { b"null" } else { &value });
    }
    out.push(b'}');
}

fn string(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    let text = String::from_utf8_lossy(value);
    match serde_json::to_vec(&text) {
        Ok(quoted) => out.extend_from_slice(&quoted),
        Err(_) => out.extend_from_slice(b"\"\""),
    }
    out.push(b',');
}
