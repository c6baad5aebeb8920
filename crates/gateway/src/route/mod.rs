//! From name and path to a server and a route, at a cost that does not grow with the number of names, prefixes and exact paths.
//! Regular expressions are tried one after the other, as their order is their meaning.
pub mod names;
pub mod prefix;
pub mod root;
pub mod try_files;

pub use names::{NameTable, NameTables};
pub use prefix::PrefixTree;

use crate::exchange::Exchange;
use crate::regex::{GivenUp, Regex};
use crate::tables::Table;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a route's path is compared with a request's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Match {
    /// The request's path begins with it; the longest such route wins.
    #[default]
    Prefix,
    /// The request's path is the same (nginx: `=`).
    Exact,
    /// Like a prefix, and if it is the longest, regular expressions are not looked at (nginx: `^~`).
    NoRegex,
    /// It is a regular expression that matches the request's path (nginx: `~`).
    Regex,
    /// The same without regard to case (nginx: `~*`).
    RegexNocase,
}

/// The routes of one level: of a server, or within a route.
#[derive(Debug, Default)]
pub struct RouteTable {
    exact: Table<u32>,
    prefixes: PrefixTree,
    regexes: Vec<(Regex, u32)>,
    /// `/x` by the number of a route `/x/` that redirects there.
    slashed: Table<u32>,
}

/// What a search asks of the routes of a server.
pub trait Routes {
    /// Regular expressions are not looked at if this route is the longest prefix.
    fn no_regex(&self, index: u32) -> bool;
    /// The routes within one.
    fn nested(&self, index: u32) -> Option<&RouteTable>;
}

/// What a search came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Located {
    /// This route.
    Route(u32),
    /// The client is sent to this route's path, which is the request's with a slash at its end.
    Slash(u32),
}

/// How far a level's search got.
enum Step {
    /// Nothing on this level.
    None,
    /// A prefix; regular expressions of the levels around it may still win.
    Prefix(u32),
    /// It is settled.
    Done(Located),
}

impl RouteTable {
    /// Adds a route that is found by its path; of two equal ones the first stays.
    pub fn insert(&mut self, path: &str, matches: Match, index: u32, redirects: bool) {
        let bytes = path.as_bytes();
        match matches {
            Match::Exact => {
                self.exact.entry(bytes.into()).or_insert(index);
            }
            _ => self.prefixes.insert(bytes, index),
        }
        if let Some(bare) = bytes.strip_suffix(b"/").filter(|bare| redirects && !bare.is_empty()) {
            self.slashed.entry(bare.into()).or_insert(index);
        }
    }

    /// Adds a route that is found by a regular expression.
    pub fn insert_regex(&mut self, regex: Regex, index: u32) {
        self.regexes.push((regex, index));
    }

    /// No routes at all.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty() && self.regexes.is_empty()
    }

    /// The route of a request's path (nginx's location): an exact one; else the longest prefix, then what lies within it,
    /// then the regular expressions of this level unless the prefix forbids it.
    pub fn find(
        &self,
        ex: &Exchange,
        path: &Bytes,
        routes: &(impl Routes + ?Sized),
    ) -> Result<Option<Located>, GivenUp> {
        Ok(match self.step(ex, path, routes)? {
            Step::None => None,
            Step::Prefix(index) => Some(Located::Route(index)),
            Step::Done(located) => Some(located),
        })
    }

    fn step(&self, ex: &Exchange, path: &Bytes, routes: &(impl Routes + ?Sized)) -> Result<Step, GivenUp> {
        if !self.exact.is_empty() {
            if let Some(index) = self.exact.get(&**path) {
                return Ok(Step::Done(Located::Route(*index)));
            }
        }
        let longest = self.prefixes.longest(path);
        if !self.slashed.is_empty() {
            if let Some(index) = self.slashed.get(&**path) {
                if longest.is_none_or(|found| ex.server().routes[found as usize].path.len() < path.len()) {
                    return Ok(Step::Done(Located::Slash(*index)));
                }
            }
        }
        let mut found = Step::None;
        let mut look = true;
        if let Some(index) = longest {
            look = !routes.no_regex(index);
            found = match routes.nested(index) {
                None => Step::Prefix(index),
                Some(nested) => match nested.step(ex, path, routes)? {
                    Step::None => Step::Prefix(index),
                    done @ Step::Done(_) => return Ok(done),
                    deeper @ Step::Prefix(_) => deeper,
                },
            };
        }
        if look {
            for (regex, index) in &self.regexes {
                if regex.exec(ex, path)? {
                    let nested = routes.nested(*index);
                    return Ok(Step::Done(match nested.map(|nested| nested.step(ex, path, routes)).transpose()? {
                        None | Some(Step::None) => Located::Route(*index),
                        Some(Step::Prefix(deeper)) => Located::Route(deeper),
                        Some(Step::Done(located)) => located,
                    }));
                }
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
