//! Conditional requests (RFC 9110 section 13): whether the client's copy is still good, in the order section 13.2.2 sets.
use crate::body::Body;
use crate::clock::parse_http_date;
use crate::exchange::conditions::{Dialect, IfModifiedSince};
use crate::exchange::{Exchange, Response};
use crate::page;
use buchner_wire::headers::{HeaderId, Headers};
use buchner_wire::method::Method;

/// What identifies the state of a representation (RFC 9110 section 8.8).
#[derive(Clone, Copy, Debug, Default)]
pub struct Validators<'a> {
    /// Entity tag as sent, quotes and `W/` included.
    pub etag: Option<&'a [u8]>,
    /// Last modification as Unix time in seconds, where one is sent.
    pub modified: Option<u64>,
    /// How that is compared.
    pub since: IfModifiedSince,
}

impl<'a> Validators<'a> {
    /// Those that a response has.
    pub fn of(headers: &'a Headers) -> Self {
        Self {
            etag: headers.get(HeaderId::Etag),
            modified: headers.get(HeaderId::LastModified).and_then(parse_http_date),
            since: IfModifiedSince::default(),
        }
    }
}

/// What the conditions of a GET or HEAD come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answer as if there were none.
    Proceed,
    /// 304: the client has it.
    NotModified,
    /// 412: it is not what the client thinks it is.
    Failed,
}

/// What a response becomes under the conditions of its request: itself, 304 or 412 (nginx: the not_modified filter).
pub fn apply(ex: &Exchange, response: Response) -> Response {
    let request = &ex.request.headers;
    let Some(since) =
        response.conditions.filter(|_| counts(ex, &response) && CONDITIONS.iter().any(|id| request.contains(*id)))
    else {
        return response;
    };
    let validators = Validators { since, ..Validators::of(&response.headers) };
    match evaluate(request, validators, ex.scope.gateway.conditions) {
        Verdict::Proceed => response,
        Verdict::Failed => page::of_status(ex, 412),
        Verdict::NotModified => {
            let mut answer = Response::new(304, Body::None { length: None });
            answer.headers = response.headers;
            // RFC 9110 section 15.4.5: what describes the content stays away.
            answer.headers.retain(|field| !DESCRIBES.contains(&field.id));
            answer
        }
    }
}

/// Whether conditions and ranges of the request are about this response: not about one to a subrequest, nor about the page of
/// an error, which is not what the client has a copy of.
pub fn counts(ex: &Exchange, response: &Response) -> bool {
    response.status == 200
        && ex.is_main()
        && matches!(ex.request.method, Method::Get | Method::Head)
        && matches!(ex.error_status, None | Some(200))
}

const CONDITIONS: [HeaderId; 4] =
    [HeaderId::IfMatch, HeaderId::IfUnmodifiedSince, HeaderId::IfNoneMatch, HeaderId::IfModifiedSince];
const DESCRIBES: [HeaderId; 5] = [
    HeaderId::ContentType,
    HeaderId::ContentEncoding,
    HeaderId::ContentLanguage,
    HeaderId::ContentDisposition,
    HeaderId::AcceptRanges,
];

/// Evaluates If-Match, If-Unmodified-Since, If-None-Match and If-Modified-Since of a GET or HEAD.
pub fn evaluate(request: &Headers, validators: Validators<'_>, dialect: Dialect) -> Verdict {
    let all = dialect == Dialect::Nginx;
    let tagged = request.contains(HeaderId::IfMatch);
    if tagged && !matches(request, HeaderId::IfMatch, validators.etag, strong) {
        return Verdict::Failed;
    }
    if (all || !tagged) && changed_since(request, validators.modified, dialect) {
        return Verdict::Failed;
    }
    let known =
        request.contains(HeaderId::IfNoneMatch).then(|| matches(request, HeaderId::IfNoneMatch, validators.etag, weak));
    let unchanged = request.contains(HeaderId::IfModifiedSince).then(|| unchanged_since(request, validators));
    let not_modified = match (known, unchanged) {
        (Some(known), Some(unchanged)) if all => known && unchanged,
        (Some(known), _) => known,
        (None, unchanged) => unchanged.unwrap_or(false),
    };
    if not_modified { Verdict::NotModified } else { Verdict::Proceed }
}

