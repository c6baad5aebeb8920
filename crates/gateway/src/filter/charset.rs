//! Names the charset of answers, and recodes them (nginx: the charset module). Tables lead between single bytes, and
//! between single bytes and UTF-8.
use crate::error::Result;
use crate::exchange::{Exchange, Response};
use crate::filter::body::{self, Transform};
use crate::filter::types::Types;
use crate::kept;
use crate::kinds::Text;
use crate::scope::{self, Compiling, Filter, Filtered, Room};
use crate::vars::{Names, Sent, Template};
use buchner_wire::headers::HeaderId;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::Arc;

/// Charsets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Charset that answers are in, with variables; `off`: nothing is said (nginx: `charset`). Default: off.
    pub charset: Option<Text>,
    /// Charset that they come in; where it is another one, they are recoded by `charset_map` (nginx: `source_charset`). Default: none.
    pub source_charset: Option<Text>,
    /// Answers that name their charset are recoded too (nginx: `override_charset`). Default: false.
    pub override_charset: bool,
    /// Media types that have a charset; `*`: all (nginx: `charset_types`). Default: text/html, text/xml, text/plain, text/vnd.wap.wml, application/javascript, application/rss+xml.
    pub charset_types: Vec<String>,
    /// Tables between charsets (nginx: `charset_map`). Default: none.
    pub charset_map: Vec<Config>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            charset: None,
            source_charset: None,
            override_charset: false,
            charset_types: [
                "text/html",
                "text/xml",
                "text/plain",
                "text/vnd.wap.wml",
                "application/javascript",
                "application/rss+xml",
            ]
            .map(Into::into)
            .into(),
            charset_map: Vec::new(),
        }
    }
}

kept!(Settings);

impl Room for Settings {
    const TITLE: &'static str = "Charsets";

    fn compile(&self, cx: &Compiling<'_>, out: &mut scope::Settings) -> std::result::Result<(), String> {
        let named = self.charset.as_deref().is_some_and(|charset| charset != "off");
        if named || !self.charset_map.is_empty() {
            out.filters.push(Box::new(Charset::compile(self, cx.names)?));
        }
        Ok(())
    }
}

/// A table between two charsets, used in both directions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CharsetMap")]
pub struct Config {
    /// Charset of the first column: single bytes.
    pub from: String,
    /// Charset of the second column: single bytes, or UTF-8.
    pub to: String,
    /// Codes by code, both in hexadecimal, such as `C0 = "D18E"`. Below 80, both charsets are ASCII unless said otherwise.
    pub codes: BTreeMap<String, String>,
}

/// The compiled settings.
pub struct Charset {
    to: Template,
    from: Template,
    override_charset: bool,
    types: Types,
    tables: Vec<Table>,
}

struct Table {
    from: Box<str>,
    to: Box<str>,
    forth: Recode,
    back: Recode,
}

#[derive(Clone)]
enum Recode {
    Bytes(Arc<[u8; 256]>),
    ToUtf8(Arc<Vec<Box<[u8]>>>),
    FromUtf8(Arc<HashMap<u32, u8>>),
}

impl Charset {
    /// Compiles the settings.
    pub fn compile(settings: &Settings, names: &Names) -> std::result::Result<Self, String> {
        let template = |name: Option<&str>, setting: &str| match name {
            Some(name) if name != "off" => Template::compile(name, names).map_err(|e| format!("{setting}: {e}")),
            _ => Ok(Template::default()),
        };
        let tables = settings.charset_map.iter().map(|map| {
            Table::compile(map).map_err(|e| format!("charset_map from {:?} to {:?}: {e}", map.from, map.to))
        });
        let charset = Self {
            to: template(settings.charset.as_deref(), "charset")?,
            from: template(settings.source_charset.as_deref(), "source_charset")?,
            override_charset: settings.override_charset,
            types: Types::compile(&settings.charset_types),
            tables: tables.collect::<std::result::Result<_, _>>()?,
        };
        if let (Some(from @ [_, ..]), Some(to @ [_, ..])) = (charset.from.as_text(), charset.to.as_text()) {
            if !from.eq_ignore_ascii_case(to) && charset.recode(from, to).is_none() {
                let name = String::from_utf8_lossy;
                return Err(format!("no charset_map between the charsets {:?} and {:?}", name(from), name(to)));
            }
        }
        Ok(charset)
    }

