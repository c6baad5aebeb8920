//! Compresses answers for clients that take it (nginx: the gzip module; RFC 1952).
use crate::clock::parse_http_date;
use crate::error::{Error, Kind, Result};
use crate::exchange::{Exchange, Response};
use crate::filter::body::{self, Transform};
use crate::filter::types::Types;
use crate::filter::weaken;
use crate::kept;
use crate::regex::Regex;
use crate::scope::{self, Compiling, Filter, Filtered, Room};
use crate::units::Size;
use crate::vars::{Names, Sent, Variable};
use buchner_wire::Version;
use buchner_wire::headers::{HeaderId, Headers};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::io::Write;
use std::rc::Rc;

/// The variables.
const VARIABLES: &[Variable] =
    &[Variable::new("gzip_ratio", write_ratio, "How many times smaller the body became, once it was sent.")];

/// Compression.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Answers are compressed for clients that take gzip (nginx: `gzip`). Default: false.
    pub gzip: bool,
    /// How well, 1 to 9 (nginx: `gzip_comp_level`). Default: 1.
    pub gzip_comp_level: u32,
    /// Media types that are compressed; `*`: all (nginx: `gzip_types`). Default: text/html.
    pub gzip_types: Vec<String>,
    /// Bytes of the shortest answer that is compressed (nginx: `gzip_min_length`). Default: 20.
    pub gzip_min_length: Size,
    /// Which answers to requests through a proxy (with `Via`) are compressed (nginx: `gzip_proxied`). Default: off, none.
    pub gzip_proxied: Vec<Proxied>,
    /// Answers that could be compressed say `Vary: Accept-Encoding` (nginx: `gzip_vary`). Default: false.
    pub gzip_vary: bool,
    /// Lowest version of requests whose answers are compressed, `1.0` or `1.1` (nginx: `gzip_http_version`). Default: 1.1.
    pub gzip_http_version: String,
    /// Regular expressions; clients whose `User-Agent` one matches get nothing compressed (nginx: `gzip_disable`). Default: none.
    pub gzip_disable: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            gzip: false,
            gzip_comp_level: 1,
            gzip_types: vec!["text/html".into()],
            gzip_min_length: Size(20),
            gzip_proxied: Vec::new(),
            gzip_vary: false,
            gzip_http_version: "1.1".into(),
            gzip_disable: Vec::new(),
        }
    }
}

kept!(Settings);

impl Room for Settings {
    const TITLE: &'static str = "Compression";
    const VARIABLES: &'static [Variable] = VARIABLES;

    fn compile(&self, cx: &Compiling<'_>, out: &mut scope::Settings) -> std::result::Result<(), String> {
        let accepting = Accepting::compile(self, cx.names)?;
        if self.gzip {
            out.filters.push(Box::new(Gzip::compile(self, accepting)?));
        }
        Ok(())
    }
}

/// Answers to requests that came through another proxy (they have a `Via` field) that are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Proxied {
    /// None.
    Off,
    /// Those that have expired (`Expires` in the past).
    Expired,
    /// Those with `Cache-Control: no-cache`.
    NoCache,
    /// Those with `Cache-Control: no-store`.
    NoStore,
    /// Those with `Cache-Control: private`.
    Private,
    /// Those without `Last-Modified`.
    #[serde(rename = "no_last_modified")]
    NoLastModified,
    /// Those without `ETag`.
    #[serde(rename = "no_etag")]
    NoEtag,
    /// Those to requests with `Authorization`.
    Auth,
    /// All.
    Any,
}

/// Who gets compressed answers; also what `gunzip` asks.
pub struct Accepting {
    proxied: Vec<Proxied>,
    version: Version,
    disable: Vec<Regex>,
}

/// The compiled settings of compression.
pub struct Gzip {
    accepting: Accepting,
    level: Compression,
    types: Types,
    min_length: u64,
}

impl Accepting {
    /// Compiles the conditions on requests.
    pub fn compile(settings: &Settings, names: &Names) -> std::result::Result<Self, String> {
        let version = match settings.gzip_http_version.as_str() {
            "1.0" => Version::H10,
            "1.1" => Version::H11,
            other => return Err(format!("gzip_http_version: {other:?} is neither 1.0 nor 1.1")),
        };
        let disable = settings.gzip_disable.iter().map(|pattern| {
            let pattern = if pattern == "msie6" { r"MSIE [4-6]\.(?!.*SV1)" } else { pattern };
            Regex::compile(pattern, true, names).map_err(|e| format!("gzip_disable: {e}"))
        });
        Ok(Self {
            proxied: settings.gzip_proxied.clone(),
            version,
            disable: disable.collect::<std::result::Result<_, _>>()?,
        })
    }

