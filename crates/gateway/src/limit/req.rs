//! Rates of requests by key (nginx: limit_req): a leaky bucket for each key of a zone.
use crate::exchange::Exchange;
use crate::exchange::limited::{Limited, Quota};
use crate::kept;
use crate::limit::bucket::{Bucket, REQUEST};
use crate::limit::headers::Told;
use crate::limit::recent::Recent;
use crate::limit::table::Fingerprint;
use crate::limit::zone::{ReqZone, Zones};
use crate::limit::{PASSED, REJECTED, REJECTED_DRY_RUN, below, level_problem, status_problem};
use crate::observe::level::Level;
use crate::scope::{self, Compiling, Room};
use crate::vars::{Sent, Variable};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, MutexGuard};

const DELAYED: &str = "DELAYED";
const DELAYED_DRY_RUN: &str = "DELAYED_DRY_RUN";
/// Bytes of a key at most; a longer one is not counted (nginx has the same number).
const LONGEST: usize = 65_535;

/// Rates of requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Names of limits that hold here: those of `[limits]`, or of `[limit_req_zone]` with their `burst`; a request above one is refused at once. Default: none.
    pub limit: Vec<String>,
    /// Rates that hold here (nginx: `limit_req`). Default: none.
    pub limit_req: Vec<LimitReq>,
    /// Status of a request that is refused. Default: 429 (nginx: `limit_req_status`, whose default is 503).
    pub limit_req_status: u16,
    /// Level at which refused requests are in the error log, `info`, `notice`, `warn` or `error`; delayed ones are one below. Default: error (nginx: `limit_req_log_level`).
    pub limit_req_log_level: Level,
    /// Requests are counted, and none is refused or delayed. Default: false (nginx: `limit_req_dry_run`).
    pub limit_req_dry_run: bool,
    /// Responses say what is left of the rates, in `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10), and refused ones when to come back, in `Retry-After`. Default: false.
    pub limit_req_headers: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limit: Vec::new(),
            limit_req: Vec::new(),
            limit_req_status: 429,
            limit_req_log_level: Level::Error,
            limit_req_dry_run: false,
            limit_req_headers: false,
        }
    }
}

/// A rate that holds for a server or route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitReq {
    /// Name of the zone, of `[limit_req_zone]`.
    pub zone: String,
    /// Requests above the rate that wait instead of being refused. Default: 0.
    #[serde(default)]
    pub burst: u32,
    /// Requests above the rate that don't wait. Default: 0.
    #[serde(default)]
    pub delay: u32,
    /// None waits. Default: false.
    #[serde(default)]
    pub nodelay: bool,
}

kept!(Settings);
kept!(Option<ReqLimits>);

impl Room for Settings {
    const TITLE: &'static str = "Rates of requests";
    const VARIABLES: &'static [Variable] = &[Variable::new(
        "limit_req_status",
        |ex, _: Sent<'_>, out| out.extend_from_slice(ex.limits().and_then(|l| l.rate.get()).unwrap_or("").as_bytes()),
        "What the rates of requests said: `PASSED`, `DELAYED`, `REJECTED`, `DELAYED_DRY_RUN` or `REJECTED_DRY_RUN`.",
    )];

    fn compile(&self, cx: &Compiling<'_>, out: &mut scope::Settings) -> Result<(), String> {
        status_problem("limit_req_status", self.limit_req_status)?;
        level_problem("limit_req_log_level", self.limit_req_log_level)?;
        let limits = ReqLimits::compile(self, cx)?;
        if let Some(limits) = limits.as_ref().filter(|_| self.limit_req_headers) {
            out.filters.push(Box::new(Told::new(limits)));
        }
        out.put_some(limits);
        Ok(())
    }
}

/// A compiled rate.
struct Limit {
    zone: Arc<ReqZone>,
    /// Thousandths of requests.
    burst: u64,
    delay: u64,
}

/// The rates of a server or route.
pub struct ReqLimits {
    limits: Vec<Limit>,
    /// The settings.
    pub settings: Settings,
}

/// What the rates say of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// `$limit_req_status`.
    pub status: Option<&'static str>,
    /// It is refused.
    pub rejected: bool,
    /// Milliseconds that it waits.
    pub delay: u64,
    /// What the error log says of it.
    pub told: Option<(Level, String)>,
}

/// A key that was found to be within its rate, and is counted when all are.
struct Passed<'l> {
    limit: &'l Limit,
    key: Fingerprint,
}

impl ReqLimits {
    fn compile(settings: &Settings, cx: &Compiling<'_>) -> Result<Option<Self>, String> {
        let find = |name: &str, setting: &str| {
            let zone = cx.table::<Zones>().and_then(|zones| zones.req.get(name));
            zone.cloned().ok_or_else(|| format!("{setting}: there is no limit_req_zone {name:?}"))
        };
        let mut limits: Vec<Limit> = Vec::new();
        for name in &settings.limit {
            let zone = find(name, "limit")?;
            let burst = u64::from(zone.burst()) * 1000;
            limits.push(Limit { zone, burst, delay: u64::MAX });
        }
        for limit in &settings.limit_req {
            let zone = find(&limit.zone, "limit_req")?;
            let delay = if limit.nodelay { u64::MAX } else { u64::from(limit.delay) * 1000 };
            limits.push(Limit { zone, burst: u64::from(limit.burst) * 1000, delay });
        }
        for (i, limit) in limits.iter().enumerate() {
            if limits[..i].iter().any(|other| Arc::ptr_eq(&other.zone, &limit.zone)) {
                return Err(format!("limit_req: the zone {:?} stands there twice", limit.zone.name));
            }
        }
        Ok((!limits.is_empty()).then(|| Self { limits, settings: settings.clone() }))
    }

