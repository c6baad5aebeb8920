//! Access logs: nginx's combined format, JSON, or a format string with variables.
use crate::backend::proxy::variables as proxy;
use crate::exchange::Exchange;
use crate::kept;
use crate::observe::log::{BUFFER_BYTES, Sink, Target, ThreadLog};
use crate::observe::syslog::Syslog;
use crate::scope::{self, Compiling, Room};
use crate::units::{Millis, Size};
use crate::vars::{self, Escape, Names, Sent, Template, Var};
use buchner_wire::headers::HeaderId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Access logs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Indices into [`Config::access_log`]. Default: none.
    pub access_log: Vec<u32>,
    /// Subrequests have lines in the access log (nginx: `log_subrequest`). Default: false.
    pub log_subrequest: bool,
}

kept!(Settings);

/// An access log.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessLog {
    /// File, with variables; `-` for standard output; `syslog:server=address[:port]` or `syslog:server=unix:/path`, with `,facility=local7,severity=info,tag=buchner,nohostname` as wanted.
    pub path: String,
    /// `combined`, `json`, or a format with variables (`$remote_addr "$request" $status`).
    #[serde(default = "combined")]
    pub format: String,
    /// How values are escaped: `default` for lines of text, `json` within JSON strings, or `none`. Default: default.
    #[serde(default)]
    pub escape: Escape,
    /// Only requests for which this text with variables is neither empty nor `0` are logged. Default: all.
    #[serde(default, rename = "if")]
    pub condition: Option<String>,
    /// Bytes that are collected before they are written. Default: 64 KiB, and lines are written within a second in any case.
    #[serde(default)]
    pub buffer: Option<Size>,
    /// Time after which they are written anyway. Default: a second, or none with `buffer` or `gzip`.
    #[serde(default)]
    pub flush: Option<Millis>,
    /// Level the log is compressed with, 1 to 9; 0: it is not. Default: 0.
    #[serde(default)]
    pub gzip: u32,
}

fn combined() -> String {
    "combined".into()
}

const COMBINED: &str = "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent \"$http_referer\" \"$http_user_agent\"";

/// A compiled access log.
pub struct LogPlan {
    place: Place,
    format: Format,
    escape: Escape,
    condition: Option<Template>,
}

/// The access logs of a configuration.
pub struct Logs(pub Vec<LogPlan>);

/// How many there are.
pub struct LogCount(pub usize);

impl Room for Settings {
    const TITLE: &'static str = "Access logs";

    fn compile(&self, cx: &Compiling<'_>, _: &mut scope::Settings) -> Result<(), String> {
        let count = cx.table::<LogCount>().map_or(0, |logs| logs.0);
        match self.access_log.iter().find(|log| **log as usize >= count) {
            Some(log) => Err(format!("access_log: no access_log[{log}]")),
            None => Ok(()),
        }
    }
}

enum Place {
    One(Arc<Target>),
    /// A file whose name the request decides.
    Named(Template),
}

enum Format {
    Json,
    Text(Template),
}

impl LogPlan {
    /// Compiles an access log.
    pub fn compile(log: &AccessLog, names: &Names) -> Result<Self, String> {
        let format = match log.format.as_str() {
            "json" => Format::Json,
            "combined" => Format::Text(Template::compile(COMBINED, names)?),
            format => Format::Text(Template::compile(format, names).map_err(|e| format!("format: {e}"))?),
        };
        let condition = log.condition.as_deref().map(|text| Template::compile(text, names)).transpose();
        Ok(Self {
            place: Place::compile(log, names)?,
            format,
            escape: log.escape,
            condition: condition.map_err(|e| format!("if: {e}"))?,
        })
    }

    /// Appends the request's line to the thread's buffer.
    pub fn write(&self, ex: &Exchange, sent: Sent<'_>, log: &ThreadLog) {
        if self.condition.as_ref().is_some_and(|condition| matches!(&*condition.value(ex, sent), b"" | b"0")) {
            return;
        }
        let write = |out: &mut Vec<u8>| {
            match &self.format {
                Format::Json => json(ex, sent, out),
                Format::Text(template) => template.write_log(ex, sent, self.escape, out),
            }
            out.push(b'\n');
        };
        match &self.place {
            Place::One(target) => log.access(target, ex.thread.clock.now(), write),
            Place::Named(name) => {
                let name = name.value(ex, sent);
                // What a client sent must not lead out of the directory.
                if name.is_empty() || name.contains(&0) || memchr::memmem::find(&name, b"/../").is_some() {
                    log.error(&format!("no access log has the name {:?}", String::from_utf8_lossy(&name)));
                } else {
                    log.access_named(&name, write);
                }
            }
        }
    }
}

impl Place {
    fn compile(log: &AccessLog, names: &Names) -> Result<Self, String> {
        if log.gzip > 9 {
            return Err(format!("gzip: {} is no level: 1 to 9 are, 0 is off", log.gzip));
        }
        let collected = log.buffer.is_some() || log.gzip > 0;
        let mut target = Target {
            sink: Sink::Stdout,
            buffer: log.buffer.map_or(BUFFER_BYTES, |buffer| buffer.0 as usize),
            flush_ms: log.flush.map_or(if collected { u64::MAX } else { 0 }, |flush| flush.0),
        };
        if let Some(syslog) = log.path.strip_prefix("syslog:") {
            if collected || log.flush.is_some() {
                return Err("path: lines for syslog are not collected or compressed".into());
            }
            target.sink = Sink::Syslog(Syslog::parse(syslog).map_err(|e| format!("path: {e}"))?);
            target.buffer = 0;
        } else if log.path.contains('$') {
            if collected || log.flush.is_some() {
                return Err("path: lines for files whose name has variables are not collected or compressed".into());
            }
            return Ok(Self::Named(Template::compile(&log.path, names).map_err(|e| format!("path: {e}"))?));
        } else if log.path != "-" {
            target.sink = Sink::File { path: log.path.clone(), gzip: log.gzip };
        }
        Ok(Self::One(Arc::new(target)))
    }
}

/// Writes a request's line into each access log of its route.
pub fn write(ex: &Exchange, sent: Sent<'_>) {
    let Some(logs) = ex.scope.get::<Logs>() else { return };
    for index in &ex.settings().get::<Settings>().access_log {
        if let Some(log) = logs.0.get(*index as usize) {
            log.write(ex, sent, &ex.thread.log);
        }
    }
    if ex.thread.log.wants_handing_over() {
        let thread = ex.thread.clone();
        tokio::task::spawn_local(async move {
            thread
                .log
                .hand_over(|| {
                    thread.clock.tick();
                    thread.clock.now()
                })
                .await;
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
        ("upstream", Var::Room(&proxy::ADDRESS)),
    ];
    let numbers = [
        ("status", Var::Status),
        ("bytes", Var::BodyBytesSent),
        ("request_time", Var::RequestTime),
        ("upstream_time", Var::Room(&proxy::RESPONSE_TIME)),
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

#[cfg(test)]
mod tests;
