//! The one place where a failure becomes a response.
use crate::body::Body;
use crate::error::{Error, Kind, Result};
use crate::exchange::conditions::Dialect;
use crate::exchange::id::RequestId;
use crate::exchange::{Exchange, Response, Unsent};
use crate::settings::redirects;
use crate::text;
use buchner_wire::h1::{nginx_reason, reason};
use buchner_wire::headers::HeaderId;
use buchner_wire::target;
use std::fmt::Write;

/// Seconds a client is asked to wait when the app is too busy.
const RETRY_AFTER: &[u8] = b"2";

/// The response to a failed request. Notes the cause for the error log.
pub fn of_error(ex: &mut Exchange, error: &Error) -> Response {
    ex.failure = Some(error.cause.to_string());
    let cause = ex.scope.gateway.development.then_some(&*error.cause);
    let mut response = render((error.kind.status(), ex.scope.gateway.wording), cause, wants_json(ex), Some(&ex.id));
    // Who is at fault and why, for whoever holds a response in hand: the kind, never addresses or paths.
    response.headers.push_name(b"X-Buchner-Error", word(error.kind).as_bytes());
    if matches!(error.kind, Kind::QueueFull | Kind::QueueTimeout | Kind::NoWorker | Kind::Exhausted) {
        response.headers.push(HeaderId::RetryAfter, RETRY_AFTER);
    }
    response.close = error.close;
    response.unsent = match error.kind {
        Kind::Close(_) => Some(Unsent::Closed),
        Kind::ClientGone => Some(Unsent::Gone),
        _ => None,
    };
    response
}

/// The built-in page of a status; nothing where nginx has none either.
pub fn of_status(ex: &Exchange, status: u16) -> Response {
    if matches!(status, 300..=308 | 400..=406 | 408..=416 | 421 | 429 | 494..=497 | 500..=505 | 507) {
        return render((status, ex.scope.gateway.wording), None, wants_json(ex), Some(&ex.id));
    }
    let mut response = Response::new(status, Body::EMPTY);
    response.own_error = status >= 400;
    response
}

/// The answer of a bare status in the configuration; 444 and 499 close the connection.
pub fn of_return(ex: &Exchange, status: u16) -> Result<Response> {
    match status {
        444 | 499 => Err(Error::new(Kind::Close(status), "closed by configuration").closing()),
        _ => Ok(of_status(ex, status)),
    }
}

/// The response to `OPTIONS *`, which is about no resource (RFC 9110 section 9.3.7).
pub fn of_options() -> Response {
    let mut response = Response::new(204, Body::EMPTY);
    response.headers.push(HeaderId::Allow, b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    response
}

/// The reason phrase of a status.
pub fn words(dialect: Dialect, status: u16) -> &'static str {
    match dialect {
        Dialect::Nginx => nginx_reason(status),
        Dialect::Rfc9110 => reason(status),
    }
}

/// A redirect to `location`; one to a path of this server becomes a URL where `absolute_redirect` says so.
pub fn redirect(ex: &Exchange, status: u16, location: &[u8]) -> Response {
    let mut response = of_status(ex, status);
    response.own_error = true;
    if location.starts_with(b"/") && ex.settings().get::<redirects::Settings>().absolute_redirect {
        let mut url = Vec::with_capacity(64 + location.len());
        write_origin(ex, &mut url);
        url.extend_from_slice(location);
        response.headers.push(HeaderId::Location, &target::encode(&url));
    } else if !location.is_empty() {
        response.headers.push(HeaderId::Location, &target::encode(location));
    }
    response
}

/// The answer to a head that could not be read; the connection closes behind it.
pub fn of_bad_head(ex: &Exchange, error: &Error) -> Response {
    let mut response = render((error.kind.status(), ex.scope.gateway.wording), Some(&error.cause), false, None);
    if matches!(response.status, 494..=497) {
        response.status = 400;
    }
    response.close = true;
    response
}

/// The response for an exception of an app: `cause` is its type and first line, for the log. In development the page shows
/// what the worker made of it, or the traceback.
pub fn of_exception(ex: &mut Exchange, cause: String, told: &Exception<'_>) -> Response {
    let mut response = if !ex.scope.gateway.development {
        render((500, ex.scope.gateway.wording), None, wants_json(ex), Some(&ex.id))
    } else if told.page.is_empty() || wants_json(ex) {
        render((500, ex.scope.gateway.wording), Some(told.traceback), wants_json(ex), Some(&ex.id))
    } else {
        let text =
            format!("{HEAD}<title>{}</title>{STYLE}<body><div class=split>{}</div>\n", Escaped(&cause), told.page);
        respond(500, text, b"text/html; charset=utf-8")
    };
    response.headers.push_name(b"X-Buchner-Error", word(Kind::Internal).as_bytes());
    ex.failure = Some(cause);
    response
}

/// What a worker says of an exception.
pub struct Exception<'a> {
    /// As Python writes it.
    pub traceback: &'a str,
    /// The inside of a page, of HTML; empty if there is none.
    pub page: &'a str,
}

fn wants_json(ex: &Exchange) -> bool {
    ex.request.headers.get(HeaderId::Accept).is_some_and(|accept| {
        let at = |what: &[u8]| memchr::memmem::find(accept, what);
        match (at(b"json"), at(b"text/html")) {
            (Some(json), Some(html)) => json < html,
            (json, _) => json.is_some(),
        }
    })
}