/// Whether If-Unmodified-Since is there and fails. RFC 9110 section 13.1.4 ignores it where either date is missing.
fn changed_since(request: &Headers, modified: Option<u64>, dialect: Dialect) -> bool {
    match (date(request, HeaderId::IfUnmodifiedSince), modified) {
        (Some(since), Some(modified)) => modified > since,
        _ => dialect == Dialect::Nginx && request.contains(HeaderId::IfUnmodifiedSince),
    }
}

fn unchanged_since(request: &Headers, validators: Validators<'_>) -> bool {
    let (Some(since), Some(modified)) = (date(request, HeaderId::IfModifiedSince), validators.modified) else {
        return false;
    };
    match validators.since {
        IfModifiedSince::Before => modified <= since,
        IfModifiedSince::Exact => modified == since,
        IfModifiedSince::Off => false,
    }
}

/// Whether a Range header counts: there is no If-Range, or its validator is exactly ours (RFC 9110 section 13.1.5).
/// `now` is Unix time in seconds: a file changed within the current second may change again under the same date. nginx
/// takes that date, and weak tags, for what they say.
pub fn range_applies(request: &Headers, validators: Validators<'_>, now: u64, dialect: Dialect) -> bool {
    let Some(given) = request.get(HeaderId::IfRange) else { return true };
    let lenient = dialect == Dialect::Nginx;
    if given.ends_with(b"\"") {
        return validators.etag.is_some_and(|etag| strong(given, etag) || (lenient && given == etag));
    }
    validators.modified.is_some_and(|modified| parse_http_date(given) == Some(modified) && (lenient || modified < now))
}

fn date(request: &Headers, id: HeaderId) -> Option<u64> {
    request.get(id).and_then(parse_http_date)
}

/// Both strong and equal.
fn strong(a: &[u8], b: &[u8]) -> bool {
    a == b && !a.starts_with(b"W/")
}

/// Equal but for `W/`.
fn weak(a: &[u8], b: &[u8]) -> bool {
    opaque(a) == opaque(b)
}

fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// Whether a list of entity tags, or `*`, names ours. What answers exists, so `*` always does.
fn matches(request: &Headers, id: HeaderId, etag: Option<&[u8]>, same: fn(&[u8], &[u8]) -> bool) -> bool {
    request.get_all(id).any(|list| list.trim_ascii() == b"*" || etag.is_some_and(|etag| names(list, etag, same)))
}

