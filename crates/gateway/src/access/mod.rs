//! The access phase (nginx: the access modules and `satisfy`): who may see the content.
//!
//! A new check is one file, with its settings, and one line in the list of rooms (`modules.rs`). Subrequests
//! pass: they are made on behalf of a request that was checked.
pub mod crypt;
pub mod networks;
pub mod origin;
pub mod password;
pub mod realip;
pub mod request;
pub mod users;

use crate::error::Result;
use crate::exchange::{Exchange, Response};
use crate::kept;
use crate::page;
use crate::scope::{Refusal, Room, Verdict};
use crate::units::Millis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Access control.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whether `all` checks of a client (address, password, …) must let it in, or `any`. Default: all (nginx: `satisfy`).
    pub satisfy: Satisfy,
    /// Time a client that is answered 401 waits for it, against guessing (nginx: `auth_delay`). Default: 0.
    pub auth_delay: Millis,
}

impl Default for Settings {
    fn default() -> Self {
        Self { satisfy: Satisfy::All, auth_delay: Millis(0) }
    }
}

kept!(Settings);

impl Room for Settings {
    const TITLE: &'static str = "Access control";
}

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

/// Runs the checks of the route; an answer if they refuse the request.
pub async fn check(ex: &mut Exchange) -> Result<Option<Response>> {
    if ex.settings().checks.is_empty() || !ex.is_main() {
        return Ok(None);
    }
    // Boxed: routes without checks don't pay for the size of this.
    Box::pin(run(ex)).await
}

async fn run(ex: &mut Exchange) -> Result<Option<Response>> {
    let scope = ex.scope.clone();
    let checks = &scope.settings[ex.settings_index() as usize];
    let settings = checks.get::<Settings>();
    let mut refused: Option<Refusal> = None;
    for check in &checks.checks {
        match (check.verdict(ex).await?, settings.satisfy) {
            (Verdict::Silent, _) | (Verdict::Granted, Satisfy::All) => {}
            (Verdict::Granted, Satisfy::Any) => return Ok(None),
            (Verdict::Refused(refusal), Satisfy::Any) if matches!(refusal.status, 401 | 403) => {
                // A client that could log in is asked to.
                if refused.as_ref().is_none_or(|before| before.status != 401) {
                    refused = Some(refusal);
                }
            }
            (Verdict::Refused(refusal) | Verdict::Final(refusal), _) => {
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

fn refuse(ex: &mut Exchange, refusal: Refusal) -> Response {
    let response = page::of_status(ex, refusal.status);
    ex.challenges = refusal.challenges;
    ex.failure = Some(refusal.cause.into_owned());
    response
}

#[cfg(test)]
mod tests;
