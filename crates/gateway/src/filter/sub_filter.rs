//! Replaces texts in bodies as they pass (nginx: the sub module).
//!
//! Law: what is found does not depend on how the body is cut into pieces. A piece's end is held back as long as it may be
//! the beginning of a text that is looked for.
use crate::error::Result;
use crate::exchange::{Exchange, Response};
use crate::filter::body::{self, Transform};
use crate::filter::types::Types;
use crate::filter::weaken;
use crate::kept;
use crate::kinds::Text;
use crate::scope::{self, Compiling, Filter, Filtered, Room};
use crate::vars::{Names, Sent, Template};
use buchner_wire::headers::HeaderId;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Replacements.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Texts that are replaced in bodies (nginx: `sub_filter`). Default: none.
    pub sub_filter: Vec<Config>,
    /// Each of them is replaced once only (nginx: `sub_filter_once`). Default: true.
    pub sub_filter_once: bool,
    /// Media types in which they are replaced; `*`: all (nginx: `sub_filter_types`). Default: text/html.
    pub sub_filter_types: Vec<String>,
    /// `Last-Modified` and `ETag` (as a weak one) stay (nginx: `sub_filter_last_modified`). Default: false.
    pub sub_filter_last_modified: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sub_filter: Vec::new(),
            sub_filter_once: true,
            sub_filter_types: vec!["text/html".into()],
            sub_filter_last_modified: false,
        }
    }
}

kept!(Settings);

impl Room for Settings {
    const TITLE: &'static str = "Replacements";

    fn compile(&self, cx: &Compiling<'_>, out: &mut scope::Settings) -> std::result::Result<(), String> {
        if !self.sub_filter.is_empty() {
            out.filters.push(Box::new(SubFilter::compile(self, cx.names)?));
        }
        Ok(())
    }
}

/// A text and what takes its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SubFilter")]
pub struct Config {
    /// The text, whose case does not matter, with variables.
    pub text: Text,
    /// What takes its place, with variables.
    pub replacement: Text,
}

/// The compiled settings.
pub struct SubFilter {
    pairs: Vec<(Template, Template)>,
    types: Types,
    once: bool,
    last_modified: bool,
}

impl SubFilter {
    /// Compiles the settings.
    pub fn compile(settings: &Settings, names: &Names) -> std::result::Result<Self, String> {
        let pair = |pair: &Config| {
            if pair.text.is_empty() {
                return Err("sub_filter: an empty text would be found everywhere".to_owned());
            }
            let compile = |text: &str| Template::compile(text, names).map_err(|e| format!("sub_filter: {e}"));
            Ok((compile(&pair.text)?, compile(&pair.replacement)?))
        };
        Ok(Self {
            pairs: settings.sub_filter.iter().map(pair).collect::<std::result::Result<_, _>>()?,
            types: Types::compile(&settings.sub_filter_types),
            once: settings.sub_filter_once,
            last_modified: settings.sub_filter_last_modified,
        })
    }
}

/// The texts to look for in this answer; a text of variables may turn out to be empty.
fn pairs(sub: &SubFilter, ex: &Exchange, response: &Response) -> Vec<Pair> {
    if response.body.length() == Some(0) || !sub.types.has(&response.headers) {
        return Vec::new();
    }
    let sent = Sent { status: response.status, headers: Some(&response.headers), ..Sent::default() };
    let pairs = sub.pairs.iter().map(|(text, to)| Pair {
        text: text.value(ex, sent).to_ascii_lowercase(),
        to: to.value(ex, sent),
        done: false,
    });
    pairs.filter(|pair| !pair.text.is_empty()).collect()
}

impl Filter for SubFilter {
    fn apply<'f>(&'f self, ex: &'f Exchange, response: &'f mut Response) -> Filtered<'f> {
        replace(self, ex, response);
        Filtered::Done
    }
}

/// Puts the replacement in.
fn replace(sub: &SubFilter, ex: &Exchange, response: &mut Response) {
    let pairs = pairs(sub, ex, response);
    if pairs.is_empty() {
        return;
    }
    if sub.last_modified {
        weaken(response);
    } else {
        response.headers.remove(HeaderId::LastModified);
        response.headers.remove(HeaderId::Etag);
    }
    body::wrap(response, Replacer { pairs, once: sub.once, held: Vec::new() });
}

struct Pair {
    /// In lower case.
    text: Vec<u8>,
    to: Vec<u8>,
    /// Was found, and is looked for once only.
    done: bool,
}

struct Replacer {
    pairs: Vec<Pair>,
    once: bool,
    held: Vec<u8>,
}

/// What begins at a place.
enum At {
    /// This text.
    Text(usize),
    /// Perhaps one, as far as can be seen.
    Perhaps,
    Nothing,
}

impl Replacer {
    /// Looks at a place. In nginx's order: the first of the configured texts that is there.
    fn at(&self, rest: &[u8], more: bool) -> At {
        let mut perhaps = false;
        for (i, pair) in self.pairs.iter().enumerate().filter(|(_, pair)| !pair.done) {
            let n = pair.text.len().min(rest.len());
            if rest[..n].eq_ignore_ascii_case(&pair.text[..n]) {
                if n == pair.text.len() {
                    // An earlier one might still turn out to be there.
                    return if perhaps { At::Perhaps } else { At::Text(i) };
                }
                perhaps |= more;
            }
        }
        if perhaps { At::Perhaps } else { At::Nothing }
    }

