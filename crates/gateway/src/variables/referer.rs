//! `$invalid_referer`: `1` unless the `Referer` is one of some (nginx: valid_referers).
use crate::exchange::Exchange;
use crate::kept;
use crate::regex::Regex;
use crate::route::{NameTable, NameTables};
use crate::scope::{self, Compiling, Room};
use crate::vars::{Names, Sent, Variable};
use buchner_wire::headers::HeaderId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Referers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Referers for which `$invalid_referer` is empty: `none`, `blocked`, `server_names`, names with or without a wildcard and a path, `~regex` (nginx: `valid_referers`). Default: none, and all are valid.
    pub valid_referers: Vec<String>,
}

kept!(Settings);
kept!(Option<Referers>);

impl Room for Settings {
    const TITLE: &'static str = "Referers";
    const VARIABLES: &'static [Variable] = VARIABLES;

    fn compile(&self, cx: &Compiling<'_>, out: &mut scope::Settings) -> std::result::Result<(), String> {
        out.put_some(Referers::compile(&self.valid_referers, cx.names)?);
        Ok(())
    }
}

/// The variable.
const VARIABLES: &[Variable] =
    &[Variable::new("invalid_referer", write, "Empty for a referer of `valid_referers`, else `1`.").empty_counts()];

/// A host that is longer is no valid one.
const MAX_HOST: usize = 256;
/// No `Referer` with a scheme is shorter than `http://i.ru`.
const MIN: usize = 11;

/// Which referers are valid.
#[derive(Default)]
pub struct Referers {
    none: bool,
    blocked: bool,
    server_names: bool,
    hosts: NameTable,
    /// What the path begins with, by the number that the table of hosts gives.
    paths: Vec<Box<[u8]>>,
    regexes: Vec<Regex>,
}

impl Referers {
    /// Compiles a list of referers; nothing if it is empty.
    pub fn compile(list: &[String], names: &Names) -> Result<Option<Self>, String> {
        let mut referers = Self::default();
        for word in list {
            match word.as_str() {
                "none" => referers.none = true,
                "blocked" => referers.blocked = true,
                "server_names" => referers.server_names = true,
                word => referers.add(word, names).map_err(|e| format!("valid_referers: {e}"))?,
            }
        }
        let some = referers.server_names || !referers.paths.is_empty() || !referers.regexes.is_empty();
        if !list.is_empty() && !some {
            return Err("valid_referers: \"none\" and \"blocked\" are there without any valid referer".into());
        }
        Ok(some.then_some(referers))
    }

    fn add(&mut self, word: &str, names: &Names) -> Result<(), String> {
        if let Some(text) = word.strip_prefix('~') {
            self.regexes.push(Regex::compile(text, true, names)?);
            return Ok(());
        }
        if word.contains("://") {
            return Err(format!("{word:?}: referers are given without their scheme"));
        }
        let (host, path) = word.split_at(word.find('/').unwrap_or(word.len()));
        self.hosts.insert(host, self.paths.len() as u32, names)?;
        self.paths.push(path.as_bytes().into());
        Ok(())
    }

    fn is_valid(&self, ex: &Exchange) -> bool {
        let Some(referer) = ex.request.headers.get(HeaderId::Referer) else { return self.none };
        let scheme = |scheme: &[u8]| {
            let (start, rest) = referer.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some(rest)
        };
        let rest = scheme(b"http://").or_else(|| scheme(b"https://")).filter(|_| referer.len() >= MIN);
        let Some(rest) = rest else { return self.blocked };
        let end = rest.iter().position(|b| matches!(b, b'/' | b':')).unwrap_or(rest.len());
        if end > MAX_HOST {
            return false;
        }
        let host = rest[..end].to_ascii_lowercase();
        if let Some((number, _)) = self.hosts.find(&host) {
            let path = &rest[memchr::memchr(b'/', rest).unwrap_or(rest.len())..];
            return path.starts_with(&self.paths[number as usize]);
        }
        let own = |names: &Arc<NameTable>| names.find(&host).is_some_and(|(server, _)| server == ex.server);
        let tables = ex.scope.get::<NameTables>().map_or(&[][..], |tables| &tables.0);
        (self.server_names && tables.iter().any(own))
            || self.regexes.iter().any(|regex| regex.is_match(rest).unwrap_or(false))
    }
}

/// Writes `$invalid_referer`.
fn write(ex: &Exchange, _sent: Sent<'_>, out: &mut Vec<u8>) {
    if ex.settings().get::<Option<Referers>>().as_ref().is_some_and(|referers| !referers.is_valid(ex)) {
        out.push(b'1');
    }
}
