//! Redirects and fixed answers (nginx: return).
use crate::backend::outcome::Outcome;
use crate::body::Body;
use crate::error::{Error, Kind, Result};
use crate::exchange::conditions::IfModifiedSince;
use crate::exchange::{Exchange, Response};
use crate::page;
use crate::vars::{Names, Sent, Template};
use buchner_wire::headers::{HeaderId, is_valid_value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A redirect (nginx: `return 301 …`).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// The `Location`, with variables.
    pub to: String,
}

/// A fixed answer (nginx: `return 200 …`).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Respond {
    /// Status, 200 to 599; 444 closes the connection without an answer.
    pub status: u16,
    /// Body, with variables. Default: none (errors get their page).
    #[serde(default)]
    pub body: Option<String>,
    /// `Content-Type`. Default: text/plain.
    #[serde(default)]
    pub content_type: Option<String>,
}

/// An answer that no other server is asked for.
pub struct Fixed {
    status: u16,
    location: Option<Template>,
    body: Option<Template>,
    content_type: String,
}

impl Fixed {
    /// A redirect.
    pub fn redirect(config: &Redirect, names: &Names) -> std::result::Result<Self, String> {
        if !matches!(config.status, 301 | 302 | 303 | 307 | 308) {
            return Err(format!("redirect.status: {} is not a redirect (301, 302, 303, 307, 308)", config.status));
        }
        let location = Template::compile(&config.to, names).map_err(|e| format!("redirect.to: {e}"))?;
        Ok(Self { status: config.status, location: Some(location), body: None, content_type: String::new() })
    }

    /// A status, with a body or the built-in page.
    pub fn respond(config: &Respond, names: &Names) -> std::result::Result<Self, String> {
        if !(200..600).contains(&config.status) {
            return Err(format!("respond.status: {} is not a final status (200 to 599)", config.status));
        }
        let body = config.body.as_deref().map(|body| Template::compile(body, names)).transpose();
        let body = body.map_err(|e| format!("respond.body: {e}"))?;
        let content_type = config.content_type.clone().unwrap_or_else(|| "text/plain; charset=utf-8".into());
        Ok(Self { status: config.status, location: None, body, content_type })
    }

    /// Answers.
    pub fn handle(&self, ex: &mut Exchange) -> Result<Outcome> {
        if self.status == 444 {
            return Err(Error::new(Kind::Close(444), "closed by configuration").closing());
        }
        let sent = Sent { status: self.status, ..Sent::default() };
        if let Some(location) = &self.location {
            let mut value = Vec::new();
            location.write(ex, sent, &mut value);
            if !is_valid_value(&value) {
                return Err(Error::new(
                    Kind::BadRequest(400),
                    "the redirect's target has characters no header may have",
                ));
            }
            return Ok(Outcome::Respond(page::redirect(ex, self.status, &value)));
        }
        let Some(body) = &self.body else {
            return Ok(Outcome::Respond(page::of_status(ex, self.status)));
        };
        let mut text = Vec::new();
        body.write(ex, sent, &mut text);
        let mut response = Response::new(self.status, Body::Full(text.into()));
        response.headers.push(HeaderId::ContentType, self.content_type.as_bytes());
        response.conditions = Some(IfModifiedSince::Exact);
        Ok(Outcome::Respond(response))
    }
}
