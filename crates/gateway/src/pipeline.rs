//! The line a request walks between its head and its answer:
//! `[ server rewrite → location → rewrite ⟲ → preaccess → access → precontent → content → response filters ] → log`, entered again by
//! every internal redirect.
use crate::accel;
use crate::access;
use crate::access::realip;
use crate::backend::outcome::Outcome;
use crate::body::{Body, RequestBody};
use crate::error::{Error, Kind, RAISE_LIMIT, Result};
use crate::error_page::{self, Pages};
use crate::exchange::{Entry, Exchange, Response};
use crate::filter::{self, conditional};
use crate::limit;
use crate::mirror;
use crate::page;
use crate::plan::{Line, Route, Server};
use crate::rewrite::escape::{Escape, escape};
use crate::rewrite::{self, Ran};
use crate::route::Located;
use crate::scope::Scope;
use crate::settings::limits;
use crate::vars::Sent;
use crate::waf;
use buchner_wire::headers::HeaderId;
use buchner_wire::method::Method;

/// Changes of the path of one request, by internal redirects and rewrites (nginx has the same number).
const MAX_REDIRECTS: u8 = 10;
/// Where authorities look for responses to their challenges (RFC 8555 section 8.3).
const CHALLENGES: &[u8] = b"/.well-known/acme-challenge/";

/// Walks one request through the phases and the filters.
pub async fn run(ex: &mut Exchange) -> Response {
    if ex.thread.shared.challenges.any() {
        if let Some(response) = challenge(ex) {
            return response;
        }
    }
    let mut response = answer(ex, None).await;
    while let Some(refusal) = filter::apply(ex, &mut response).await {
        response = answer(ex, Some(refusal)).await;
    }
    ex.upstream.passing = false;
    response
}

/// The response to a challenge of a certificate authority (HTTP-01). No setting has a say in it: a redirect to HTTPS or an access
/// rule would keep the authority out.
fn challenge(ex: &Exchange) -> Option<Response> {
    let asks = ex.is_main()
        && ex.refusal.is_none()
        && matches!(ex.request.method, Method::Get | Method::Head)
        && matches!(ex.request.body, RequestBody::Empty);
    let token = ex.request.path.strip_prefix(CHALLENGES).filter(|_| asks)?;
    let mut response = Response::new(200, Body::Full(ex.thread.shared.challenges.find(token)?));
    response.headers.push(HeaderId::ContentType, b"application/octet-stream");
    Some(response)
}

/// What the phases and error pages make of a request; or error pages of an answer that is there.
async fn answer(ex: &mut Exchange, mut given: Option<Response>) -> Response {
    let mut response = loop {
        let outcome = match given.take() {
            Some(response) => Ok(Outcome::Respond(response)),
            None => phases(ex).await,
        };
        let response = match outcome {
            Ok(Outcome::Respond(response)) if response.conditions.is_none() => response,
            Ok(Outcome::Respond(response)) => conditional::apply(ex, response),
            Ok(Outcome::Locate) => match again(ex, Entry::Server) {
                Ok(()) => continue,
                Err(error) => page::of_error(ex, &error),
            },
            Ok(Outcome::Redirect(uri)) => match redirect(ex, &uri) {
                Ok(()) => continue,
                Err(error) => page::of_error(ex, &error),
            },
            Err(error) => page::of_error(ex, &error),
        };
        let last = match error_page(ex, &response) {
            Some(Replacement::Redirect(response)) => response,
            // The body is that page's to read: a named route may be an upload's.
            Some(Replacement::Uri(uri)) if redirect(ex, &uri).is_ok() => continue,
            _ => response,
        };
        match skip_body(ex, last) {
            Ok(response) => break response,
            Err(broken) => given = Some(page::of_error(ex, &broken)),
        }
    };
    if response.own_error && matches!(response.status, 494..=497) {
        response.status = 400;
    }
    if let Some(status) = ex.error_status.filter(|_| takes_status(&response)) {
        response.status = status;
        if !matches!(status, 200 | 206 | 304) {
            // The date is that of the page, not of what was asked for.
            response.headers.remove(HeaderId::LastModified);
        }
    }
    for challenge in std::mem::take(&mut ex.challenges) {
        response.headers.push(HeaderId::WwwAuthenticate, &challenge);
    }
    if let Some(location) = ex.location.take().filter(|_| !response.headers.contains(HeaderId::Location)) {
        response.headers.push(HeaderId::Location, &location);
    }
    accel::restore(ex, &mut response);
    response
}

/// What the phases go by on a server.
fn server(scope: &Scope, index: u32) -> Option<&Server> {
    scope.get::<Line>()?.0.get(index as usize)
}

