//! A variable whose value depends on another text (nginx: map).
use crate::exchange::Exchange;
use crate::regex::Regex;
use crate::route::NameTable;
use crate::scope::{Definition, Found};
use crate::tables::Table;
use crate::vars::{Names, Sent, Template};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// A value by what a text is.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Map")]
pub struct Config {
    /// The text that is looked at, with variables.
    pub source: String,
    /// Values by pattern: a text whose case does not matter; behind `~` a regular expression, behind `~*` one without regard to case. `\` in front of a text takes it as it is. The text wins, then the first expression that matches.
    pub values: Vec<(String, String)>,
    /// Value where nothing fits, with variables. Default: empty.
    pub default: String,
    /// Patterns may be names with a wildcard: `*.example.com`, `.example.com`, `www.example.*`. Default: false.
    pub hostnames: bool,
    /// The value is looked for anew each time it is used. Default: false, it is kept for the request.
    pub volatile: bool,
}

/// A compiled map.
pub struct Map {
    source: Template,
    texts: Table<u32>,
    names: Option<NameTable>,
    regexes: Vec<(Regex, u32)>,
    results: Vec<Template>,
    pub(super) volatile: bool,
}

impl Map {
    /// Compiles a map.
    pub fn compile(config: &Config, names: &Names) -> Result<Self, String> {
        let mut map = Self {
            source: Template::compile(&config.source, names).map_err(|e| format!("source: {e}"))?,
            texts: Table::default(),
            names: config.hostnames.then(NameTable::default),
            regexes: Vec::new(),
            results: vec![Template::compile(&config.default, names).map_err(|e| format!("default: {e}"))?],
            volatile: config.volatile,
        };
        // Equal results are kept once: a list of ten thousand networks or names has a handful.
        let mut known: HashMap<&str, u32> = HashMap::from([(config.default.as_str(), 0)]);
        for (pattern, value) in &config.values {
            let next = map.results.len() as u32;
            let result = *known.entry(value).or_insert(next);
            if result == next {
                map.results.push(Template::compile(value, names)?);
            }
            map.insert(pattern, result, names)?;
        }
        Ok(map)
    }

    fn insert(&mut self, pattern: &str, result: u32, names: &Names) -> Result<(), String> {
        if let Some(text) = pattern.strip_prefix('~') {
            let (text, ignore_case) = text.strip_prefix('*').map_or((text, false), |text| (text, true));
            self.regexes.push((Regex::compile(text, ignore_case, names)?, result));
            return Ok(());
        }
        let text = pattern.strip_prefix('\\').unwrap_or(pattern);
        if let Some(table) = &mut self.names {
            return table.insert(text, result, names);
        }
        self.texts.entry(text.to_ascii_lowercase().into_bytes().into()).or_insert(result);
        Ok(())
    }

    fn look_up(&self, text: &[u8], ex: &Exchange) -> u32 {
        let found = match &self.names {
            Some(names) => names.find(&text.to_ascii_lowercase()).map(|(result, _)| result),
            None if self.texts.is_empty() => None,
            None if text.iter().any(u8::is_ascii_uppercase) => {
                self.texts.get(text.to_ascii_lowercase().as_slice()).copied()
            }
            None => self.texts.get(text).copied(),
        };
        if let Some(result) = found {
            return result;
        }
        if text.is_empty() || self.regexes.is_empty() {
            return 0;
        }
        for (regex, result) in &self.regexes {
            match regex.exec(ex, text) {
                Ok(true) => return *result,
                Ok(false) => {}
                Err(given_up) => {
                    ex.log_error(&given_up.to_string());
                    return 0;
                }
            }
        }
        0
    }
}

impl Definition for Map {
    fn find(&self, ex: &Exchange, sent: Sent<'_>) -> Found {
        let mut buf = ex.thread.bufs.take_write();
        let mut text = self.source.lend(ex, sent, &mut buf);
        if self.names.is_some() {
            text = text.strip_suffix(b".").unwrap_or(text);
        }
        let found = Found::Result(self.look_up(text, ex));
        ex.thread.bufs.give_write(buf);
        found
    }

    fn result(&self, number: u32) -> Option<&Template> {
        self.results.get(number as usize)
    }

    fn volatile(&self) -> bool {
        self.volatile
    }
}
