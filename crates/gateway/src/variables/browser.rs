//! `$ancient_browser`, `$modern_browser` and `$msie`, from `User-Agent` (nginx: the browser module).
use crate::exchange::Exchange;
use crate::kept;
use crate::scope::{self, Compiling, Room};
use crate::vars::{Sent, Variable};
use buchner_wire::headers::HeaderId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Browsers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What tells browsers for which `$ancient_browser` has a value: texts in `User-Agent`, `netscape4` (nginx: `ancient_browser`). Default: none.
    pub ancient_browser: Vec<String>,
    /// Browsers from a version on for which `$modern_browser` has a value: `msie 5.5`, `gecko 1.8`, `opera 9`, `safari 413`, `konqueror 3`, `unlisted` (nginx: `modern_browser`). Default: none.
    pub modern_browser: Vec<String>,
    /// That value (nginx: `ancient_browser_value`). Default: 1.
    pub ancient_browser_value: String,
    /// That value (nginx: `modern_browser_value`). Default: 1.
    pub modern_browser_value: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ancient_browser: Vec::new(),
            modern_browser: Vec::new(),
            ancient_browser_value: "1".into(),
            modern_browser_value: "1".into(),
        }
    }
}

kept!(Settings);
kept!(Option<Browsers>);

impl Room for Settings {
    const TITLE: &'static str = "Browsers";
    const VARIABLES: &'static [Variable] = VARIABLES;

    fn compile(&self, _: &Compiling<'_>, out: &mut scope::Settings) -> std::result::Result<(), String> {
        out.put_some(Browsers::compile(self)?);
        Ok(())
    }
}

/// The variables.
const VARIABLES: &[Variable] = &[
    Variable::new("ancient_browser", write_ancient, "Value of `ancient_browser_value` for an old browser.")
        .empty_counts(),
    Variable::new("modern_browser", write_modern, "Value of `modern_browser_value` for a new browser.").empty_counts(),
    Variable::new("msie", write_msie, "`1` for Internet Explorer.").empty_counts(),
];

/// Weight of the first part of a version; each further part weighs a hundredth of the one before.
const SCALE: u64 = 1_000_000;
/// No Opera is as new as this: one that calls itself something else is ancient unless versions of it are named.
const NO_OPERA: u64 = 4_001_000_000;

/// A browser that is told by its name.
struct Known {
    word: &'static str,
    /// Bytes of `User-Agent` in front of its name.
    skip: usize,
    name: &'static [u8],
    /// Bytes from there to the version.
    add: usize,
}

/// In the order they are looked for.
const KNOWN: &[Known] = &[
    Known { word: "opera", skip: 0, name: b"Opera", add: 6 },
    Known { word: "gecko", skip: 13, name: b"rv:", add: 3 },
    Known { word: "safari", skip: 13, name: b"Safari/", add: 7 },
    Known { word: "msie", skip: 25, name: b"MSIE ", add: 5 },
    Known { word: "konqueror", skip: 25, name: b"Konqueror/", add: 10 },
];

/// Which browsers are ancient, and which are modern.
pub struct Browsers {
    /// Browsers, and the version from which they are modern.
    modern: Vec<(&'static Known, u64)>,
    unlisted: bool,
    ancient: Vec<Box<[u8]>>,
    netscape4: bool,
}

impl Browsers {
    /// Compiles what the settings say of browsers.
    pub fn compile(settings: &Settings) -> Result<Option<Self>, String> {
        let mut browsers = Self { modern: Vec::new(), unlisted: false, ancient: Vec::new(), netscape4: false };
        for text in &settings.modern_browser {
            if text == "unlisted" {
                browsers.unlisted = true;
                continue;
            }
            let (word, version) = text.split_once(' ').unwrap_or((text, ""));
            let known = KNOWN.iter().find(|known| known.word == word);
            let known = known.ok_or_else(|| format!("modern_browser: no browser is called {word:?}"))?;
            let parsed = parsed(version).ok_or_else(|| format!("modern_browser: {version:?} is no version"))?;
            browsers.modern.push((known, parsed));
        }
        if !browsers.modern.is_empty() && !browsers.modern.iter().any(|(known, _)| known.word == "opera") {
            browsers.modern.push((&KNOWN[0], NO_OPERA));
        }
        browsers.modern.sort_by_key(|(known, _)| known.skip);
        for text in &settings.ancient_browser {
            match text.as_str() {
                "netscape4" => browsers.netscape4 = true,
                text => browsers.ancient.push(text.as_bytes().into()),
            }
        }
        Ok((!settings.modern_browser.is_empty() || !settings.ancient_browser.is_empty()).then_some(browsers))
    }