    /// Whether the client of this request is sent compressed answers.
    pub fn accepts(&self, ex: &Exchange, answer: &Headers) -> bool {
        let headers = &ex.request.headers;
        let Some(accept) = headers.get(HeaderId::AcceptEncoding) else { return false };
        ex.is_main()
            && accepts_gzip(accept)
            && ex.request.version >= self.version
            && (!headers.contains(HeaderId::Via) || self.through_proxy(ex, answer))
            && !headers.get(HeaderId::UserAgent).is_some_and(|agent| self.is_disabled(agent))
    }

    fn is_disabled(&self, agent: &[u8]) -> bool {
        self.disable.iter().any(|regex| regex.is_match(agent).unwrap_or(false))
    }

    fn through_proxy(&self, ex: &Exchange, answer: &Headers) -> bool {
        let has = |condition| self.proxied.contains(&condition);
        if self.proxied.is_empty() || has(Proxied::Off) {
            return false;
        }
        if has(Proxied::Any) || (has(Proxied::Auth) && ex.request.headers.contains(HeaderId::Authorization)) {
            return true;
        }
        if let Some(expires) = answer.get(HeaderId::Expires) {
            let now = match answer.get(HeaderId::Date) {
                Some(date) => parse_http_date(date),
                None => Some(ex.thread.clock.unix_ms() / 1000),
            };
            let past = parse_http_date(expires).zip(now).is_some_and(|(expires, now)| expires < now);
            return has(Proxied::Expired) && past;
        }
        if answer.contains(HeaderId::CacheControl) {
            let says = |word: &[u8]| {
                let mut values = answer.get_all(HeaderId::CacheControl);
                values.any(|value| memchr::memmem::find(&value.to_ascii_lowercase(), word).is_some())
            };
            return (has(Proxied::NoCache) && says(b"no-cache"))
                || (has(Proxied::NoStore) && says(b"no-store"))
                || (has(Proxied::Private) && says(b"private"));
        }
        !(has(Proxied::NoLastModified) && answer.contains(HeaderId::LastModified)
            || has(Proxied::NoEtag) && answer.contains(HeaderId::Etag))
    }
}

impl Gzip {
    /// Compiles the conditions on answers.
    fn compile(settings: &Settings, accepting: Accepting) -> std::result::Result<Self, String> {
        if !(1..=9).contains(&settings.gzip_comp_level) {
            return Err(format!("gzip_comp_level: {} is not between 1 and 9", settings.gzip_comp_level));
        }
        Ok(Self {
            accepting,
            level: Compression::new(settings.gzip_comp_level),
            types: Types::compile(&settings.gzip_types),
            min_length: settings.gzip_min_length.0,
        })
    }

    fn change(&self, ex: &Exchange, response: &mut Response) {
        if !self.suits(ex, response) {
            return;
        }
        vary(ex, response);
        if !self.accepting.accepts(ex, &response.headers) {
            return;
        }
        response.headers.set(HeaderId::ContentEncoding, b"gzip");
        weaken(response);
        let encoder = GzEncoder::new(Vec::new(), self.level);
        let bytes = ex.gzip_bytes.get_or_init(Rc::default).clone();
        body::wrap(response, Compressor { encoder, bytes });
    }

    /// Whether this answer is compressed for clients that take it.
    fn suits(&self, ex: &Exchange, response: &Response) -> bool {
        matches!(response.status, 200 | 403 | 404)
            && ex.is_main()
            && response.headers.get(HeaderId::ContentEncoding).is_none_or(<[u8]>::is_empty)
            && response.body.length().is_none_or(|length| length >= self.min_length)
            && self.types.has(&response.headers)
    }
}

impl Filter for Gzip {
    fn apply<'f>(&'f self, ex: &'f Exchange, response: &'f mut Response) -> Filtered<'f> {
        self.change(ex, response);
        Filtered::Done
    }
}

/// Says that the response depends on whether the client takes compressed ones, if `gzip_vary` wants that.
pub fn vary(ex: &Exchange, response: &mut Response) {
    let known = |value: &[u8]| memchr::memmem::find(&value.to_ascii_lowercase(), b"accept-encoding").is_some();
    if ex.settings().get::<Settings>().gzip_vary && !response.headers.get_all(HeaderId::Vary).any(known) {
        response.headers.push(HeaderId::Vary, b"Accept-Encoding");
    }
}

