//! Connections by key (nginx: limit_conn): requests that are served at the same time.
use crate::exchange::Exchange;
use crate::exchange::limited::Limited;
use crate::kept;
use crate::limit::table::{Fingerprint, Table};
use crate::limit::zone::{ConnZone, Connections, Zones};
use crate::limit::{PASSED, REJECTED, REJECTED_DRY_RUN, level_problem, status_problem};
use crate::observe::level::Level;
use crate::scope::{self, Compiling, Room};
use crate::vars::{Sent, Variable};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::sync::Arc;

/// Bytes of a key at most; a longer one is not counted (nginx has the same number).
const LONGEST: usize = 255;

/// Connections by key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Requests that are served at the same time, by key; over HTTP/1 they are connections (nginx: `limit_conn`). Default: none.
    pub limit_conn: Vec<LimitConn>,
    /// Status of a request that is refused. Default: 429 (nginx: `limit_conn_status`, whose default is 503).
    pub limit_conn_status: u16,
    /// Level at which refused requests are in the error log: `info`, `notice`, `warn` or `error`. Default: error (nginx: `limit_conn_log_level`).
    pub limit_conn_log_level: Level,
    /// Requests are counted, and none is refused. Default: false (nginx: `limit_conn_dry_run`).
    pub limit_conn_dry_run: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limit_conn: Vec::new(),
            limit_conn_status: 429,
            limit_conn_log_level: Level::Error,
            limit_conn_dry_run: false,
        }
    }
}

/// A number of connections that holds for a server or route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitConn {
    /// Name of the zone, of `[limit_conn_zone]`.
    pub zone: String,
    /// Requests at the same time, 1 to 65535.
    pub connections: u32,
}

kept!(Settings);
kept!(Option<ConnLimits>);

impl Room for Settings {
    const TITLE: &'static str = "Connections by key";
    const VARIABLES: &'static [Variable] = &[Variable::new(
        "limit_conn_status",
        |ex, _: Sent<'_>, out| {
            out.extend_from_slice(ex.limits().and_then(|l| l.connections.get()).unwrap_or("").as_bytes());
        },
        "What the limits of connections said: `PASSED`, `REJECTED` or `REJECTED_DRY_RUN`.",
    )];

    fn compile(&self, cx: &Compiling<'_>, out: &mut scope::Settings) -> Result<(), String> {
        status_problem("limit_conn_status", self.limit_conn_status)?;
        level_problem("limit_conn_log_level", self.limit_conn_log_level)?;
        let mut limits: Vec<(Arc<ConnZone>, u32)> = Vec::new();
        for limit in &self.limit_conn {
            let zone = cx.table::<Zones>().and_then(|zones| zones.conn.get(limit.zone.as_str()));
            let zone = zone.ok_or_else(|| format!("limit_conn: there is no limit_conn_zone {:?}", limit.zone))?;
            if limits.iter().any(|(other, _)| Arc::ptr_eq(other, zone)) {
                return Err(format!("limit_conn: the zone {:?} stands there twice", limit.zone));
            }
            if !(1..=65_535).contains(&limit.connections) {
                return Err(format!("limit_conn: {} is not a number from 1 to 65535", limit.connections));
            }
            limits.push((zone.clone(), limit.connections));
        }
        out.put_some((!limits.is_empty()).then(|| ConnLimits { limits, settings: self.clone() }));
        Ok(())
    }
}

/// The limits of connections of a server or route.
pub struct ConnLimits {
    limits: Vec<(Arc<ConnZone>, u32)>,
    /// The settings.
    pub settings: Settings,
}

/// One of the connections of a key; given back on drop.
struct Permit {
    table: Arc<Table<Connections>>,
    key: Fingerprint,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut part = self.table.part(&self.key);
        if let Some(count) = part.counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                part.counts.remove(&self.key);
            }
        }
    }
}

impl ConnLimits {
    /// Takes a permit of each zone. What `$limit_conn_status` is, and the zone that has none left.
    pub fn take(&self, ex: &Exchange, limited: &Limited) -> (Option<&'static str>, Option<&str>) {
        let mut permits: Vec<Box<dyn Any>> = Vec::new();
        for (zone, most) in &self.limits {
            let permit = zone.key.with(ex, |key| match key.len() {
                0 => Ok(None),
                1..=LONGEST => take(&zone.table, key, *most).map(Some).ok_or(()),
                length => {
                    ex.log_error(&format!("the key of zone {:?} has {length} bytes and is not counted", zone.name));
                    Ok(None)
                }
            });
            match permit {
                Ok(Some(permit)) => permits.push(Box::new(permit)),
                Ok(None) => {}
                Err(()) => {
                    let dry = self.settings.limit_conn_dry_run;
                    return (Some(if dry { REJECTED_DRY_RUN } else { REJECTED }), Some(&zone.name));
                }
            }
        }
        let status = (!permits.is_empty()).then_some(PASSED);
        limited.permits.borrow_mut().append(&mut permits);
        (status, None)
    }
}

/// Takes a permit of a key. A table without room refuses, as nginx's does.
fn take(table: &Arc<Table<Connections>>, key: &[u8], most: u32) -> Option<Permit> {
    let (key, mut part) = table.find(key);
    let part = &mut *part;
    let full = part.counts.len() >= part.capacity;
    match part.counts.get_mut(&key) {
        Some(count) if *count >= most => return None,
        Some(count) => *count += 1,
        None if full => return None,
        None => {
            part.counts.insert(key, 1);
        }
    }
    Some(Permit { table: table.clone(), key })
}
