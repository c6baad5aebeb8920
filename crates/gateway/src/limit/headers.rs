//! What responses say of rates: `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10), `Retry-After` (RFC 9110
//! section 10.2.3).
use crate::exchange::{Exchange, Response};
use crate::limit::req::{ReqLimits, Settings};
use crate::scope::{Filter, Filtered};
use buchner_wire::headers::HeaderId;
use std::fmt::Write;

/// Tells the client what it has left.
pub struct Told {
    /// `RateLimit-Policy`: a list of policies with their quotas and windows.
    policy: Box<[u8]>,
}

impl Told {
    /// What the rates of a server or route tell.
    pub fn new(limits: &ReqLimits) -> Self {
        let mut policy = String::new();
        for (name, quota, window) in limits.policies() {
            let _ = write!(policy, "{}\"{}\";q={quota};w={window}", comma(&policy), quoted(&name));
        }
        Self { policy: policy.into_bytes().into() }
    }
}

fn comma(list: &str) -> &'static str {
    if list.is_empty() { "" } else { ", " }
}

/// A name as a string of RFC 9651 (section 3.3.3) has it; what it cannot have is left out.
fn quoted(name: &str) -> String {
    let plain = name.chars().filter(|c| matches!(c, ' '..='~'));
    plain.flat_map(|c| matches!(c, '"' | '\\').then_some('\\').into_iter().chain([c])).collect()
}

impl Filter for Told {
    fn apply<'f>(&'f self, ex: &'f Exchange, response: &'f mut Response) -> Filtered<'f> {
        let Some(limited) = ex.limits() else { return Filtered::Done };
        let mut fields = String::new();
        for quota in limited.quotas.borrow().iter() {
            let name = quoted(&quota.policy);
            let _ = write!(fields, "{}\"{name}\";r={};t={}", comma(&fields), quota.remaining, quota.reset);
        }
        if !fields.is_empty() {
            response.headers.push_name(b"RateLimit-Policy", &self.policy);
            response.headers.push_name(b"RateLimit", fields.as_bytes());
        }
        Filtered::Done
    }
}

/// Says when a refused client may come back.
pub fn retry_after(ex: &Exchange, response: &mut Response) {
    if !ex.settings().get::<Settings>().limit_req_headers {
        return;
    }
    let wait = ex.limits().and_then(|limited| limited.quotas.borrow().iter().map(|quota| quota.wait).max());
    let seconds = wait.unwrap_or(0).div_ceil(1000).max(1);
    response.headers.push(HeaderId::RetryAfter, seconds.to_string().as_bytes());
}