fn render((status, dialect): (u16, Dialect), cause: Option<&str>, json: bool, id: Option<&RequestId>) -> Response {
    // nginx's own statuses of bad heads are for `error_page`; clients see 400.
    let shown = if matches!(status, 494..=497) { 400 } else { status };
    let title = words(dialect, shown);
    let cause = cause.or(told_all(status));
    let mut text = String::with_capacity(512);
    if json {
        let document = serde_json::json!({
            "status": shown, "error": title, "cause": cause, "request_id": id.map(ToString::to_string),
        });
        let _ = write!(text, "{document}");
    } else {
        html(&mut text, shown, title, cause, id);
    }
    respond(status, text, if json { b"application/json" } else { b"text/html; charset=utf-8" })
}

/// What everybody is told: whoever typed http:// for https:// can mend it.
fn told_all(status: u16) -> Option<&'static str> {
    match status {
        495 => Some("The certificate that was sent is not accepted."),
        496 => Some("A certificate is required, and none was sent."),
        497 => Some("A plain HTTP request was sent to an HTTPS port."),
        _ => None,
    }
}

fn respond(status: u16, text: String, content_type: &[u8]) -> Response {
    let mut response = Response::new(status, Body::Full(text.into()));
    response.headers.push(HeaderId::ContentType, content_type);
    response.own_error = status >= 400;
    response
}

const HEAD: &str = "<!doctype html><html lang=en><meta charset=utf-8>";
const STYLE: &str = include_str!("page_style.html");

fn html(out: &mut String, status: u16, title: &str, cause: Option<&str>, id: Option<&RequestId>) {
    let _ = match cause {
        // Clients of a service in production need no more than this.
        None => write!(
            out,
            "{HEAD}<title>{status} {title}</title><style>:root{{color-scheme:light dark}}\
             body{{font:16px/1.5 system-ui,sans-serif;margin:15vh auto;max-width:40em;padding:0 1em}}small{{color:gray}}</style>\
             <h1>{status} {title}</h1>"
        ),
        Some(cause) => write!(
            out,
            "{HEAD}<title>{status} {title}</title>{STYLE}<body class=small><h1>{status} {title}</h1><pre>{}</pre>",
            Escaped(cause)
        ),
    };
    if let Some(id) = id {
        let _ = write!(out, "<p><small>Request {}</small>", Escaped(&id.to_string()));
    }
    out.push('\n');
}

/// Text within HTML.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '&' => f.write_str("&amp;"),
            '"' => f.write_str("&quot;"),
            c => f.write_char(c),
        })
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::BadRequest(_) => "bad-request",
        Kind::ClientTimeout => "client-timeout",
        Kind::BodyTooLarge => "body-too-large",
        Kind::ClientGone => "client-gone",
        Kind::NotFound => "not-found",
        Kind::Forbidden => "forbidden",
        Kind::MethodNotAllowed => "method-not-allowed",
        Kind::ExpectationFailed => "expectation-failed",
        Kind::RedirectCycle => "redirect-cycle",
        Kind::UpstreamConnect => "upstream-connect",
        Kind::UpstreamConnectTimeout => "upstream-connect-timeout",
        Kind::UpstreamClosed => "upstream-closed",
        Kind::UpstreamInvalid => "upstream-invalid",
        Kind::UpstreamTimeout => "upstream-timeout",
        Kind::NoUpstream => "no-upstream",
        Kind::NoWorker => "no-worker",
        Kind::QueueFull => "queue-full",
        Kind::Exhausted => "exhausted",
        Kind::QueueTimeout => "queue-timeout",
        Kind::AppTimeout => "app-timeout",
        Kind::WorkerDied => "worker-died",
        Kind::WorkerInvalid => "worker-invalid",
        Kind::SpoolFull => "spool-full",
        Kind::Internal => "internal",
        Kind::Close(_) => "close",
    }
}

/// Scheme, host and port that a redirect of the gateway's own begins with.
pub fn write_origin(ex: &Exchange, out: &mut Vec<u8>) {
    let settings = ex.settings().get::<redirects::Settings>();
    out.extend_from_slice(ex.scheme().as_bytes());
    out.extend_from_slice(b"://");
    let name = ex.server().name.as_bytes();
    match () {
        () if settings.server_name_in_redirect && !name.is_empty() => out.extend_from_slice(name),
        () if !ex.request.host.is_empty() => out.extend_from_slice(&ex.request.host),
        () => text::write_addr(&ex.client.local, out),
    }
    let port = ex.client.local.port();
    if settings.port_in_redirect && port != 0 && port != if ex.client.secure { 443 } else { 80 } {
        out.push(b':');
        text::write_number(u64::from(port), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_escape_their_cause() {
        let response = render((502, Dialect::Rfc9110), Some("<script>\"&"), false, None);
        let Body::Full(text) = response.body else { unreachable!() };
        assert!(String::from_utf8_lossy(&text).contains("<pre>&lt;script&gt;&quot;&amp;</pre>"));
        assert!(response.own_error);
    }

    #[test]
    fn json_pages_are_json() {
        let response = render((503, Dialect::Rfc9110), Some("a \"b\""), true, Some(&RequestId::given(b"id1").unwrap()));
        let Body::Full(text) = response.body else { unreachable!() };
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!((value["status"].as_u64(), value["request_id"].as_str()), (Some(503), Some("id1")));
    }
}
