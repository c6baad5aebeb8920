//! Error logs (nginx: `error_log`): which messages are kept, and where those about requests of one server or route go.
use crate::exchange::Exchange;
use crate::kept;
use crate::observe::level::Level;
use crate::observe::log::Sink;
use crate::observe::syslog::Syslog;
use crate::scope::{self, Compiling, Room};
use crate::vars::{Escape, Sent, Template, Var};
use buchner_wire::headers::HeaderId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

/// Error logs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where messages about requests go: a file, `-` for the log of the process, a table, or a list of these (nginx: `error_log`). Default: the log of the process.
    pub error_log: Vec<ErrorLog>,
    /// Files that are not there are errors in the log. Default: false (nginx: `log_not_found`, whose default is on).
    pub log_not_found: bool,
}

kept!(Settings);
kept!(Vec<ErrorLogPlan>);

impl Room for Settings {
    const TITLE: &'static str = "Error logs";

    fn compile(&self, _: &Compiling<'_>, out: &mut scope::Settings) -> std::result::Result<(), String> {
        let logs = self.error_log.iter().map(ErrorLogPlan::compile).collect::<Result<Vec<_>, _>>();
        let logs = logs.map_err(|e| format!("error_log: {e}"))?;
        if !logs.is_empty() {
            out.put(logs);
        }
        Ok(())
    }
}

/// A log of what goes wrong with requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorLog {
    /// File; `-` for the log of the process; `syslog:server=address[:port]` or `syslog:server=unix:/path`, with `,facility=local7,tag=buchner,nohostname` as wanted.
    pub path: String,
    /// The least serious messages that are kept. Default: error.
    #[serde(default = "error")]
    pub level: Level,
}

fn error() -> Level {
    Level::Error
}

/// Where a log goes.
#[derive(Debug)]
enum Place {
    /// To the log of the process.
    Process,
    /// Elsewhere.
    Sink(Arc<Sink>),
}

/// A compiled error log.
#[derive(Debug)]
pub struct ErrorLogPlan {
    place: Place,
    level: Level,
}

impl ErrorLogPlan {
    /// Compiles a log.
    pub fn compile(log: &ErrorLog) -> Result<Self, String> {
        let place = match log.path.strip_prefix("syslog:") {
            Some(syslog) => Place::Sink(Arc::new(Sink::Syslog(Syslog::parse(syslog)?))),
            None if log.path == "-" => Place::Process,
            None => Place::Sink(Arc::new(Sink::File { path: log.path.clone(), gzip: 0 })),
        };
        Ok(Self { place, level: log.level })
    }
}

impl Exchange {
    /// Writes a message about this request, and which one it is, into the error logs of its server or route, else into that of
    /// the process.
    pub fn log(&self, level: Level, text: &str) {
        let logs = self.settings().get::<Vec<ErrorLogPlan>>();
        if logs.is_empty() && !self.thread.log.keeps(level) {
            return;
        }
        let text = &format!("{text}, {}", About(self));
        if logs.is_empty() {
            return self.thread.log.say(level, text);
        }
        for log in logs.iter().filter(|log| level >= log.level) {
            match &log.place {
                Place::Process => self.thread.log.say(level, text),
                Place::Sink(sink) => self.thread.log.say_to(sink, level, text),
            }
        }
    }

    /// Something about this request is wrong and was dealt with.
    pub fn log_warn(&self, text: &str) {
        self.log(Level::Warn, text);
    }

    /// Something about this request failed that someone should look at.
    pub fn log_error(&self, text: &str) {
        self.log(Level::Error, text);
    }
}

/// What a line says of the request it is about, under the names of nginx.
struct About<'e>(&'e Exchange);

impl Display for About<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let ex = self.0;
        let text = |var| {
            let mut out = Vec::new();
            // Escaped as in an access log: a line stays one line.
            Template::of(var).write_log(ex, Sent::default(), Escape::Default, &mut out);
            String::from_utf8_lossy(&out).into_owned()
        };
        write!(
            f,
            "client: {}, server: {}, request: \"{}\"",
            text(Var::RemoteAddr),
            ex.server().name,
            text(Var::Request)
        )?;
        if let Some(address) = &ex.upstream.address {
            write!(f, ", upstream: \"{address}\"")?;
        }
        if ex.request.headers.contains(HeaderId::Host) {
            write!(f, ", host: \"{}\"", text(Var::HttpHost))?;
        }
        write!(f, ", request_id: {}", ex.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_cannot_be_is_refused() {
        let log = |path: &str| ErrorLogPlan::compile(&ErrorLog { path: path.into(), level: Level::Error });
        assert!(log("syslog:tag=x").unwrap_err().contains("no server"));
        assert!(log("-").is_ok() && log("/x").is_ok() && log("syslog:server=127.0.0.1").is_ok());
    }
}