    /// A charset that the configuration names.
    fn knows(&self, name: &[u8]) -> bool {
        let same = |known: &[u8]| known.eq_ignore_ascii_case(name);
        [&self.to, &self.from].iter().any(|template| template.as_text().is_some_and(same))
            || self.tables.iter().any(|table| same(table.from.as_bytes()) || same(table.to.as_bytes()))
    }

    fn recode(&self, from: &[u8], to: &[u8]) -> Option<Recode> {
        self.tables.iter().find_map(|table| {
            let is = |name: &str, wanted: &[u8]| name.as_bytes().eq_ignore_ascii_case(wanted);
            match () {
                () if is(&table.from, from) && is(&table.to, to) => Some(table.forth.clone()),
                () if is(&table.to, from) && is(&table.from, to) => Some(table.back.clone()),
                () => None,
            }
        })
    }
}

impl Table {
    fn compile(map: &Config) -> std::result::Result<Self, String> {
        let utf8 = map.to.eq_ignore_ascii_case("utf-8");
        let ascii = |byte: u8| if byte < 0x80 { byte } else { b'?' };
        let mut forth = std::array::from_fn(|i| ascii(i as u8));
        let mut back = forth;
        let mut texts: Vec<Box<[u8]>> = forth.iter().map(|byte| Box::from([*byte])).collect();
        let mut codes = HashMap::new();
        for (from, to) in &map.codes {
            let single =
                |text: &str| u8::from_str_radix(text, 16).map_err(|_| format!("{text:?} is not a byte in hexadecimal"));
            let byte = single(from)?;
            if !utf8 {
                let to = single(to)?;
                forth[usize::from(byte)] = to;
                back[usize::from(to)] = byte;
                continue;
            }
            let wrong = || format!("{to:?} is not a character of UTF-8 in hexadecimal");
            let text = hexadecimal(to).ok_or_else(wrong)?;
            let mut characters = std::str::from_utf8(&text).map_err(|_| wrong())?.chars();
            let (Some(character), None) = (characters.next(), characters.next()) else { return Err(wrong()) };
            texts[usize::from(byte)] = text.into();
            codes.insert(u32::from(character), byte);
        }
        let (forth, back) = if utf8 {
            (Recode::ToUtf8(Arc::new(texts)), Recode::FromUtf8(Arc::new(codes)))
        } else {
            (Recode::Bytes(Arc::new(forth)), Recode::Bytes(Arc::new(back)))
        };
        Ok(Self { from: map.from.as_str().into(), to: map.to.as_str().into(), forth, back })
    }
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let pair = |at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(pair).collect()
}

/// What is to be done with an answer.
struct Change {
    to: Vec<u8>,
    recode: Option<Recode>,
}

fn change(charset: &Charset, ex: &Exchange, response: &Response) -> Option<Change> {
    let kind = response.headers.get(HeaderId::ContentType).filter(|kind| !kind.is_empty())?;
    if !ex.is_main() || matches!(response.status, 301 | 302) {
        return None;
    }
    let named = charset_of(kind);
    let sent = Sent { status: response.status, headers: Some(&response.headers), ..Sent::default() };
    let to = match &ex.upstream.charset {
        Some(wanted) if charset.knows(wanted) => wanted.to_vec(),
        Some(wanted) => {
            ex.log_error(&format!("unknown charset {:?} in X-Accel-Charset", String::from_utf8_lossy(wanted)));
            return None;
        }
        None if named.map_or_else(|| !charset.types.has(&response.headers), |_| !charset.override_charset) => {
            return None;
        }
        None => charset.to.value(ex, sent),
    };
    if to.is_empty() || to == b"off" {
        return None;
    }
    let from = match named {
        Some(named) => named.to_vec(),
        None => charset.from.value(ex, sent),
    };
    if from.is_empty() || from.eq_ignore_ascii_case(&to) {
        return Some(Change { to, recode: None });
    }
    if response.headers.get(HeaderId::ContentEncoding).is_some_and(|coding| !coding.is_empty()) {
        return None;
    }
    let Some(recode) = charset.recode(&from, &to) else {
        let name = String::from_utf8_lossy;
        ex.log_error(&format!("no charset_map between the charsets {:?} and {:?}", name(&from), name(&to)));
        return None;
    };
    Some(Change { to, recode: Some(recode) })
}