/// Whether an Accept-Encoding value names gzip with a weight above 0. `*` is not understood, as in nginx.
pub fn accepts_gzip(value: &[u8]) -> bool {
    let lower = value.to_ascii_lowercase();
    let mut from = 0;
    let rest = loop {
        let Some(at) = memchr::memmem::find(&lower[from..], b"gzip") else { return false };
        let at = from + at;
        if at == 0 || matches!(lower[at - 1], b',' | b' ') {
            break lower[at + 4..].trim_ascii_start();
        }
        from = at + 4;
    };
    match rest {
        [] | [b',', ..] => true,
        [b';', parameters @ ..] => match parameters.trim_ascii_start() {
            [] => true,
            [b'q', b'=', weight @ ..] => weight_above_zero(weight),
            _ => false,
        },
        _ => false,
    }
}

/// `0`, `1`, or either with up to three digits behind a point; ended by a comma, a space or the end.
fn weight_above_zero(text: &[u8]) -> bool {
    let end = text.iter().position(|byte| matches!(byte, b',' | b' ')).unwrap_or(text.len());
    let (whole, digits) = match &text[..end] {
        [whole @ (b'0' | b'1')] => (*whole, &b""[..]),
        [whole @ (b'0' | b'1'), b'.', digits @ ..] => (*whole, digits),
        _ => return false,
    };
    let zeros = digits.iter().all(|digit| *digit == b'0');
    // At most 1, and more than 0.
    digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) && (whole == b'1') == zeros
}

/// `$gzip_ratio`: how many times smaller the body became.
pub fn write_ratio(ex: &Exchange, _: Sent<'_>, out: &mut Vec<u8>) {
    let (before, after) = ex.gzip_bytes.get().map_or((0, 0), |bytes| bytes.get());
    if let Some(thousandths) = (before * 1000).checked_div(after) {
        let hundredths = (thousandths + 5) / 10;
        let _ = write!(out, "{}.{:02}", hundredths / 100, hundredths % 100);
    }
}

struct Compressor {
    encoder: GzEncoder<Vec<u8>>,
    /// Bytes before and after.
    bytes: Rc<Cell<(u64, u64)>>,
}

impl Compressor {
    fn take(&mut self, out: &mut Vec<u8>) {
        self.count(0, self.encoder.get_ref().len());
        out.append(self.encoder.get_mut());
    }

    fn count(&self, before: usize, after: usize) {
        let (all_before, all_after) = self.bytes.get();
        self.bytes.set((all_before + before as u64, all_after + after as u64));
    }
}

fn failed(error: &std::io::Error) -> Error {
    Error::new(Kind::Internal, format!("compressing an answer: {error}")).closing()
}

