//! Fixed responses (nginx: `return 200 …`).
use crate::backend::outcome::Outcome;
use crate::backend::{Handler, Place};
use crate::body::Body;
use crate::error::{Error, Kind, Result};
use crate::exchange::conditions::IfModifiedSince;
use crate::exchange::{Exchange, Response};
use crate::page;
use crate::vars::{Sent, Template};
use buchner_wire::headers::HeaderId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A fixed answer (nginx: `return 200 …`).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename = "Respond", deny_unknown_fields)]
pub struct Config {
    /// Status, 200 to 599; 444 closes the connection without an answer.
    pub status: u16,
    /// Body, with variables. Default: none (errors get their page).
    #[serde(default)]
    pub body: Option<String>,
    /// `Content-Type`. Default: text/plain.
    #[serde(default)]
    pub content_type: Option<String>,
}

/// A status, with a body or the built-in page.
pub struct Respond {
    status: u16,
    body: Option<Template>,
    content_type: String,
}

impl Handler for Respond {
    type Config = Config;

    const NAMES_TYPE: bool = false;

    fn compile(config: &Config, place: &Place<'_>) -> std::result::Result<Self, String> {
        if !(200..600).contains(&config.status) {
            return Err(format!("respond.status: {} is not a final status (200 to 599)", config.status));
        }
        let body = config.body.as_deref().map(|body| Template::compile(body, place.cx.names)).transpose();
        let body = body.map_err(|e| format!("respond.body: {e}"))?;
        let content_type = config.content_type.clone().unwrap_or_else(|| "text/plain; charset=utf-8".into());
        Ok(Self { status: config.status, body, content_type })
    }

    async fn handle(&self, ex: &mut Exchange) -> Result<Outcome> {
        if self.status == 444 {
            return Err(Error::new(Kind::Close(444), "closed by configuration").closing());
        }
        let Some(body) = &self.body else {
            return Ok(Outcome::Respond(page::of_status(ex, self.status)));
        };
        let mut text = Vec::new();
        body.write(ex, Sent { status: self.status, ..Sent::default() }, &mut text);
        let mut response = Response::new(self.status, Body::Full(text.into()));
        response.headers.push(HeaderId::ContentType, self.content_type.as_bytes());
        response.conditions = Some(IfModifiedSince::Exact);
        Ok(Outcome::Respond(response))
    }
}
