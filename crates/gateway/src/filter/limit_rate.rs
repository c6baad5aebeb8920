//! Bodies sent no faster than configured (nginx: `limit_rate`), than `set $limit_rate` says, or than the upstream says
//! (X-Accel-Limit-Rate).
use crate::body::Body;
use crate::body::pace::paced;
use crate::exchange::{Exchange, Response};
use crate::kept;
use crate::kinds::Text;
use crate::scope::{self, Compiling, Filter, Filtered, Room};
use crate::text::write_number;
use crate::units::size;
use crate::vars::{Names, Sent, Template, Variable};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Rate of responses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Bytes per second of one answer, with variables; 0: as fast as can be (nginx: `limit_rate`). Default: 0.
    pub limit_rate: Option<Text>,
    /// Bytes before that holds, with variables (nginx: `limit_rate_after`). Default: 0.
    pub limit_rate_after: Option<Text>,
}

kept!(Settings);
kept!(Option<LimitRate>);

impl Room for Settings {
    const TITLE: &'static str = "Rate of responses";
    const VARIABLES: &'static [Variable] = VARIABLES;

    fn compile(&self, cx: &Compiling<'_>, out: &mut scope::Settings) -> std::result::Result<(), String> {
        if self.limit_rate.is_some() || self.limit_rate_after.is_some() {
            let rate = self.limit_rate.as_deref().unwrap_or("0");
            out.put(Some(LimitRate::compile(rate, self.limit_rate_after.as_deref(), cx.names)?));
        }
        out.filters.push(Box::new(Pace));
        Ok(())
    }
}

/// The variable, which `set` may change.
const VARIABLES: &[Variable] = &[Variable::new(
    "limit_rate",
    |ex, sent, out| write_number(rate(ex, sent), out),
    "Bytes a second the response may take; 0: no limit.",
)];

/// The compiled settings.
pub struct LimitRate {
    rate: Template,
    after: Template,
}

impl LimitRate {
    /// Compiles the rate in bytes per second and the bytes before it holds, both with variables.
    pub fn compile(rate: &str, after: Option<&str>, names: &Names) -> Result<Self, String> {
        let compile = |text: &str, name: &str| {
            let template = Template::compile(text, names).map_err(|e| format!("{name}: {e}"))?;
            match template.as_text() {
                Some(text) if size(text).is_none() => {
                    Err(format!("{name}: {:?} is not a size", String::from_utf8_lossy(text)))
                }
                _ => Ok(template),
            }
        };
        Ok(Self { rate: compile(rate, "limit_rate")?, after: compile(after.unwrap_or("0"), "limit_rate_after")? })
    }
}

fn value(template: &Template, ex: &Exchange, sent: Sent<'_>) -> u64 {
    size(&template.value(ex, sent)).unwrap_or(0)
}

/// Bytes a second that the answer may take; 0: no limit.
fn rate(ex: &Exchange, sent: Sent<'_>) -> u64 {
    let configured = || ex.settings().get::<Option<LimitRate>>().as_ref().map(|limit| value(&limit.rate, ex, sent));
    ex.limit_rate.get().or_else(configured).unwrap_or(0)
}

/// Paces bodies: the settings may say so, the request's own course, or the upstream.
struct Pace;

impl Filter for Pace {
    fn apply<'f>(&'f self, ex: &'f Exchange, response: &'f mut Response) -> Filtered<'f> {
        pace(ex, response);
        Filtered::Done
    }
}

fn pace(ex: &Exchange, response: &mut Response) {
    let limit = ex.settings().get::<Option<LimitRate>>();
    if !ex.is_main() || (limit.is_none() && ex.limit_rate.get().is_none()) {
        return;
    }
    let sent = Sent { status: response.status, headers: Some(&response.headers), ..Sent::default() };
    let after = limit.as_ref().map_or(0, |limit| value(&limit.after, ex, sent));
    let rate = rate(ex, sent);
    if rate > 0 {
        response.body = paced(std::mem::replace(&mut response.body, Body::EMPTY), rate, after);
    }
}

#[cfg(test)]
mod tests {
    use super::pace;
    use crate::body::Body;
    use crate::testing::{Site, response};
    use serde_json::{Value, json};
    use std::task::Poll;

    /// Whether a body of ten bytes has to wait.
    fn waits(settings: Value, request: &str) -> bool {
        let site = Site::with(settings);
        let ex = site.exchange(request);
        let mut answer = response(200, "text/plain", "0123456789");
        pace(&ex, &mut answer);
        let Body::Stream(mut source) = answer.body else { return false };
        let mut taken = 0;
        site.wait(std::future::poll_fn(|cx| {
            while let Poll::Ready(Ok(Some(chunk))) = source.poll_chunk(cx) {
                taken += chunk.len();
            }
            Poll::Ready(taken < 10)
        }))
    }

    #[test]
    fn a_body_over_the_rate_waits_and_one_below_does_not() {
        assert!(waits(json!({"limit_rate": "4"}), "GET /"));
        assert!(!waits(json!({"limit_rate": "1k"}), "GET /"));
        assert!(!waits(json!({"limit_rate": "0"}), "GET /"));
        assert!(!waits(json!({}), "GET /"));
    }

    #[test]
    fn the_first_bytes_do_not_count() {
        assert!(waits(json!({"limit_rate": "4", "limit_rate_after": "5"}), "GET /"));
        assert!(!waits(json!({"limit_rate": "4", "limit_rate_after": "6"}), "GET /"));
    }

    #[test]
    fn the_rate_may_depend_on_the_request() {
        let settings = json!({"limit_rate": "$arg_rate"});
        assert!(waits(settings.clone(), "GET /?rate=4"));
        assert!(!waits(settings, "GET /"));
    }

    #[test]
    fn the_requests_own_rate_wins_and_is_the_variable() {
        let site = Site::with(json!({"limit_rate": "4"}));
        let ex = site.exchange("GET /");
        assert_eq!(site.value(&ex, "$limit_rate"), "4");
        ex.limit_rate.set(Some(100));
        assert_eq!(site.value(&ex, "$limit_rate"), "100");
        let mut answer = response(200, "text/plain", "0123456789");
        pace(&ex, &mut answer);
        assert_eq!(answer.body.length(), Some(10));
    }
}