/// Whether an entity tag is in a list (RFC 9110 section 8.8.3). A comma may be inside a tag, a quote may not: every comma
/// is looked behind.
fn names(list: &[u8], etag: &[u8], same: fn(&[u8], &[u8]) -> bool) -> bool {
    let commas = memchr::memchr_iter(b',', list).map(|comma| comma + 1);
    std::iter::once(0).chain(commas).any(|start| {
        let rest = list[start..].trim_ascii_start();
        let prefix = if rest.starts_with(b"W/") { 2 } else { 0 };
        let end = prefix + opaque(etag).len();
        let Some((tag, behind)) = rest.split_at_checked(end) else { return false };
        matches!(behind.trim_ascii_start().first(), None | Some(b',')) && same(tag, etag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Site, response};

    const ETAG: &[u8] = b"\"a-1\"";
    const AT: u64 = 784_111_777;
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn request(fields: &[(HeaderId, &str)]) -> Headers {
        let mut headers = Headers::default();
        for (id, value) in fields {
            assert!(headers.push(*id, value.as_bytes()));
        }
        headers
    }

    #[test]
    fn conditions_in_the_order_of_rfc_9110() {
        use HeaderId::{IfMatch, IfModifiedSince, IfNoneMatch, IfUnmodifiedSince};
        use Verdict::{Failed, NotModified, Proceed};
        let cases: &[(&[(HeaderId, &str)], Verdict)] = &[
            (&[], Proceed),
            (&[(IfNoneMatch, "\"a-1\"")], NotModified),
            (&[(IfNoneMatch, "W/\"a-1\"")], NotModified),
            (&[(IfNoneMatch, "*")], NotModified),
            (&[(IfNoneMatch, "\"b\"")], Proceed),
            (&[(IfNoneMatch, "\"b\" , W/\"c,d\",\"a-1\"")], NotModified),
            (&[(IfNoneMatch, "\"b\""), (IfNoneMatch, "\"a-1\"")], NotModified),
            (&[(IfNoneMatch, "\"x,\"a-1\"\"")], Proceed),
            (&[(IfNoneMatch, "\"b\"\"a-1\"")], Proceed),
            (&[(IfNoneMatch, ",, x ,\t\"a-1\" ,")], NotModified),
            (&[(IfNoneMatch, "a-1")], Proceed),
            (&[(IfNoneMatch, "\"a-1")], Proceed),
            (&[(IfModifiedSince, DATE)], NotModified),
            (&[(IfModifiedSince, AFTER)], NotModified),
            (&[(IfModifiedSince, BEFORE)], Proceed),
            (&[(IfModifiedSince, "yesterday")], Proceed),
            // If-None-Match is the better one: the date is not looked at.
            (&[(IfNoneMatch, "\"b\""), (IfModifiedSince, AFTER)], Proceed),
            (&[(IfMatch, "\"a-1\"")], Proceed),
            (&[(IfMatch, "*")], Proceed),
            (&[(IfMatch, "W/\"a-1\"")], Failed),
            (&[(IfMatch, "\"b\"")], Failed),
            (&[(IfUnmodifiedSince, BEFORE)], Failed),
            (&[(IfUnmodifiedSince, DATE)], Proceed),
            (&[(IfUnmodifiedSince, "tomorrow")], Proceed),
            (&[(IfMatch, "\"a-1\""), (IfUnmodifiedSince, BEFORE)], Proceed),
            (&[(IfMatch, "\"b\""), (IfNoneMatch, "\"a-1\"")], Failed),
            (&[(IfMatch, "\"a-1\""), (IfNoneMatch, "\"a-1\"")], NotModified),
            (&[(IfUnmodifiedSince, DATE), (IfModifiedSince, DATE)], NotModified),
        ];
        let validators = Validators { etag: Some(ETAG), modified: Some(AT), ..Validators::default() };
        for (fields, verdict) in cases {
            assert_eq!(evaluate(&request(fields), validators, Dialect::Rfc9110), *verdict, "{fields:?}");
        }
    }

    #[test]
    fn without_validators_only_a_star_matches() {
        let none = Validators::default();
        assert_eq!(evaluate(&request(&[(HeaderId::IfMatch, "\"a\"")]), none, Dialect::Rfc9110), Verdict::Failed);
        assert_eq!(evaluate(&request(&[(HeaderId::IfMatch, "*")]), none, Dialect::Rfc9110), Verdict::Proceed);
        assert_eq!(evaluate(&request(&[(HeaderId::IfNoneMatch, "\"a\"")]), none, Dialect::Rfc9110), Verdict::Proceed);
        assert_eq!(evaluate(&request(&[(HeaderId::IfModifiedSince, AFTER)]), none, Dialect::Rfc9110), Verdict::Proceed);
    }

    #[test]
    fn if_range_wants_exactly_our_validator() {
        let validators = Validators { etag: Some(ETAG), modified: Some(AT), ..Validators::default() };
        let cases = [
            ("\"a-1\"", AT, true),
            ("W/\"a-1\"", AT, false),
            ("\"b\"", AT, false),
            (DATE, AT + 1, true),
            (DATE, AT, false),
            (AFTER, AT + 9, false),
            (BEFORE, AT + 9, false),
            ("nonsense", AT + 9, false),
        ];
        for (value, now, applies) in cases {
            let request = request(&[(HeaderId::IfRange, value)]);
            assert_eq!(range_applies(&request, validators, now, Dialect::Rfc9110), applies, "{value}");
        }
        assert!(range_applies(&Headers::default(), validators, AT, Dialect::Rfc9110));
        let weak = Validators { etag: Some(b"W/\"a-1\""), ..Validators::default() };
        assert!(!range_applies(&request(&[(HeaderId::IfRange, "W/\"a-1\"")]), weak, AT, Dialect::Rfc9110));
    }
    #[test]
    fn nginx_wants_all_conditions_to_hold() {
        use HeaderId::{IfMatch, IfModifiedSince, IfNoneMatch, IfUnmodifiedSince};
        use Verdict::{Failed, NotModified, Proceed};
        let cases: &[(&[(HeaderId, &str)], Verdict)] = &[
            (&[(IfNoneMatch, "\"a-1\""), (IfModifiedSince, DATE)], NotModified),
            (&[(IfNoneMatch, "\"a-1\""), (IfModifiedSince, BEFORE)], Proceed),
            (&[(IfNoneMatch, "\"a-1\""), (IfModifiedSince, "yesterday")], Proceed),
            (&[(IfNoneMatch, "\"b\""), (IfModifiedSince, DATE)], Proceed),
            (&[(IfMatch, "\"a-1\""), (IfUnmodifiedSince, BEFORE)], Failed),
            (&[(IfMatch, "\"a-1\""), (IfUnmodifiedSince, DATE)], Proceed),
            (&[(IfUnmodifiedSince, "tomorrow")], Failed),
        ];
        let validators = Validators { etag: Some(ETAG), modified: Some(AT), ..Validators::default() };
        for (fields, verdict) in cases {
            assert_eq!(evaluate(&request(fields), validators, Dialect::Nginx), *verdict, "{fields:?}");
        }
        let none = Validators::default();
        assert_eq!(evaluate(&request(&[(IfUnmodifiedSince, DATE)]), none, Dialect::Nginx), Failed);
        let weak = Validators { etag: Some(b"W/\"a-1\""), modified: Some(AT), ..none };
        for value in ["W/\"a-1\"", DATE] {
            assert!(range_applies(&request(&[(HeaderId::IfRange, value)]), weak, AT, Dialect::Nginx), "{value}");
        }
    }

    /// What comes of a page with an entity tag and a type.
    fn page(request: &str, change: impl FnOnce(&mut Exchange, &mut Response)) -> Response {
        let site = Site::with(serde_json::json!({}));
        let mut ex = site.exchange(request);
        let mut page = response(200, "text/plain", "page");
        page.headers.push(HeaderId::Etag, b"\"1\"");
        page.conditions = Some(IfModifiedSince::Before);
        change(&mut ex, &mut page);
        apply(&ex, page)
    }

    #[test]
    fn a_copy_that_is_still_good_is_304_without_what_describes_the_content() {
        let answer = page("GET /\nIf-None-Match: \"1\"", |_, _| {});
        assert_eq!((answer.status, answer.body.length(), answer.own_error), (304, None, false));
        assert_eq!(answer.headers.get(HeaderId::Etag), Some(&b"\"1\""[..]));
        assert!(!answer.headers.contains(HeaderId::ContentType));
    }

    #[test]
    fn a_condition_that_fails_is_an_error_of_the_gateway() {
        let answer = page("GET /\nIf-Match: \"2\"", |_, _| {});
        assert_eq!((answer.status, answer.own_error), (412, true));
    }

    #[test]
    fn conditions_are_about_a_found_representation_of_the_main_request() {
        let known = "GET /\nIf-None-Match: \"1\"";
        assert_eq!(page("POST /\nIf-None-Match: \"1\"", |_, _| {}).status, 200);
        assert_eq!(page("GET /", |_, _| {}).status, 200);
        assert_eq!(page(known, |_, page| page.conditions = None).status, 200);
        assert_eq!(page(known, |_, page| page.status = 203).status, 203);
        assert_eq!(page(known, |ex, _| ex.depth = 1).status, 200);
        assert_eq!(page(known, |ex, _| ex.error_status = Some(404)).status, 200);
        assert_eq!(page(known, |ex, _| ex.error_status = Some(200)).status, 304);
    }
}
