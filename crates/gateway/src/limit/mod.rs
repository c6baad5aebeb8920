//! Limits by key: rates of requests and numbers of connections (nginx: limit_req, limit_conn). They are looked at in the preaccess
//! phase, before a request has a slot or an upstream.
//!
//! nginx asks limit_req first, and limit_conn when a delayed request goes on. A request is asked about each once, whatever
//! redirects and subrequests come of it.
pub mod bucket;
pub mod conn;
mod headers;
pub mod recent;
pub mod req;
pub mod table;
pub mod zone;

use crate::exchange::{Exchange, Response};
use crate::limit::conn::ConnLimits;
use crate::limit::req::ReqLimits;
use crate::observe::level::Level;
use crate::page;
use std::time::Duration;

/// What a rejected request has in `$limit_req_status` and `$limit_conn_status`.
pub const REJECTED: &str = "REJECTED";
/// It would have been rejected.
pub const REJECTED_DRY_RUN: &str = "REJECTED_DRY_RUN";
/// It came in.
pub const PASSED: &str = "PASSED";

/// Asks the limits of the route; a response if one refuses the request. A request that comes too early waits here.
pub async fn check(ex: &Exchange) -> Option<Response> {
    let settings = ex.settings();
    let (req, conn) = (settings.get::<Option<ReqLimits>>(), settings.get::<Option<ConnLimits>>());
    if req.is_none() && conn.is_none() {
        return None;
    }
    let limited = ex.limited();
    if let Some(limits) = req.as_ref().filter(|_| limited.rate.get().is_none()) {
        ex.thread.clock.tick();
        let found = limits.decide(ex, ex.thread.clock.now());
        limited.rate.set(found.status);
        if let Some((level, text)) = &found.told {
            ex.log(*level, text);
        }
        if found.rejected {
            return Some(refuse(ex, limits.settings.limit_req_status));
        }
        if found.delay > 0 {
            tokio::time::sleep(Duration::from_millis(found.delay)).await;
        }
    }
    let limits = conn.as_ref().filter(|_| limited.connections.get().is_none())?;
    let (status, full) = limits.take(ex, &limited);
    limited.connections.set(status);
    if let Some(zone) = full {
        let dry = if limits.settings.limit_conn_dry_run { ", dry run," } else { "" };
        ex.log(limits.settings.limit_conn_log_level, &format!("limiting connections{dry} by zone \"{zone}\""));
    }
    (status == Some(REJECTED)).then(|| refuse(ex, limits.settings.limit_conn_status))
}

/// The least serious level that a rejection is told at; what is only delayed is told one below (nginx: `limit_req_log_level`).
pub fn below(level: Level) -> Level {
    match level {
        Level::Error => Level::Warn,
        Level::Warn => Level::Notice,
        _ => Level::Info,
    }
}

/// Checks a status that refuses requests.
pub fn status_problem(name: &str, status: u16) -> Result<(), String> {
    if (400..=599).contains(&status) {
        Ok(())
    } else {
        Err(format!("{name}: {status} is not a status from 400 to 599"))
    }
}

/// Checks a level that nginx has for limits.
pub fn level_problem(name: &str, level: Level) -> Result<(), String> {
    match level {
        Level::Info | Level::Notice | Level::Warn | Level::Error => Ok(()),
        _ => Err(format!("{name}: {} is none of info, notice, warn and error", level.name())),
    }
}

fn refuse(ex: &Exchange, status: u16) -> Response {
    let mut response = page::of_status(ex, status);
    // nginx closes without a response for 444.
    if status == 444 {
        response.unsent = Some(crate::exchange::Unsent::Closed);
        response.close = true;
    }
    headers::retry_after(ex, &mut response);
    response
}

#[cfg(test)]
mod tests;