/// The phases up to the content, from where the exchange enters them.
async fn phases(ex: &mut Exchange) -> Result<Outcome> {
    if let Some(refusal) = ex.refusal.take() {
        return Err(*refusal);
    }
    if &ex.request.path[..] == b"*" {
        return Ok(Outcome::Respond(page::of_options()));
    }
    let scope = ex.scope.clone();
    let Some(server) = server(&scope, ex.server) else {
        return Err(Error::new(Kind::NotFound, "no server is configured"));
    };
    let mut entry = std::mem::take(&mut ex.entry);
    if entry == Entry::Server && !server.rewrite.is_empty() {
        ex.set_route(None);
        if let Ran::Respond(response) = rewrite::run(&server.rewrite, ex)? {
            return Ok(Outcome::Respond(response));
        }
    }
    let route = loop {
        ex.path_changed = false;
        if let Located::Slash(index) = locate(ex, server, &entry)? {
            return Ok(Outcome::Respond(add_slash(ex, index, &server.routes[index as usize])));
        }
        if !matches!(entry, Entry::Named(_)) {
            check_length(ex)?;
        }
        let Some(route) = ex.route_index().map(|route| &server.routes[route as usize]) else {
            return Err(Error::new(Kind::NotFound, "no route matches this path"));
        };
        if route.rewrite.is_empty() {
            break route;
        }
        if let Ran::Respond(response) = rewrite::run(&route.rewrite, ex)? {
            return Ok(Outcome::Respond(response));
        }
        if !ex.path_changed {
            // The block of a condition that held is the route from here on.
            break ex.route_index().map_or(route, |route| &server.routes[route as usize]);
        }
        entry = Entry::Location;
        count(ex)?;
    };
    realip::apply(ex);
    if let Some(refusal) = limit::check(ex).await {
        return Ok(Outcome::Respond(refusal));
    }
    if let Some(refusal) = waf::check(ex).await? {
        return Ok(Outcome::Respond(refusal));
    }
    if let Some(refusal) = access::check(ex).await? {
        return Ok(Outcome::Respond(refusal));
    }
    if let Some(try_files) = &route.try_files {
        if let Some(elsewhere) = try_files.run(ex)? {
            return Ok(elsewhere);
        }
    }
    content(ex, route).await
}

/// Location phase: finds the route.
fn locate(ex: &mut Exchange, server: &Server, entry: &Entry) -> Result<Located> {
    ex.set_route(None);
    let found = match entry {
        Entry::Named(name) => match server.named.get(name.as_str()) {
            Some(index) => Some(Located::Route(*index)),
            None => return Err(Error::new(Kind::Internal, format!("could not find named location {name:?}"))),
        },
        _ => server.table.find(ex, &ex.request.path, &*server.routes)?,
    };
    let Some(located @ (Located::Route(index) | Located::Slash(index))) = found else {
        return Err(Error::new(Kind::NotFound, "no route matches this path"));
    };
    if server.routes[index as usize].internal && !ex.internal {
        ex.set_route(Some(index)); // the refusal has the fields and error pages of this route
        return Err(Error::new(Kind::NotFound, "the route is internal"));
    }
    let except = server.routes[index as usize].limit_except.as_ref();
    ex.set_route(Some(except.map_or(index, |except| except.route(ex, index))));
    Ok(located)
}

/// The redirect to a route's path, which is the request's with a slash at its end.
fn add_slash(ex: &Exchange, index: u32, route: &Route) -> Response {
    let path = ex.server().routes[index as usize].path.as_bytes();
    let mut location = Vec::with_capacity(path.len() + 64);
    escape(path, Escape::Uri, &mut location);
    if let Some(query) = ex.request.query.as_ref().filter(|query| !query.is_empty()) {
        location.push(b'?');
        location.extend_from_slice(query);
    }
    // A form sent to an app stays a form; nginx has 301 for all methods.
    let keeps = route.backend.keeps_forms() && !matches!(ex.request.method, Method::Get | Method::Head);
    page::redirect(ex, if keeps { 308 } else { 301 }, &location)
}

/// The declared size of the body is checked as soon as the route's limit is known.
fn check_length(ex: &mut Exchange) -> Result<()> {
    let limit = ex.settings().get::<limits::Settings>().max_body.0;
    if let Some(length) = ex.request.body.length().filter(|length| limit != 0 && *length > limit) {
        let cause = format!("the body has {length} bytes; the limit is {limit}{RAISE_LIMIT}");
        ex.request.body = RequestBody::Empty; // it is not read, so that an error page is not refused for it again
        return Err(Error::new(Kind::BodyTooLarge, cause));
    }
    Ok(())
}

