//! Fields added to answers and behind bodies, and how long answers keep (nginx: the headers module).
use crate::clock::{http_date, parse_http_date};
use crate::exchange::{Exchange, Response};
use crate::kept;
use crate::kinds::Text;
use crate::scope::{self, Compiling, Filter, Filtered, Room};
use crate::vars::{Names, Sent, Template};
use buchner_wire::headers::{FieldName, HeaderId, Headers, is_valid_value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Response headers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Response headers added to answers below 400 and 3xx, name to value with variables; or a list of tables, which may name a header several times (nginx: `add_header`). Default: none.
    pub add_headers: Vec<AddHeader>,
    /// How long answers keep, as `Expires` and `Cache-Control`: `off`, `epoch`, `max`, a time (`1h`, `-1`), `modified +1h`, `@15h30m`, or a text with variables (nginx: `expires`). Default: off.
    pub expires: Option<Text>,
}

kept!(Settings);

/// Adds headers, and says how long a response keeps.
struct AddHeaders {
    expires: Option<Expires>,
    fields: Vec<Added>,
}

impl Room for Settings {
    const TITLE: &'static str = "Response headers";

    fn compile(&self, cx: &Compiling<'_>, out: &mut scope::Settings) -> std::result::Result<(), String> {
        let fields = compile(&self.add_headers, cx.names).map_err(|e| format!("add_headers: {e}"))?;
        let expires = self.expires.as_deref().filter(|expires| *expires != "off");
        let expires = expires.map(|expires| Expires::compile(expires, cx.names).map_err(|e| format!("expires: {e}")));
        let expires = expires.transpose()?;
        if expires.is_some() || !fields.is_empty() {
            out.filters.push(Box::new(AddHeaders { expires, fields }));
        }
        Ok(())
    }
}

const DAY: i64 = 86_400;
/// Bytes of a name and a value, about.
const TYPICAL_FIELD: usize = 48;
/// `expires max`.
const TEN_YEARS: &[u8] = b"max-age=315360000";

/// A field that is added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddHeader {
    /// Its name.
    pub name: String,
    /// Its value, with variables; where it is empty, the field is left out.
    pub value: Text,
    /// It is added whatever the status; else to answers with 200, 201, 204, 206, 301, 302, 303, 304, 307 and 308. Default: false.
    #[serde(default)]
    pub always: bool,
}

/// A compiled field.
#[derive(Debug)]
pub struct Added {
    /// Its name.
    pub name: FieldName,
    /// Its value.
    pub value: Template,
    /// It is added whatever the status.
    pub always: bool,
}

/// Compiles fields.
pub fn compile(headers: &[AddHeader], names: &Names) -> Result<Vec<Added>, String> {
    let compile = |header: &AddHeader| {
        let name = &header.name;
        let Some(field) = FieldName::new(name.as_bytes()) else {
            return Err(format!("{name:?} is not a header name"));
        };
        if !is_valid_value(header.value.as_bytes()) {
            return Err(format!("{name}: the value has characters no header may have (CR, LF, NUL)"));
        }
        Ok(Added { name: field, value: Template::compile(&header.value, names)?, always: header.always })
    };
    headers.iter().map(compile).collect()
}

/// When an answer expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// Nothing is said.
    Off,
    /// It has.
    Epoch,
    /// As late as can be.
    Max,
    /// Seconds from now.
    Access(i64),
    /// Seconds from its last modification.
    Modified(i64),
    /// At a time of the day, in seconds.
    Daily(i64),
}

/// How long answers keep.
pub enum Expires {
    /// As the configuration says.
    Fixed(FixedExpires),
    /// As a text with variables says.
    Varying(Template),
}

/// A time of expiry that was read when the configuration was.
pub struct FixedExpires(When);

impl Expires {
    /// Compiles `off`, `epoch`, `max`, a time, `modified` and a time, `@` and a time of the day, or a text with variables.
    pub fn compile(text: &str, names: &Names) -> Result<Self, String> {
        if text.contains('$') {
            return Ok(Self::Varying(Template::compile(text, names)?));
        }
        match parse(text) {
            Some(when) => Ok(Self::Fixed(FixedExpires(when))),
            None => Err(format!(
                "{text:?} is none of off, epoch, max, a time, \"modified\" and a time, @ and a time of the day"
            )),
        }
    }
}

