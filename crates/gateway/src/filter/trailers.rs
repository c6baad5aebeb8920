//! Trailers added to responses (nginx: `add_trailer`).
use crate::exchange::{Exchange, Response};
use crate::filter::body;
use crate::filter::headers::{self, AddHeader, Added, is_usual};
use crate::kept;
use crate::scope::{self, Compiling, Filter, Filtered, Room};
use crate::vars::Sent;
use buchner_wire::headers::{HeaderId, Headers};
use buchner_wire::method::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Trailers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Fields sent behind a body, name to value with variables, or a list of tables (nginx: `add_trailer`). Default: none.
    pub add_trailers: Vec<AddHeader>,
}

kept!(Settings);

impl Room for Settings {
    const TITLE: &'static str = "Trailers";

    fn compile(&self, cx: &Compiling<'_>, out: &mut scope::Settings) -> std::result::Result<(), String> {
        let fields = headers::compile(&self.add_trailers, cx.names).map_err(|e| format!("add_trailers: {e}"))?;
        if !fields.is_empty() {
            let trailers = Arc::new(AddTrailers(fields));
            out.filters.push(Box::new(trailers.clone()));
            out.put(Some(trailers));
        }
        Ok(())
    }
}

/// Adds trailers.
pub struct AddTrailers(Vec<Added>);

kept!(Option<Arc<AddTrailers>>);

// Trailers follow the last chunk, so the body is sent in chunks.
impl Filter for Arc<AddTrailers> {
    fn apply<'f>(&'f self, ex: &'f Exchange, response: &'f mut Response) -> Filtered<'f> {
        let takes = ex.is_main() && ex.request.version.has_trailers() && ex.request.method != Method::Head;
        if takes && self.0.iter().any(|trailer| trailer.always || is_usual(response.status)) {
            response.headers.remove(HeaderId::ContentLength);
            body::unmeasured(response);
        }
        Filtered::Done
    }
}

/// Adds the configured trailers to those of a body.
pub fn add(ex: &Exchange, status: u16, headers: &Headers, trailers: &mut Headers) {
    let Some(configured) = ex.settings().get::<Option<Arc<AddTrailers>>>().as_ref().filter(|_| ex.is_main()) else {
        return;
    };
    let usual = is_usual(status);
    for trailer in configured.0.iter().filter(|trailer| usual || trailer.always) {
        let sent = Sent { status, headers: Some(headers), trailers: Some(trailers), ..Sent::default() };
        let value = trailer.value.value(ex, sent);
        if !value.is_empty() {
            trailers.push_field(&trailer.name, &value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::add as add_to;
    use crate::testing::{Site, response};
    use buchner_wire::headers::Headers;
    use serde_json::json;

    #[test]
    fn a_body_with_trailers_has_no_length_so_that_it_is_sent_in_chunks() {
        let add = json!([{"name": "X-T", "value": "$status"}]);
        let site = Site::with(json!({"add_trailers": add}));
        for (request, status, length) in
            [("GET /", 200, None), ("GET / HTTP/1.0", 200, Some(1)), ("HEAD /", 200, Some(1)), ("GET /", 404, Some(1))]
        {
            let answer = site.filter(&site.exchange(request), response(status, "text/plain", "x"));
            assert_eq!(answer.length, length, "{request} {status}");
        }
    }

    #[test]
    fn trailers_are_added_to_usual_statuses_and_always_where_said() {
        let add = json!([{"name": "X-A", "value": "$status"}, {"name": "X-B", "value": "b", "always": true}]);
        let site = Site::with(json!({"add_trailers": add}));
        let mut ex = site.exchange("GET /");
        site.run(&mut ex);
        for (status, names) in [(200, &["X-A", "X-B"][..]), (404, &["X-B"])] {
            let mut trailers = Headers::default();
            add_to(&ex, status, &Headers::default(), &mut trailers);
            let found: Vec<_> =
                trailers.iter().map(|trailer| String::from_utf8_lossy(trailer.name).into_owned()).collect();
            assert_eq!(found, names, "{status}");
        }
    }
}