    /// Decides about a request that comes at `now`, and counts it.
    pub fn decide(&self, ex: &Exchange, now: u64) -> Decision {
        let tells = self.settings.limit_req_headers.then(|| ex.limited());
        let keys = self.limits.iter().map(|limit| {
            limit.zone.key.with(ex, |key| match key.len() {
                0 => None,
                1..=LONGEST => Some(limit.zone.table.find(key)),
                length => {
                    ex.log_error(&format!(
                        "the key of zone {:?} has {length} bytes and is not counted",
                        limit.zone.name
                    ));
                    None
                }
            })
        });
        self.walk(keys, now, tells.as_deref())
    }

    /// Goes through the keys of a request (nginx: `ngx_http_limit_req_handler`). All but the last are looked at first and counted when
    /// all agree; the last is counted at once.
    fn walk<'t>(
        &self,
        keys: impl Iterator<Item = Option<(Fingerprint, MutexGuard<'t, Recent>)>>,
        now: u64,
        tells: Option<&Limited>,
    ) -> Decision {
        let mut passed: Vec<Passed<'_>> = Vec::new();
        let mut worst = Worst::default();
        let mut counted = false;
        let last = self.limits.len() - 1;
        for (i, (limit, key)) in self.limits.iter().zip(keys).enumerate() {
            let Some((key, mut part)) = key else { continue };
            let rate = limit.zone.rate;
            let before = part.get(&key).copied();
            let after = before.map_or(Bucket::first(now), |bucket| bucket.with_request(rate, now));
            if after.excess > limit.burst {
                drop(part);
                note(tells, limit, after.excess);
                return self.rejected(limit, after.excess);
            }
            if i < last {
                if before.is_none() {
                    part.add(key, Bucket::UNCOUNTED, rate, now);
                }
                passed.push(Passed { limit, key });
                continue;
            }
            part.set(key, after, rate, now);
            drop(part);
            note(tells, limit, after.excess + REQUEST);
            worst = Worst::default().with(limit, after.excess);
            counted = true;
        }
        if !counted && passed.is_empty() {
            return Decision::default();
        }
        // nginx goes back from the last one.
        for Passed { limit, key } in passed.into_iter().rev() {
            let mut part = limit.zone.table.part(&key);
            let rate = limit.zone.rate;
            // Another thread may have put it out meanwhile.
            let after = part.get(&key).map_or(Bucket::first(now), |bucket| bucket.with_request(rate, now));
            part.set(key, after, rate, now);
            drop(part);
            note(tells, limit, after.excess + REQUEST);
            worst = worst.with(limit, after.excess);
        }
        self.granted(&worst)
    }

    fn rejected(&self, limit: &Limit, excess: u64) -> Decision {
        let dry = self.settings.limit_req_dry_run;
        let told = (self.settings.limit_req_log_level, message("limiting", dry, excess, &limit.zone.name));
        let status = Some(if dry { REJECTED_DRY_RUN } else { REJECTED });
        Decision { status, rejected: !dry, delay: 0, told: Some(told) }
    }

    fn granted(&self, worst: &Worst<'_>) -> Decision {
        let Some(limit) = worst.limit.filter(|_| worst.delay > 0) else {
            return Decision { status: Some(PASSED), ..Decision::default() };
        };
        let dry = self.settings.limit_req_dry_run;
        let told = (below(self.settings.limit_req_log_level), message("delaying", dry, worst.excess, &limit.zone.name));
        let (status, delay) = if dry { (DELAYED_DRY_RUN, 0) } else { (DELAYED, worst.delay) };
        Decision { status: Some(status), rejected: false, delay, told: Some(told) }
    }

    /// Names, quotas and windows of the policies, for `RateLimit-Policy`.
    pub fn policies(&self) -> Vec<(Box<str>, u64, u64)> {
        self.limits.iter().map(|limit| (limit.zone.name.clone(), limit.quota(), limit.window())).collect()
    }
}

impl Limit {
    /// Requests that a client may send at once.
    fn quota(&self) -> u64 {
        self.burst / 1000 + 1
    }

    /// Seconds in which a client may send that many again.
    fn window(&self) -> u64 {
        self.zone.rate.time(self.quota() * 1000).div_ceil(1000)
    }
}

/// The limit that makes a request wait longest.
#[derive(Default)]
struct Worst<'l> {
    limit: Option<&'l Limit>,
    excess: u64,
    delay: u64,
}

impl<'l> Worst<'l> {
    fn with(self, limit: &'l Limit, excess: u64) -> Self {
        let delay = limit.zone.rate.time(excess.saturating_sub(limit.delay));
        if delay > self.delay { Self { limit: Some(limit), excess, delay } } else { self }
    }
}

/// A line of the error log, in nginx's words.
fn message(what: &str, dry: bool, excess: u64, zone: &str) -> String {
    let (noun, comma) = if what == "limiting" { ("requests", "") } else { ("request", ",") };
    let dry = if dry { ", dry run" } else { "" };
    format!("{what} {noun}{dry}, excess: {}.{:03}{comma} by zone \"{zone}\"", excess / 1000, excess % 1000)
}

/// Notes what is left of a rate, where responses tell it. `next` is the excess that one request more would have.
fn note(tells: Option<&Limited>, limit: &Limit, next: u64) {
    let Some(limited) = tells else { return };
    let rate = limit.zone.rate;
    limited.quotas.borrow_mut().push(Quota {
        policy: limit.zone.name.clone(),
        quota: limit.quota(),
        window: limit.window(),
        remaining: (limit.burst + REQUEST).saturating_sub(next) / REQUEST,
        reset: rate.time(next).div_ceil(1000),
        wait: rate.time(next.saturating_sub(limit.burst)),
    });
}

#[cfg(test)]
mod tests;