fn parse(text: &str) -> Option<When> {
    match text {
        "off" => return Some(When::Off),
        "epoch" => return Some(When::Epoch),
        "max" => return Some(When::Max),
        _ => {}
    }
    if let Some(time) = text.strip_prefix('@') {
        return seconds(time).filter(|time| *time < DAY).map(When::Daily);
    }
    let (modified, time) = match text.strip_prefix("modified") {
        Some(time) => (true, time.trim_start()),
        None => (false, text),
    };
    let (sign, time) = match time.strip_prefix('-') {
        Some(time) => (-1, time),
        None => (1, time.strip_prefix('+').unwrap_or(time)),
    };
    let time = sign * seconds(time)?;
    Some(if modified { When::Modified(time) } else { When::Access(time) })
}

/// A time with units from the largest to the smallest, in seconds.
pub(super) fn seconds(text: &str) -> Option<i64> {
    const UNITS: [(u8, i64); 7] =
        [(b'y', 365 * DAY), (b'M', 30 * DAY), (b'w', 7 * DAY), (b'd', DAY), (b'h', 3600), (b'm', 60), (b's', 1)];
    let (mut total, mut number, mut least) = (0i64, None::<i64>, 0);
    for byte in text.bytes() {
        if byte.is_ascii_digit() {
            let digit = i64::from(byte - b'0');
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(digit)?);
            continue;
        }
        if byte == b' ' && number.is_none() {
            continue;
        }
        let rank = UNITS.iter().position(|(unit, _)| *unit == byte)?;
        if rank < least {
            return None;
        }
        least = rank + 1;
        total = total.checked_add(number.take()?.checked_mul(UNITS[rank].1)?)?;
    }
    match number {
        Some(rest) => total.checked_add(rest),
        None => (!text.trim().is_empty()).then_some(total),
    }
}

impl Filter for AddHeaders {
    fn apply<'f>(&'f self, ex: &'f Exchange, response: &'f mut Response) -> Filtered<'f> {
        if !ex.is_main() {
            return Filtered::Done;
        }
        let usual = is_usual(response.status);
        if let Some(expires) = self.expires.as_ref().filter(|_| usual) {
            let when = match expires {
                Expires::Fixed(FixedExpires(when)) => *when,
                Expires::Varying(template) => {
                    let sent = Sent { status: response.status, headers: Some(&response.headers), ..Sent::default() };
                    let text = template.value(ex, sent);
                    std::str::from_utf8(&text).ok().and_then(parse).unwrap_or(When::Off)
                }
            };
            set_expires(ex, when, &mut response.headers);
        }
        add(ex, &self.fields, usual, response);
        Filtered::Done
    }
}

/// Adds fields one after the other: the value of one may name those before it.
fn add(ex: &Exchange, fields: &[Added], usual: bool, response: &mut Response) {
    let mut buf = ex.thread.bufs.take_write();
    response.headers.reserve(fields.len(), fields.len() * TYPICAL_FIELD);
    for field in fields.iter().filter(|field| usual || field.always) {
        let sent = Sent { status: response.status, headers: Some(&response.headers), ..Sent::default() };
        let value = field.value.lend(ex, sent, &mut buf);
        // These two are there once, and an empty value takes them away.
        if matches!(field.name.id(), HeaderId::LastModified | HeaderId::Etag) && is_valid_value(value) {
            response.headers.remove(field.name.id());
        }
        if !value.is_empty() {
            // A variable may carry what the client sent; a value that could split the response is dropped.
            response.headers.push_field(&field.name, value);
        }
    }
    ex.thread.bufs.give_write(buf);
}

/// Whether a header without `always` is added to responses of this status.
pub(super) fn is_usual(status: u16) -> bool {
    matches!(status, 200 | 201 | 204 | 206 | 301 | 302 | 303 | 304 | 307 | 308)
}

