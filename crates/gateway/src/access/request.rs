//! By the answer to a subrequest (nginx: auth_request): 2xx lets the request in, 401 and 403 are passed on.
use crate::body::RequestBody;
use crate::error::Result;
use crate::exchange::Exchange;
use crate::kept;
use crate::kinds::Text;
use crate::rewrite::{self, Target};
use crate::scope::{self, Boxed, Check, Compiling, Refusal, Room, Verdict};
use crate::subrequest;
use crate::vars::{Names, Sent, Template};
use buchner_wire::headers::HeaderId;
use buchner_wire::method::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Access by subrequest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The client may come in if a subrequest for this URI is answered 2xx; 401 and 403 are passed on, anything else is 500; `off`: no check (nginx: `auth_request`). Default: off.
    pub auth_request: Option<String>,
    /// Variables that are set when the subrequest is answered, by name; the values may use variables of the answer (nginx: `auth_request_set`). Default: none.
    pub auth_request_set: BTreeMap<String, Text>,
}

kept!(Settings);

impl Room for Settings {
    const TITLE: &'static str = "Access by subrequest";

    fn compile(&self, cx: &Compiling<'_>, out: &mut scope::Settings) -> std::result::Result<(), String> {
        if let Some(check) = Request::compile(self, cx.names)? {
            out.checks.push(Box::new(check));
        }
        Ok(())
    }
}

/// A compiled check.
pub struct Request {
    uri: Box<[u8]>,
    /// Variables that are set from the answer.
    set: Vec<(Target, Template)>,
}

impl Request {
    /// Compiles the check, if the settings have one.
    pub fn compile(settings: &Settings, names: &Names) -> std::result::Result<Option<Self>, String> {
        let Some(uri) = settings.auth_request.as_ref().filter(|uri| *uri != "off") else { return Ok(None) };
        if !uri.starts_with('/') {
            return Err(format!("auth_request: {uri:?} is no URI: it begins with \"/\""));
        }
        let mut set = Vec::with_capacity(settings.auth_request_set.len());
        for (name, value) in &settings.auth_request_set {
            let target = Target::find(name, names).ok_or_else(|| format!("auth_request_set: ${name} cannot be set"))?;
            set.push((target, Template::compile(value, names).map_err(|e| format!("auth_request_set.{name}: {e}"))?));
        }
        Ok(Some(Self { uri: uri.as_bytes().into(), set }))
    }

    /// Asks whether the client may come in. The request's body stays where it is.
    async fn decide(&self, ex: &mut Exchange) -> Result<Verdict> {
        let mut child = subrequest::make(ex, &self.uri, Method::Get, RequestBody::Empty)?;
        let response = subrequest::run(&mut child).await;
        let status = response.status;
        let sent = Sent { status, headers: Some(&response.headers), ..Sent::default() };
        for (target, value) in &self.set {
            rewrite::run::set(ex, target, value.value(&child, sent).into());
        }
        let challenges = || response.headers.get_all(HeaderId::WwwAuthenticate).map(<[u8]>::to_vec).collect();
        let refusal = match status {
            200..=299 => None,
            401 => {
                Some(Refusal { status, challenges: challenges(), cause: "the auth request was answered 401".into() })
            }
            403 => Some(Refusal { status, challenges: vec![], cause: "the auth request was answered 403".into() }),
            _ => {
                let why = child.failure.take().map_or_else(String::new, |cause| format!(" ({cause})"));
                let cause = format!("auth request unexpected status: {status}{why}");
                Some(Refusal { status: 500, challenges: vec![], cause: cause.into() })
            }
        };
        subrequest::discard(response).await;
        Ok(refusal.map_or(Verdict::Granted, Verdict::Refused))
    }
}

impl Check for Request {
    fn verdict<'c>(&'c self, ex: &'c mut Exchange) -> Boxed<'c, crate::error::Result<Verdict>> {
        Box::pin(self.decide(ex))
    }
}
