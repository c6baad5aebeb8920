//! Answers of subrequests before and behind a body (nginx: the addition module).
use crate::body::{Body, RequestBody, Source};
use crate::error::Result;
use crate::exchange::{Exchange, Response};
use crate::filter::types::Types;
use crate::filter::weaken;
use crate::kept;
use crate::scope::{self, Compiling, Filter, Filtered, Room};
use crate::subrequest;
use buchner_wire::headers::HeaderId;
use buchner_wire::method::Method;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

/// Additions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// URI whose answer is put before the body; empty: none (nginx: `add_before_body`). Default: none.
    pub add_before_body: Option<String>,
    /// URI whose answer is put behind the body; empty: none (nginx: `add_after_body`). Default: none.
    pub add_after_body: Option<String>,
    /// Media types to which they are added; `*`: all (nginx: `addition_types`). Default: text/html.
    pub addition_types: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { add_before_body: None, add_after_body: None, addition_types: vec!["text/html".into()] }
    }
}

kept!(Settings);

impl Room for Settings {
    const TITLE: &'static str = "Additions";

    fn compile(&self, _: &Compiling<'_>, out: &mut scope::Settings) -> std::result::Result<(), String> {
        if self.add_before_body.is_some() || self.add_after_body.is_some() {
            out.filters.push(Box::new(Addition::compile(self)?));
        }
        Ok(())
    }
}

/// The compiled settings.
pub struct Addition {
    before: Option<Vec<u8>>,
    after: Option<Vec<u8>>,
    types: Types,
}

impl Addition {
    /// Compiles the settings.
    pub fn compile(settings: &Settings) -> std::result::Result<Self, String> {
        let uri = |uri: &Option<String>, name: &str| match uri.as_deref() {
            None | Some("") => Ok(None),
            Some(uri) if uri.starts_with('/') => Ok(Some(uri.as_bytes().to_vec())),
            Some(uri) => Err(format!("{name}: {uri:?} does not begin with /")),
        };
        Ok(Self {
            before: uri(&settings.add_before_body, "add_before_body")?,
            after: uri(&settings.add_after_body, "add_after_body")?,
            types: Types::compile(&settings.addition_types),
        })
    }
}

impl Filter for Addition {
    fn apply<'f>(&'f self, ex: &'f Exchange, response: &'f mut Response) -> Filtered<'f> {
        let some = self.before.is_some() || self.after.is_some();
        if some && response.status == 200 && ex.is_main() && self.types.has(&response.headers) {
            return Filtered::Wait(Box::pin(surround(self, ex, response)));
        }
        Filtered::Done
    }
}

/// Makes the subrequests and puts their bodies around the response's.
async fn surround(addition: &Addition, ex: &Exchange, response: &mut Response) {
    response.headers.remove(HeaderId::ContentLength);
    response.headers.remove(HeaderId::AcceptRanges);
    weaken(response);
    let before = body(ex, addition.before.as_deref()).await;
    let after = body(ex, addition.after.as_deref()).await;
    if ex.request.method == Method::Head {
        response.body = Body::None { length: None };
        return;
    }
    let own = std::mem::replace(&mut response.body, Body::EMPTY);
    let parts = [before, own.into_source().ok(), after].into_iter().flatten().collect();
    response.body = Body::Stream(Box::new(Chain { parts }));
}

async fn body(ex: &Exchange, uri: Option<&[u8]>) -> Option<Box<dyn Source>> {
    let mut child = match subrequest::make(ex, uri?, Method::Get, RequestBody::Empty) {
        Ok(child) => child,
        Err(error) => {
            ex.log_error(&error.cause);
            return None;
        }
    };
    subrequest::run(&mut child).await.body.into_source().ok()
}

/// Bodies one behind the other.
struct Chain {
    parts: VecDeque<Box<dyn Source>>,
}

impl Source for Chain {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        while let Some(part) = self.parts.front_mut() {
            if let Some(chunk) = ready!(part.poll_chunk(cx)?) {
                return Poll::Ready(Ok(Some(chunk)));
            }
            self.parts.pop_front();
        }
        Poll::Ready(Ok(None))
    }

    fn poll_ahead(&mut self, cx: &mut Context<'_>) {
        if let Some(part) = self.parts.front_mut() {
            part.poll_ahead(cx);
        }
    }

    fn length(&self) -> Option<u64> {
        None
    }

    fn flush_each(&self) -> bool {
        self.parts.front().is_some_and(|part| part.flush_each())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Site, response};
    use buchner_wire::headers::HeaderId;
    use serde_json::{Value, json};

    fn site(settings: &Value) -> Site {
        let respond = |text: &str| json!({"respond": {"status": 200, "body": text}});
        Site::new(json!({"settings": settings, "route": [
            {"path": "/", "content": {"respond": {"status": 200, "body": "own", "content_type": "text/html"}}},
            {"path": "/before", "content": respond("[$uri ")},
            {"path": "/after", "content": respond(" $request_method]")},
        ]}))
    }

    #[test]
    fn the_bodies_of_subrequests_surround_a_page() {
        let site = site(&json!({"add_before_body": "/before", "add_after_body": "/after"}));
        let answer = site.send("POST /");
        assert_eq!((answer.text(), answer.length), ("[/before own GET]", None));
    }

    #[test]
    fn the_entity_tag_becomes_a_weak_one() {
        let site = site(&json!({"add_after_body": "/after"}));
        let mut page = response(200, "text/html", "page");
        page.headers.push(HeaderId::Etag, b"\"1\"");
        let answer = site.filter(&site.exchange("GET /"), page);
        assert_eq!((answer.text(), answer.header("ETag")), ("page GET]", "W/\"1\"".into()));
    }

    #[test]
    fn other_types_and_statuses_stay_as_they_are() {
        let settings = json!({"add_before_body": "/before"});
        let ex = site(&settings);
        for (status, kind) in [(200, "text/plain"), (404, "text/html"), (206, "text/html")] {
            let answer = ex.filter(&ex.exchange("GET /"), response(status, kind, "page"));
            assert_eq!((answer.text(), answer.length), ("page", Some(4)), "{status} {kind}");
        }
    }

    #[test]
    fn a_uri_that_is_no_path_is_refused() {
        let error = Site::check(json!({"settings": {"add_before_body": "before"}})).err().unwrap();
        assert_eq!(error, "settings[0]: add_before_body: \"before\" does not begin with /");
    }
}