fn set_expires(ex: &Exchange, when: When, headers: &mut Headers) {
    let now = (ex.thread.clock.unix_ms() / 1000) as i64;
    let (expires, age) = match when {
        When::Off => return,
        When::Epoch => (1, None),
        When::Max => {
            headers.set(HeaderId::Expires, b"Thu, 31 Dec 2037 23:55:55 GMT");
            headers.set(HeaderId::CacheControl, TEN_YEARS);
            return;
        }
        When::Access(seconds) => (now + seconds, Some(seconds)),
        When::Modified(seconds) => match headers.get(HeaderId::LastModified).and_then(parse_http_date) {
            Some(modified) => (modified as i64 + seconds, Some(modified as i64 + seconds - now)),
            None => (now + seconds, Some(seconds)),
        },
        When::Daily(time) => {
            let today = now - now.rem_euclid(DAY) + time;
            let next = if today > now { today } else { today + DAY };
            (next, Some(next - now))
        }
    };
    headers.set(HeaderId::Expires, &http_date(expires.max(0) as u64));
    match age {
        Some(age) if age >= 0 => headers.set(HeaderId::CacheControl, format!("max-age={age}").as_bytes()),
        _ => headers.set(HeaderId::CacheControl, b"no-cache"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Site, response};
    use serde_json::json;

    #[test]
    fn the_forms_of_expires() {
        let cases = [
            ("off", Some(When::Off)),
            ("epoch", Some(When::Epoch)),
            ("max", Some(When::Max)),
            ("0", Some(When::Access(0))),
            ("-1", Some(When::Access(-1))),
            ("+1h", Some(When::Access(3600))),
            ("1d12h", Some(When::Access(129_600))),
            ("1h 30m", Some(When::Access(5400))),
            ("1M", Some(When::Access(2_592_000))),
            ("modified +24h", Some(When::Modified(86_400))),
            ("modified -1", Some(When::Modified(-1))),
            ("@15h30m", Some(When::Daily(55_800))),
            ("@24h", None),
            ("1h1d", None),
            ("", None),
            ("h", None),
            ("soon", None),
            ("999999999999999999y", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn headers_are_added_to_usual_statuses_and_always_where_said() {
        let add = json!([{"name": "X-A", "value": "$status"}, {"name": "X-B", "value": "b", "always": true}]);
        let site = Site::with(json!({"add_headers": add}));
        let ex = site.exchange("GET /");
        for (status, a) in [(200, "200"), (206, "206"), (304, "304"), (404, ""), (500, "")] {
            let answer = site.filter(&ex, response(status, "text/plain", "x"));
            assert_eq!((answer.header("X-A"), answer.header("X-B")), (a.into(), "b".into()), "{status}");
        }
    }

    #[test]
    fn an_empty_value_adds_nothing_but_takes_validators_away() {
        let add = json!([{"name": "X-A", "value": "$arg_none"}, {"name": "ETag", "value": "$arg_none"}]);
        let site = Site::with(json!({"add_headers": add}));
        let mut answer = response(200, "text/plain", "x");
        answer.headers.push(HeaderId::Etag, b"\"1\"");
        let answer = site.filter(&site.exchange("GET /"), answer);
        assert_eq!(answer.headers.iter().map(|header| header.id).collect::<Vec<_>>(), [HeaderId::ContentType]);
    }

    #[test]
    fn a_value_that_would_split_the_response_is_not_added() {
        let site = Site::with(json!({"add_headers": [{"name": "X-A", "value": "$uri"}]}));
        let answer = site.filter(&site.exchange("GET /a%0d%0aX-B:%20b"), response(200, "text/plain", "x"));
        assert_eq!(answer.header("X-A"), "");
    }

    #[test]
    fn expires_sets_both_headers_of_usual_statuses() {
        let expires = |text: &str, status: u16| {
            let site = Site::with(json!({"expires": text}));
            let answer = site.filter(&site.exchange("GET /?for=1m"), response(status, "text/plain", "x"));
            (answer.header("Expires"), answer.header("Cache-Control"))
        };
        assert_eq!(expires("max", 200), ("Thu, 31 Dec 2037 23:55:55 GMT".into(), "max-age=315360000".into()));
        assert_eq!(expires("epoch", 200), ("Thu, 01 Jan 1970 00:00:01 GMT".into(), "no-cache".into()));
        assert_eq!(expires("1h", 200).1, "max-age=3600");
        assert_eq!(expires("-1", 200).1, "no-cache");
        assert_eq!(expires("$arg_for", 200).1, "max-age=60");
        assert_eq!(expires("$arg_none", 200), (String::new(), String::new()));
        assert_eq!(expires("1h", 404), (String::new(), String::new()));
    }

    #[test]
    fn expires_modified_counts_from_the_last_modification() {
        let site = Site::with(json!({"expires": "modified +1d"}));
        let mut answer = response(200, "text/plain", "x");
        answer.headers.push(HeaderId::LastModified, b"Sun, 06 Nov 1994 08:49:37 GMT");
        let answer = site.filter(&site.exchange("GET /"), answer);
        assert_eq!(answer.header("Expires"), "Mon, 07 Nov 1994 08:49:37 GMT");
        assert_eq!(answer.header("Cache-Control"), "no-cache");
    }
}
