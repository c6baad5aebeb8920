//! Redirects (nginx: `return 301 …`).
use crate::backend::outcome::Outcome;
use crate::backend::{Handler, Place};
use crate::error::{Error, Kind, Result};
use crate::exchange::Exchange;
use crate::page;
use crate::vars::{Sent, Template};
use buchner_wire::headers::is_valid_value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A redirect (nginx: `return 301 …`).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename = "Redirect", deny_unknown_fields)]
pub struct Config {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// The `Location`, with variables.
    pub to: String,
}

/// A redirect of all requests.
pub struct Redirect {
    status: u16,
    location: Template,
}

impl Handler for Redirect {
    type Config = Config;

    const NAMES_TYPE: bool = false;

    fn compile(config: &Config, place: &Place<'_>) -> std::result::Result<Self, String> {
        if !matches!(config.status, 301 | 302 | 303 | 307 | 308) {
            return Err(format!("redirect.status: {} is not a redirect (301, 302, 303, 307, 308)", config.status));
        }
        let location = Template::compile(&config.to, place.cx.names).map_err(|e| format!("redirect.to: {e}"))?;
        Ok(Self { status: config.status, location })
    }

    async fn handle(&self, ex: &mut Exchange) -> Result<Outcome> {
        let mut value = Vec::new();
        self.location.write(ex, Sent { status: self.status, ..Sent::default() }, &mut value);
        if !is_valid_value(&value) {
            return Err(Error::new(Kind::BadRequest(400), "the redirect's target has characters no header may have"));
        }
        Ok(Outcome::Respond(page::redirect(ex, self.status, &value)))
    }
}
