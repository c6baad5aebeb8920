//! Conditional requests (RFC 9110 section 13): whether the client's copy is still good, in the order section 13.2.2 sets.
use crate::clock::parse_http_date;
use buchner_wire::headers::{HeaderId, Headers};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How `If-Modified-Since` is compared with the last modification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IfModifiedSince {
    /// The same date, or a later one.
    #[default]
    Before,
    /// The same date.
    Exact,
    /// Not at all.
    Off,
}

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

/// Evaluates If-Match, If-Unmodified-Since, If-None-Match and If-Modified-Since of a GET or HEAD.
pub fn evaluate(request: &Headers, validators: Validators<'_>) -> Verdict {
    if request.contains(HeaderId::IfMatch) {
        if !matches(request, HeaderId::IfMatch, validators.etag, strong) {
            return Verdict::Failed;
        }
    } else if let (Some(since), Some(modified)) = (date(request, HeaderId::IfUnmodifiedSince), validators.modified) {
        if modified > since {
            return Verdict::Failed;
        }
    }
    if request.contains(HeaderId::IfNoneMatch) {
        if matches(request, HeaderId::IfNoneMatch, validators.etag, weak) {
            return Verdict::NotModified;
        }
    } else if let (Some(since), Some(modified)) = (date(request, HeaderId::IfModifiedSince), validators.modified) {
        let unchanged = match validators.since {
            IfModifiedSince::Before => modified <= since,
            IfModifiedSince::Exact => modified == since,
            IfModifiedSince::Off => false,
        };
        if unchanged {
            return Verdict::NotModified;
        }
    }
    Verdict::Proceed
}

/// Whether a Range header counts: there is no If-Range, or its validator is exactly ours (RFC 9110 section 13.1.5).
/// `now` is Unix time in seconds: a file changed within the current second may change again under the same date.
pub fn range_applies(request: &Headers, validators: Validators<'_>, now: u64) -> bool {
    let Some(given) = request.get(HeaderId::IfRange) else { return true };
    if given.starts_with(b"\"") || given.starts_with(b"W/") {
        return validators.etag.is_some_and(|etag| strong(given, etag));
    }
    validators.modified.is_some_and(|modified| parse_http_date(given) == Some(modified) && modified < now)
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

/// Whether a list of entity tags, or `*`, names ours. The file exists, so `*` always does.
fn matches(request: &Headers, id: HeaderId, etag: Option<&[u8]>, same: fn(&[u8], &[u8]) -> bool) -> bool {
    request
        .get_all(id)
        .any(|list| list.trim_ascii() == b"*" || etag.is_some_and(|etag| Tags(list).any(|tag| same(tag, etag))))
}

/// The entity tags of a list (RFC 9110 section 8.8.3): a comma may be inside a tag. Ends at what is no tag.
struct Tags<'a>(&'a [u8]);

impl<'a> Iterator for Tags<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.0.iter().position(|byte| !matches!(byte, b',' | b' ' | b'\t'))?;
        let rest = &self.0[start..];
        let quote = if rest.starts_with(b"W/") { 2 } else { 0 };
        if rest.get(quote) != Some(&b'"') {
            return None;
        }
        let end = quote + 1 + memchr::memchr(b'"', &rest[quote + 1..])?;
        self.0 = &rest[end + 1..];
        Some(&rest[..=end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(evaluate(&request(fields), validators), *verdict, "{fields:?}");
        }
    }

    #[test]
    fn without_validators_only_a_star_matches() {
        let none = Validators::default();
        assert_eq!(evaluate(&request(&[(HeaderId::IfMatch, "\"a\"")]), none), Verdict::Failed);
        assert_eq!(evaluate(&request(&[(HeaderId::IfMatch, "*")]), none), Verdict::Proceed);
        assert_eq!(evaluate(&request(&[(HeaderId::IfNoneMatch, "\"a\"")]), none), Verdict::Proceed);
        assert_eq!(evaluate(&request(&[(HeaderId::IfModifiedSince, AFTER)]), none), Verdict::Proceed);
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
            assert_eq!(range_applies(&request, validators, now), applies, "{value}");
        }
        assert!(range_applies(&Headers::default(), validators, AT));
        let weak = Validators { etag: Some(b"W/\"a-1\""), ..Validators::default() };
        assert!(!range_applies(&request(&[(HeaderId::IfRange, "W/\"a-1\"")]), weak, AT));
    }
}
