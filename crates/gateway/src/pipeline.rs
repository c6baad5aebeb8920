//! The line a request walks between its head and its answer:
//! `[ location → access → content → response filters ] → log`, entered again by every internal redirect.
use crate::backend::Outcome;
use crate::error::{Error, Kind, Result};
use crate::exchange::{Exchange, Response};
use crate::filter;
use crate::http::body::RequestBody;
use crate::http::page;
use buchner_wire::method::Method;

/// Internal redirects of one request (nginx has the same number).
const MAX_REDIRECTS: u8 = 10;

/// Walks one request through the phases.
pub async fn run(ex: &mut Exchange) -> Response {
    let mut response = loop {
        let outcome = match locate(ex) {
            Ok(()) => content(ex).await,
            Err(error) => Err(error),
        };
        let response = match outcome {
            Ok(Outcome::Respond(response)) => response,
            Ok(Outcome::Locate) => match again(ex) {
                Ok(()) => continue,
                Err(error) => page::of_error(ex, &error),
            },
            Ok(Outcome::Redirect(uri)) => match redirect(ex, &uri) {
                Ok(()) => continue,
                Err(error) => page::of_error(ex, &error),
            },
            Err(error) => page::of_error(ex, &error),
        };
        match error_page(ex, &response) {
            Some(uri) if redirect(ex, &uri).is_ok() => {}
            _ => break response,
        }
    };
    if let Some(status) = ex.error_status.filter(|_| response.status == 200) {
        response.status = status;
    }
    filter::apply(ex, &mut response);
    response
}

/// Location phase: finds the route.
fn locate(ex: &mut Exchange) -> Result<()> {
    let named = ex.named.take();
    let server = ex.server();
    let found = match &named {
        Some(name) => server.table.named(name),
        None => server.table.find(&ex.request.path),
    };
    let open = found.filter(|route| ex.internal || !server.routes[*route as usize].internal);
    if open.is_none() {
        ex.route = None;
        return Err(Error::new(Kind::NotFound, "no route matches this path"));
    }
    ex.route = found;
    Ok(())
}

/// Content phase: the declared size of the body is checked, then the route's backend answers.
async fn content(ex: &mut Exchange) -> Result<Outcome> {
    let limit = ex.settings().max_body.0;
    if let Some(length) = ex.request.body.length().filter(|length| limit != 0 && *length > limit) {
        let cause =
            format!("the body has {length} bytes; the limit is {limit} (max_body, nginx: client_max_body_size)");
        return Err(Error::new(Kind::BodyTooLarge, cause));
    }
    if let RequestBody::Stream(source) = &mut ex.request.body {
        source.set_limit(limit);
    }
    let plan = ex.plan.clone();
    match ex.route.and_then(|route| plan.servers[ex.server as usize].routes.get(route as usize)) {
        Some(route) => match route.backend.handle(ex).await? {
            Outcome::Respond(response) => filter::sendfile::follow(ex, response),
            elsewhere => Ok(elsewhere),
        },
        None => Err(Error::new(Kind::NotFound, "no route matches this path")),
    }
}

/// The `error_page` that replaces this answer, if one is configured for its status. Pages of error pages are not looked for.
fn error_page(ex: &mut Exchange, response: &Response) -> Option<Vec<u8>> {
    if response.status < 300 || ex.error_status.is_some() {
        return None;
    }
    let settings = ex.settings();
    if settings.error_page.is_empty() || !(response.own_error || settings.intercept_errors) {
        return None;
    }
    let uri = settings.error_page.get(&response.status)?.clone().into_bytes();
    ex.error_status = Some(response.status);
    if !uri.starts_with(b"@") && ex.request.method != Method::Head {
        ex.request.method = Method::Get;
    }
    Some(uri)
}

/// Goes back to the location phase with another URI.
fn redirect(ex: &mut Exchange, uri: &[u8]) -> Result<()> {
    match uri.strip_prefix(b"@") {
        Some(_) => ex.named = Some(String::from_utf8_lossy(uri).into_owned()),
        None => ex.set_uri(uri),
    }
    again(ex)
}

/// Goes back to the location phase.
fn again(ex: &mut Exchange) -> Result<()> {
    ex.redirects += 1;
    if ex.redirects > MAX_REDIRECTS {
        let to = ex.named.clone().unwrap_or_else(|| String::from_utf8_lossy(&ex.request.path).into_owned());
        let cause = format!("more than {MAX_REDIRECTS} internal redirects, the last to {to}");
        return Err(Error::new(Kind::RedirectCycle, cause));
    }
    ex.internal = true;
    Ok(())
}