impl Filter for Charset {
    fn apply<'f>(&'f self, ex: &'f Exchange, response: &'f mut Response) -> Filtered<'f> {
        recode(self, ex, response);
        Filtered::Done
    }
}

/// Names the charset and recodes the body.
fn recode(charset: &Charset, ex: &Exchange, response: &mut Response) {
    let Some(Change { to, recode }) = change(charset, ex, response) else { return };
    let kind = response.headers.get(HeaderId::ContentType).unwrap_or_default();
    let end = memchr::memchr(b';', kind).filter(|_| charset_of(kind).is_some()).unwrap_or(kind.len());
    let kind = [kind[..end].trim_ascii_end(), b"; charset=", &to].concat();
    response.headers.set(HeaderId::ContentType, &kind);
    // The entity tag stays a strong one, as in nginx: all answers of a URI are recoded alike.
    match recode {
        None => {}
        Some(recode @ Recode::Bytes(_)) => body::wrap_measured(response, Recoder { recode, held: Vec::new() }),
        Some(recode) => body::wrap(response, Recoder { recode, held: Vec::new() }),
    }
}

/// The charset parameter of a Content-Type.
fn charset_of(kind: &[u8]) -> Option<&[u8]> {
    kind.split(|byte| *byte == b';').skip(1).find_map(|parameter| {
        let parameter = parameter.trim_ascii();
        let (name, value) = parameter.split_at_checked(8)?;
        name.eq_ignore_ascii_case(b"charset=")
            .then(|| value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value))
    })
}

struct Recoder {
    recode: Recode,
    /// The beginning of a character that is not all there.
    held: Vec<u8>,
}

impl Recoder {
    fn leave_utf8(&mut self, codes: &HashMap<u32, u8>, more: bool, out: &mut Vec<u8>) {
        let text = std::mem::take(&mut self.held);
        for chunk in text.utf8_chunks() {
            for character in chunk.valid().chars() {
                let code = u32::from(character);
                match codes.get(&code) {
                    Some(byte) => out.push(*byte),
                    None if code < 0x80 => out.push(code as u8),
                    None => {
                        let _ = write!(out, "&#{code};");
                    }
                }
            }
            let invalid = chunk.invalid();
            let last = chunk.valid().as_ptr() as usize + chunk.valid().len() + invalid.len()
                == text.as_ptr() as usize + text.len();
            if more && last && std::str::from_utf8(invalid).is_err_and(|e| e.error_len().is_none()) {
                self.held = invalid.to_vec();
            } else {
                out.extend(invalid.iter().map(|_| b'?'));
            }
        }
    }
}