impl Transform for Compressor {
    fn push(&mut self, chunk: Bytes, out: &mut Vec<u8>) -> Result<()> {
        self.encoder.write_all(&chunk).map_err(|e| failed(&e))?;
        self.count(chunk.len(), 0);
        self.take(out);
        Ok(())
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.encoder.flush().map_err(|e| failed(&e))?;
        self.take(out);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.encoder.try_finish().map_err(|e| failed(&e))?;
        self.take(out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Site, response};
    use serde_json::{Value, json};
    use std::io::Read;

    #[test]
    fn the_table_of_accept_encoding() {
        for yes in
            ["gzip", "gzip,deflate", "deflate, gzip", "GZIP", "gzip;q=1", "gzip; q=0.5", "br,gzip ;q=0.001", "gzip;"]
        {
            assert!(accepts_gzip(yes.as_bytes()), "{yes}");
        }
        for no in [
            "",
            "*",
            "x-gzip",
            "gzipped",
            "gzip;q=0",
            "gzip;q=0.000",
            "gzip;q=2",
            "gzip;q=0.0001",
            "gzip;q=1.1",
            "gzip;x",
            "gzip;q=0.",
        ] {
            assert!(!accepts_gzip(no.as_bytes()), "{no}");
        }
    }

    #[test]
    fn a_flush_lets_everything_through() {
        let encoder = GzEncoder::new(Vec::new(), Compression::new(1));
        let mut compressor = Compressor { encoder, bytes: Rc::default() };
        let mut out = Vec::new();
        compressor.push(Bytes::from_static(b"data: 1\n\n"), &mut out).unwrap();
        compressor.flush(&mut out).unwrap();
        let mut text = [0; 9];
        flate2::read::GzDecoder::new(&out[..]).read_exact(&mut text).unwrap();
        assert_eq!(&text, b"data: 1\n\n");
        compressor.push(Bytes::from_static(b"data: 2\n\n"), &mut out).unwrap();
        compressor.finish(&mut out).unwrap();
        let mut whole = String::new();
        flate2::read::GzDecoder::new(&out[..]).read_to_string(&mut whole).unwrap();
        assert_eq!(whole, "data: 1\n\ndata: 2\n\n");
        assert_eq!(compressor.bytes.get(), (18, out.len() as u64));
    }

    const PAGE: &str = "0123456789012345678901234567890123456789";
    const TAKES: &str = "GET /\nAccept-Encoding: gzip";

    /// Whether a page of this kind is compressed.
    fn packs(settings: &Value, request: &str, page: Response) -> bool {
        let mut settings = settings.clone();
        settings["gzip"] = json!(true);
        let site = Site::with(settings);
        !site.filter(&site.exchange(request), page).header("Content-Encoding").is_empty()
    }

    #[test]
    fn a_page_is_compressed_for_a_client_that_takes_it() {
        let site = Site::with(json!({"gzip": true, "gzip_vary": true}));
        let ex = site.exchange(TAKES);
        let mut page = response(200, "text/html", PAGE);
        page.headers.push(HeaderId::Etag, b"\"1\"");
        let answer = site.filter(&ex, page);
        let mut text = String::new();
        flate2::read::GzDecoder::new(&answer.body[..]).read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), answer.length), (PAGE, None));
        assert_eq!((answer.header("ETag"), answer.header("Vary")), ("W/\"1\"".into(), "Accept-Encoding".into()));
        let ratio = PAGE.len() as f64 / answer.body.len() as f64;
        assert_eq!(site.value(&ex, "$gzip_ratio"), format!("{ratio:.2}"));
    }

    #[test]
    fn a_client_that_does_not_take_it_is_told_that_others_do() {
        let site = Site::with(json!({"gzip": true, "gzip_vary": true}));
        let answer = site.filter(&site.exchange("GET /"), response(200, "text/html", PAGE));
        assert_eq!((answer.text(), answer.header("Vary")), (PAGE, "Accept-Encoding".into()));
    }

    #[test]
    fn what_is_compressed_depends_on_the_response() {
        for (settings, status, kind, body, expected) in [
            (json!({}), 200, "text/html", PAGE, true),
            (json!({}), 404, "text/html", PAGE, true),
            (json!({}), 500, "text/html", PAGE, false),
            (json!({}), 206, "text/html", PAGE, false),
            (json!({}), 200, "text/css", PAGE, false),
            (json!({"gzip_types": ["text/css"]}), 200, "text/css", PAGE, true),
            (json!({}), 200, "text/html", &PAGE[..19], false),
            (json!({}), 200, "text/html", &PAGE[..20], true),
            (json!({"gzip_min_length": 41}), 200, "text/html", PAGE, false),
        ] {
            let page = response(status, kind, body);
            assert_eq!(packs(&settings, TAKES, page), expected, "{settings} {status} {kind} {}", body.len());
        }
        let mut packed = response(200, "text/html", PAGE);
        packed.headers.push(HeaderId::ContentEncoding, b"br");
        let site = Site::with(json!({"gzip": true}));
        assert_eq!(site.filter(&site.exchange(TAKES), packed).header("Content-Encoding"), "br");
    }

    #[test]
    fn what_is_compressed_depends_on_the_request() {
        let via = "GET /\nAccept-Encoding: gzip\nVia: 1.1 a";
        let private = |value: &str| {
            let mut page = response(200, "text/html", PAGE);
            page.headers.push(HeaderId::CacheControl, value.as_bytes());
            page
        };
        let page = || response(200, "text/html", PAGE);
        let old = TAKES.replace("GET /", "GET / HTTP/1.0");
        for (settings, request, page, expected) in [
            (json!({}), via, page(), false),
            (json!({"gzip_proxied": ["any"]}), via, page(), true),
            (json!({"gzip_proxied": ["off", "any"]}), via, page(), false),
            (json!({"gzip_proxied": ["auth"]}), via, page(), true),
            (json!({"gzip_proxied": ["private"]}), via, private("private"), true),
            (json!({"gzip_proxied": ["private"]}), via, private("public"), false),
            (json!({}), &old, page(), false),
            (json!({"gzip_http_version": "1.0"}), &old, page(), true),
            (json!({"gzip_disable": ["bot"]}), "GET /\nAccept-Encoding: gzip\nUser-Agent: Bot", page(), false),
            (json!({"gzip_disable": ["bot"]}), "GET /\nAccept-Encoding: gzip\nUser-Agent: x", page(), true),
        ] {
            assert_eq!(packs(&settings, request, page), expected, "{settings} {request}");
        }
    }
}
