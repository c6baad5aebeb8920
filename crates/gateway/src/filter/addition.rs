//! Answers of subrequests before and behind a body (nginx: the addition module).
use crate::body::{Body, RequestBody, Source};
use crate::config::Settings;
use crate::error::Result;
use crate::exchange::{Exchange, Response};
use crate::filter::types::Types;
use crate::filter::weaken;
use crate::subrequest;
use buchner_wire::headers::HeaderId;
use buchner_wire::method::Method;
use bytes::Bytes;
use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

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

/// Whether [`apply`] would change the body.
pub fn applies(ex: &Exchange, response: &Response) -> bool {
    let Some(addition) = &ex.settings().filters.addition else { return false };
    let some = addition.before.is_some() || addition.after.is_some();
    some && response.status == 200 && ex.is_main() && addition.types.has(&response.headers)
}

/// Makes the subrequests and puts their bodies around the answer's.
pub async fn apply(ex: &Exchange, response: &mut Response) {
    if !applies(ex, response) {
        return;
    }
    let plan = ex.plan.clone();
    let Some(addition) = &plan.settings[ex.settings_index() as usize].filters.addition else { return };
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