    fn run(&mut self, more: bool, out: &mut Vec<u8>) {
        let text = std::mem::take(&mut self.held);
        let mut starts = [false; 256];
        for pair in self.pairs.iter().filter(|pair| !pair.done) {
            starts[usize::from(pair.text[0])] = true;
            starts[usize::from(pair.text[0].to_ascii_uppercase())] = true;
        }
        let (mut from, mut at) = (0, 0);
        while let Some(next) = text[at..].iter().position(|byte| starts[usize::from(*byte)]) {
            at += next;
            match self.at(&text[at..], more) {
                At::Nothing => at += 1,
                At::Perhaps => {
                    out.extend_from_slice(&text[from..at]);
                    self.held = text[at..].to_vec();
                    return;
                }
                At::Text(i) => {
                    out.extend_from_slice(&text[from..at]);
                    let pair = &mut self.pairs[i];
                    out.extend_from_slice(&pair.to);
                    at += pair.text.len();
                    from = at;
                    pair.done = self.once;
                }
            }
        }
        out.extend_from_slice(&text[from..]);
    }
}

impl Transform for Replacer {
    fn push(&mut self, chunk: Bytes, out: &mut Vec<u8>) -> Result<()> {
        if self.pairs.iter().all(|pair| pair.done) {
            out.append(&mut self.held);
            out.extend_from_slice(&chunk);
            return Ok(());
        }
        self.held.extend_from_slice(&chunk);
        self.run(true, out);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.run(false, out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Answer, Site, response};
    use serde_json::{Value, json};

    fn replaced(pairs: &[(&str, &str)], once: bool, text: &str, size: usize) -> String {
        let pairs = pairs.iter().map(|(text, to)| Pair {
            text: text.as_bytes().to_vec(),
            to: to.as_bytes().to_vec(),
            done: false,
        });
        let mut replacer = Replacer { pairs: pairs.collect(), once, held: Vec::new() };
        let mut out = Vec::new();
        for piece in text.as_bytes().chunks(size) {
            replacer.push(Bytes::copy_from_slice(piece), &mut out).unwrap();
        }
        replacer.finish(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn pieces_of_any_size_give_the_same() {
        type Case = (&'static [(&'static str, &'static str)], bool, &'static str, &'static str);
        let cases: &[Case] = &[
            (&[("abc", "X")], false, "abcabdABCabaabcab", "XabdXabaXab"),
            (&[("abc", "X")], true, "abcabc", "Xabc"),
            (&[("a", "1"), ("b", "2")], true, "abab", "12ab"),
            (&[("a", "1"), ("b", "2")], false, "abab", "1212"),
            (&[("abcd", "1"), ("ab", "2")], false, "ab abcd abc", "2 1 2c"),
            (&[("ab", "2"), ("abcd", "1")], false, "abcd", "2cd"),
            (&[("aab", "X")], false, "aaab aaaab", "aX aaX"),
            (&[("</head>", "<x></head>")], true, "<HTML></HEAD></head>", "<HTML><x></head></head>"),
            (&[("é", "e")], false, "été", "ete"),
        ];
        for (pairs, once, text, expected) in cases {
            for size in [1, 2, 3, 100] {
                assert_eq!(replaced(pairs, *once, text, size), *expected, "{pairs:?} {text} {size}");
            }
        }
    }

    fn filtered(settings: Value, kind: &str) -> Answer {
        let site = Site::with(settings);
        let mut page = response(200, kind, "<b>Old</b> old");
        page.headers.push(HeaderId::Etag, b"\"1\"");
        page.headers.push(HeaderId::LastModified, b"Sun, 06 Nov 1994 08:49:37 GMT");
        site.filter(&site.exchange("GET /?to=new"), page)
    }

    #[test]
    fn a_text_of_a_page_is_replaced_once_and_its_validators_go() {
        let answer = filtered(json!({"sub_filter": [{"text": "old", "replacement": "$arg_to"}]}), "text/html");
        assert_eq!((answer.text(), answer.length), ("<b>new</b> old", None));
        assert_eq!((answer.header("ETag"), answer.header("Last-Modified")), (String::new(), String::new()));
    }

    #[test]
    fn all_are_replaced_and_validators_stay_where_said() {
        let settings = json!({
            "sub_filter": [{"text": "old", "replacement": "new"}],
            "sub_filter_once": false,
            "sub_filter_last_modified": true,
        });
        let answer = filtered(settings, "text/html");
        assert_eq!((answer.text(), answer.header("ETag")), ("<b>new</b> new", "W/\"1\"".into()));
        assert_eq!(answer.header("Last-Modified"), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn other_types_and_texts_that_turn_out_empty_change_nothing() {
        let pair = json!([{"text": "old", "replacement": "new"}]);
        let answer = filtered(json!({"sub_filter": pair}), "text/plain");
        assert_eq!((answer.text(), answer.header("ETag")), ("<b>Old</b> old", "\"1\"".into()));
        assert_eq!(filtered(json!({"sub_filter": pair, "sub_filter_types": ["*"]}), "a/b").text(), "<b>new</b> old");
        let empty = json!([{"text": "$arg_none", "replacement": "new"}]);
        assert_eq!(filtered(json!({"sub_filter": empty}), "text/html").length, Some(14));
    }
}
