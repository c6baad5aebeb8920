//! The access phase (nginx: the access modules and `satisfy`): who may see the content.
//!
//! A new check is one file with its configuration and code, one line in [`compile`] and one variant of [`Check`]. Subrequests
//! pass: they are made on behalf of a request that was checked.
pub mod crypt;
pub mod networks;
pub mod password;
pub mod realip;
pub mod request;
pub mod users;

use crate::config::Settings;
use crate::error::Result;
use crate::exchange::{Exchange, Response};
use crate::page;
use crate::vars::Names;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::time::Duration;

/// How many checks must let a request in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Satisfy {
    /// All of them.
    #[default]
    All,
    /// One of them.
    Any,
}

/// A compiled check.
pub enum Check {
    /// By the client's address.
    Networks(networks::Rules),
    /// By name and password.
    Password(password::Password),
    /// By the answer to a subrequest.
    Request(request::Request),
}

/// What a check says of a request.
pub enum Verdict {
    /// It may come in.
    Granted,
    /// It may not.
    Refused(Refusal),
    /// The check has nothing to say.
    Silent,
}

/// How a request is refused.
pub struct Refusal {
    /// 401 or 403; any other ends the checks.
    pub status: u16,
    /// The fields `WWW-Authenticate`, for 401.
    pub challenges: Vec<Vec<u8>>,
    /// Why, in words for the log.
    pub cause: Cow<'static, str>,
}

/// Compiles the checks of a group of settings, in the order nginx runs them.
pub fn compile(settings: &Settings, names: &Names) -> std::result::Result<Vec<Check>, String> {
    let mut checks = Vec::new();
    if !settings.access.is_empty() {
        checks.push(Check::Networks(networks::Rules::compile(&settings.access)?));
    }
    checks.extend(password::Password::compile(settings, names)?.map(Check::Password));
    checks.extend(request::Request::compile(settings, names)?.map(Check::Request));
    Ok(checks)
}

/// Runs the checks of the route; an answer if they refuse the request.
pub async fn check(ex: &mut Exchange) -> Result<Option<Response>> {
    if ex.settings().checks.is_empty() || !ex.is_main() {
        return Ok(None);
    }
    // Boxed: routes without checks don't pay for the size of this.
    Box::pin(run(ex)).await
}

async fn run(ex: &mut Exchange) -> Result<Option<Response>> {
    let plan = ex.plan.clone();
    let settings = &plan.settings[ex.settings_index() as usize];
    let mut refused: Option<Refusal> = None;
    for check in &settings.checks {
        match (check.verdict(ex).await?, settings.satisfy) {
            (Verdict::Silent, _) | (Verdict::Granted, Satisfy::All) => {}
            (Verdict::Granted, Satisfy::Any) => return Ok(None),
            (Verdict::Refused(refusal), Satisfy::Any) if matches!(refusal.status, 401 | 403) => {
                // A client that could log in is asked to.
                if refused.as_ref().is_none_or(|before| before.status != 401) {
                    refused = Some(refusal);
                }
            }
            (Verdict::Refused(refusal), _) => {
                refused = Some(refusal);
                break;
            }
        }
    }
    let Some(refusal) = refused else { return Ok(None) };
    if refusal.status == 401 && settings.auth_delay.0 > 0 {
        tokio::time::sleep(Duration::from_millis(settings.auth_delay.0)).await;
    }
    Ok(Some(refuse(ex, refusal)))
}

impl Check {
    async fn verdict(&self, ex: &mut Exchange) -> Result<Verdict> {
        match self {
            Self::Networks(rules) => Ok(rules.verdict(ex)),
            Self::Password(password) => password.verdict(ex).await,
            Self::Request(request) => request.verdict(ex).await,
        }
    }
}

fn refuse(ex: &mut Exchange, refusal: Refusal) -> Response {
    let response = page::of_status(ex, refusal.status);
    ex.challenges = refusal.challenges;
    ex.failure = Some(refusal.cause.into_owned());
    response
}