impl Transform for Recoder {
    fn push(&mut self, chunk: Bytes, out: &mut Vec<u8>) -> Result<()> {
        match &self.recode {
            Recode::Bytes(table) => out.extend(chunk.iter().map(|byte| table[usize::from(*byte)])),
            Recode::ToUtf8(texts) => {
                for byte in &chunk {
                    out.extend_from_slice(&texts[usize::from(*byte)]);
                }
            }
            Recode::FromUtf8(codes) => {
                let codes = codes.clone();
                self.held.extend_from_slice(&chunk);
                self.leave_utf8(&codes, true, out);
            }
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        if let Recode::FromUtf8(codes) = &self.recode {
            let codes = codes.clone();
            self.leave_utf8(&codes, false, out);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Body;
    use crate::testing::{Answer, Site, response};
    use serde_json::{Value, json};

    fn table() -> Table {
        let codes = [("C0", "D18E"), ("C1", "D0B0"), ("80", "E282AC")];
        let codes = codes.iter().map(|(from, to)| ((*from).into(), (*to).into())).collect();
        Table::compile(&Config { from: "koi8-r".into(), to: "utf-8".into(), codes }).unwrap()
    }

    fn recoded(recode: &Recode, text: &[u8], size: usize) -> Vec<u8> {
        let mut recoder = Recoder { recode: recode.clone(), held: Vec::new() };
        let mut out = Vec::new();
        for piece in text.chunks(size) {
            recoder.push(Bytes::copy_from_slice(piece), &mut out).unwrap();
        }
        recoder.finish(&mut out).unwrap();
        out
    }

    #[test]
    fn both_directions_in_pieces_of_any_size() {
        let table = table();
        for size in [1, 2, 3, 100] {
            assert_eq!(recoded(&table.forth, b"a\xc0\xc1\x80\xff", size), "aюа€?".as_bytes());
            assert_eq!(recoded(&table.back, "aюа€é".as_bytes(), size), b"a\xc0\xc1\x80&#233;");
            assert_eq!(recoded(&table.back, b"a\xd1", size), b"a?");
        }
    }

    #[test]
    fn what_is_no_table_is_an_error() {
        for (from, to) in [("C0", "D1"), ("100", "D18E"), ("C0", "xy"), ("C0", "6162")] {
            let codes = BTreeMap::from([(from.into(), to.into())]);
            assert!(Table::compile(&Config { from: "a".into(), to: "utf-8".into(), codes }).is_err(), "{from} {to}");
        }
    }

    #[test]
    fn charsets_of_types() {
        assert_eq!(charset_of(b"text/html; charset=utf-8"), Some(&b"utf-8"[..]));
        assert_eq!(charset_of(b"text/html; a=b; Charset=\"x\""), Some(&b"x"[..]));
        assert_eq!(charset_of(b"text/html"), None);
    }

    fn typed(settings: Value, kind: &str, body: &[u8]) -> Answer {
        let site = Site::with(settings);
        let mut page = response(200, kind, "");
        page.body = Body::Full(Bytes::copy_from_slice(body));
        site.filter(&site.exchange("GET /?c=utf-8"), page)
    }

    #[test]
    fn the_charset_is_named_for_types_that_have_one() {
        let settings = json!({"charset": "$arg_c"});
        for (kind, expected) in [
            ("text/html", "text/html; charset=utf-8"),
            ("text/html; a=b", "text/html; a=b; charset=utf-8"),
            ("image/png", "image/png"),
            ("text/html; charset=x", "text/html; charset=x"),
        ] {
            assert_eq!(typed(settings.clone(), kind, b"x").header("Content-Type"), expected, "{kind}");
        }
    }

    #[test]
    fn a_body_in_another_charset_is_recoded() {
        let map = json!([{"from": "koi8-r", "to": "utf-8", "codes": {"C0": "D18E"}}]);
        let settings = json!({"charset": "utf-8", "source_charset": "koi8-r", "charset_map": map});
        let answer = typed(settings.clone(), "text/plain", b"a\xc0");
        assert_eq!((answer.text(), answer.length), ("aю", None));
        let named = typed(settings, "text/plain; charset=koi8-r", b"a\xc0");
        assert_eq!(
            (&named.body[..], named.header("Content-Type")),
            (&b"a\xc0"[..], "text/plain; charset=koi8-r".into())
        );
        let settings = json!({"charset": "utf-8", "override_charset": true, "charset_map": map});
        assert_eq!(typed(settings, "text/plain; charset=KOI8-R", b"a\xc0").text(), "aю");
    }

    #[test]
    fn a_compressed_body_is_not_recoded() {
        let map = json!([{"from": "koi8-r", "to": "utf-8", "codes": {}}]);
        let site = Site::with(json!({"charset": "utf-8", "source_charset": "koi8-r", "charset_map": map}));
        let mut page = response(200, "text/plain", "x");
        page.headers.push(HeaderId::ContentEncoding, b"gzip");
        assert_eq!(site.filter(&site.exchange("GET /"), page).header("Content-Type"), "text/plain");
    }

    #[test]
    fn charsets_without_a_table_between_them_are_refused() {
        let error = Site::check(json!({"settings": {"charset": "utf-8", "source_charset": "koi8-r"}})).err().unwrap();
        assert_eq!(error, "settings[0]: no charset_map between the charsets \"koi8-r\" and \"utf-8\"");
    }
}