    fn is_modern(&self, agent: Option<&[u8]>) -> bool {
        let Some(agent) = agent else { return self.unlisted };
        for (known, least) in &self.modern {
            let Some(rest) = agent.get(known.skip..) else { continue };
            let Some(at) = memchr::memmem::find(rest, known.name) else { continue };
            let Some(version) = rest.get(at + known.add..).filter(|rest| !rest.is_empty()) else { continue };
            return begins_with(version) >= *least;
        }
        let netscape4 = || agent.len() > 13 && agent.starts_with(b"Mozilla/") && (b'1'..b'5').contains(&agent[8]);
        let listed = || self.ancient.iter().any(|text| memchr::memmem::find(agent, text).is_some());
        self.unlisted && !(self.netscape4 && netscape4()) && !listed()
    }
}

/// The version a text begins with, as one number.
fn begins_with(text: &[u8]) -> u64 {
    let end = text.iter().position(|b| !b.is_ascii_digit() && *b != b'.').unwrap_or(text.len());
    let (mut version, mut scale) = (0u64, SCALE);
    for part in text[..end].split(|b| *b == b'.') {
        let number = part.iter().fold(0u64, |n, digit| n.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
        version = version.saturating_add(number.saturating_mul(scale));
        scale /= 100;
    }
    version
}

fn parsed(text: &str) -> Option<u64> {
    let whole = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    whole.then(|| begins_with(text.as_bytes()))
}

fn modern(ex: &Exchange) -> bool {
    let agent = ex.request.headers.get(HeaderId::UserAgent);
    ex.settings().get::<Option<Browsers>>().as_ref().is_some_and(|browsers| browsers.is_modern(agent))
}

/// Writes `$modern_browser`.
fn write_modern(ex: &Exchange, _sent: Sent<'_>, out: &mut Vec<u8>) {
    if modern(ex) {
        out.extend_from_slice(ex.settings().get::<Settings>().modern_browser_value.as_bytes());
    }
}

/// Writes `$ancient_browser`.
fn write_ancient(ex: &Exchange, _sent: Sent<'_>, out: &mut Vec<u8>) {
    if !modern(ex) {
        out.extend_from_slice(ex.settings().get::<Settings>().ancient_browser_value.as_bytes());
    }
}

/// Writes `$msie`: `1` for Internet Explorer, unless it is an Opera that says so.
fn write_msie(ex: &Exchange, _sent: Sent<'_>, out: &mut Vec<u8>) {
    let Some(agent) = ex.request.headers.get(HeaderId::UserAgent) else { return };
    let named = memchr::memmem::find(agent, b"MSIE ").is_some_and(|at| at + 7 < agent.len());
    if named && memchr::memmem::find(agent, b"Opera").is_none() {
        out.push(b'1');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn browsers(modern: &[&str], ancient: &[&str]) -> Browsers {
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let settings = Settings { modern_browser: list(modern), ancient_browser: list(ancient), ..Settings::default() };
        Browsers::compile(&settings).unwrap().unwrap()
    }

    #[test]
    fn versions_compare_part_by_part() {
        assert!(parsed("1.8.1") > parsed("1.8") && parsed("2") > parsed("1.99") && parsed("1.0") == parsed("1"));
        assert_eq!((parsed(""), parsed("x"), parsed("1a")), (None, None, None));
    }

    #[test]
    fn browsers_are_told_by_name_and_version() {
        let browsers = browsers(&["msie 6.0", "unlisted"], &["links", "netscape4"]);
        let modern = |agent: &str| browsers.is_modern(Some(agent.as_bytes()));
        assert!(modern("Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)"));
        assert!(!modern("Mozilla/4.0 (compatible; MSIE 5.5; Windows NT 5.1)"));
        assert!(!modern("Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1) Opera 7.5"));
        assert!(!modern("links (2.1)") && !modern("Mozilla/4.72 [en]") && modern("curl/8") && browsers.is_modern(None));
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        for text in ["lynx 1", "msie", "msie x"] {
            let settings = Settings { modern_browser: vec![text.to_owned()], ..Settings::default() };
            assert!(Browsers::compile(&settings).is_err(), "{text}");
        }
    }
}