/// What has come of a body that nobody read is dropped here, as nginx does: one with broken framing is refused, unless the
/// request is refused already, and then the connection closes.
fn skip_body(ex: &mut Exchange, mut response: Response) -> Result<Response> {
    let RequestBody::Stream(source) = &mut ex.request.body else { return Ok(response) };
    let Err(broken) = source.skip_ready() else { return Ok(response) };
    ex.request.body = RequestBody::Empty;
    if !response.own_error {
        return Err(broken);
    }
    response.close = true;
    Ok(response)
}

/// Content phase: the route's backend answers.
async fn content(ex: &mut Exchange, route: &Route) -> Result<Outcome> {
    if ex.local_only && route.backend.passes_on() {
        return Err(Error::new(Kind::NotFound, "the error page of a request that cannot be read is a local one"));
    }
    let limit = ex.settings().get::<limits::Settings>().max_body.0;
    if let RequestBody::Stream(source) = &mut ex.request.body {
        // A declared length was compared with the limit of the route that was found by the path; nginx does not ask the
        // named route again that the request went on to.
        source.set_limit(if source.length().is_none() { limit } else { 0 });
    }
    if !ex.settings().get::<mirror::Settings>().mirror.is_empty() && !ex.local_only {
        mirror::send(ex).await?;
    }
    match route.backend.handle(ex).await? {
        Outcome::Respond(response) => accel::follow(ex, route.backend.names_type(), response),
        elsewhere => Ok(elsewhere),
    }
}

/// What an `error_page` puts in place of an answer.
enum Replacement {
    /// What this URI or named route answers.
    Uri(Vec<u8>),
    /// A redirect.
    Redirect(Response),
}

/// Whether the answer of an error page takes the status that led to it: not where it failed itself, and not parts of one.
fn takes_status(response: &Response) -> bool {
    !response.own_error && matches!(response.status, 200..=205 | 207..=299 | 400..)
}

/// The `error_page` that replaces this answer, if one is configured for its status. Pages of error pages are looked for
/// where `recursive_error_pages` says so.
fn error_page(ex: &mut Exchange, response: &Response) -> Option<Replacement> {
    if response.status < 300 || response.unsent.is_some() || ex.in_error_page {
        return None;
    }
    let page = ex.settings().get::<Pages>().0.get(&response.status)?;
    let settings = ex.settings().get::<error_page::Settings>();
    if !(response.own_error || settings.intercept_errors) {
        return None;
    }
    let recursive = settings.recursive_error_pages;
    let sent = Sent { status: response.status, headers: Some(&response.headers), ..Sent::default() };
    let uri = page.to.value(ex, sent);
    let status = page.status;
    if response.status == 401 && !response.own_error {
        // An intercepted response: without them a browser would not ask for a password.
        ex.challenges.extend(response.headers.get_all(HeaderId::WwwAuthenticate).map(<[u8]>::to_vec));
    }
    ex.in_error_page = !recursive;
    if !uri.starts_with(b"/") && !uri.starts_with(b"@") {
        let status = status.filter(|status| matches!(status, 301 | 302 | 303 | 307 | 308)).unwrap_or(302);
        return Some(Replacement::Redirect(page::redirect(ex, status, &uri)));
    }
    ex.location = response.headers.get(HeaderId::Location).filter(|_| response.own_error).map(<[u8]>::to_vec);
    ex.error_status = match status {
        Some(0) => None,
        Some(status) => Some(status),
        None => Some(response.status),
    };
    if !uri.starts_with(b"@") && ex.request.method != Method::Head {
        ex.request.method = Method::Get;
    }
    if let Some(kept) = &mut ex.kept {
        // The page has a type of its own.
        kept.remove(HeaderId::ContentType);
    }
    Some(Replacement::Uri(uri))
}

/// Goes back into the phases with another URI, or to a named route.
fn redirect(ex: &mut Exchange, uri: &[u8]) -> Result<()> {
    if uri.starts_with(b"@") {
        return again(ex, Entry::Named(String::from_utf8_lossy(uri).into_owned()));
    }
    ex.set_uri(uri);
    again(ex, Entry::Server)
}

/// Goes back into the phases.
fn again(ex: &mut Exchange, entry: Entry) -> Result<()> {
    count(ex)?;
    ex.upstream.passing = false;
    ex.internal = true;
    ex.in_location = true;
    ex.path_after_alias = false;
    ex.as_sent &= entry != Entry::Server;
    ex.entry = entry;
    Ok(())
}

/// Counts a change of the path.
fn count(ex: &mut Exchange) -> Result<()> {
    ex.redirects += 1;
    if ex.redirects > MAX_REDIRECTS {
        let path = String::from_utf8_lossy(&ex.request.path).into_owned();
        let cause = format!("more than {MAX_REDIRECTS} rewrites or internal redirects, the last to {path}");
        return Err(Error::new(Kind::RedirectCycle, cause));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
