//! Regular expressions of the configuration: PCRE2, which nginx uses too, so syntax and meaning agree.
//!
//! A match that would take too many steps ends with an error instead of holding up the thread: [`MATCH_LIMIT`].
use crate::exchange::Exchange;
use crate::tables::ById;
use crate::vars::{Names, Var};
use bytes::Bytes;
use pcre2::bytes::{CaptureLocations, RegexBuilder};
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Steps one match may take. A subject of a few kilobytes needs some thousands; catastrophic backtracking needs billions.
const MATCH_LIMIT: u32 = 1_000_000;
/// Regexes whose match data one thread keeps; beyond that (after many reloads) it starts anew.
const KEPT: usize = 8192;

thread_local! {
    static LOCATIONS: RefCell<HashMap<u64, CaptureLocations, BuildHasherDefault<ById>>> = RefCell::default();
}

/// A compiled regular expression.
#[derive(Debug)]
pub struct Regex {
    id: u64,
    code: pcre2::bytes::Regex,
    text: Box<str>,
    /// Variables of named groups: the number of the group and of the variable.
    named: Vec<(usize, u32)>,
}

/// A match that was given up; PCRE2's reason.
#[derive(Debug)]
pub struct GivenUp(String);

/// What is matched against: bytes that are shared, or somebody's that are copied where groups have to be kept.
#[derive(Clone, Copy)]
pub enum Subject<'a> {
    /// Shared.
    Shared(&'a Bytes),
    /// Somebody's.
    Lent(&'a [u8]),
}

impl Subject<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Lent(bytes) => bytes,
        }
    }

    fn keep(&self) -> Bytes {
        match self {
            Self::Shared(bytes) => (*bytes).clone(),
            Self::Lent(bytes) => Bytes::copy_from_slice(bytes),
        }
    }
}

impl<'a> From<&'a Bytes> for Subject<'a> {
    fn from(bytes: &'a Bytes) -> Self {
        Self::Shared(bytes)
    }
}

impl<'a> From<&'a [u8]> for Subject<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Lent(bytes)
    }
}

impl Regex {
    /// Compiles a pattern. The error says what is wrong and where.
    pub fn compile(text: &str, ignore_case: bool, names: &Names) -> Result<Self, String> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let code = build(text, ignore_case)?;
        let mut named = Vec::new();
        for (group, name) in code.capture_names().iter().enumerate() {
            let Some(name) = name else { continue };
            match names.find(name) {
                Some(Var::User(index)) => named.push((group, index)),
                _ => {
                    return Err(format!(
                        "regular expression {text:?}: the variable ${name} of its group cannot be set"
                    ));
                }
            }
        }
        Ok(Self { id: NEXT.fetch_add(1, Ordering::Relaxed), code, text: text.into(), named })
    }

    /// Whether it matches. A match puts its groups into the exchange, for `$1` and named variables; a failure leaves
    /// those of the match before.
    pub fn exec<'a>(&self, ex: &Exchange, subject: impl Into<Subject<'a>>) -> Result<bool, GivenUp> {
        let subject = subject.into();
        let found = self.groups(subject.bytes(), |groups| {
            let mut captures = ex.captures.borrow_mut();
            captures.groups.clear();
            if self.code.captures_len() > 1 {
                captures.subject = subject.keep();
                captures.groups.extend(groups);
            }
        })?;
        if found && !self.named.is_empty() {
            let captures = ex.captures.borrow();
            for (group, variable) in &self.named {
                let (start, end) = captures.groups.get(*group).copied().unwrap_or((0, 0));
                ex.values.set(*variable, captures.subject.slice(start as usize..end as usize));
            }
        }
        Ok(found)
    }

    /// Like [`Regex::exec`], but a failure leaves no groups at all: so nginx has it in `rewrite` and `if`.
    pub fn exec_or_forget<'a>(&self, ex: &Exchange, subject: impl Into<Subject<'a>>) -> Result<bool, GivenUp> {
        let found = self.exec(ex, subject)?;
        if !found {
            ex.captures.borrow_mut().groups.clear();
        }
        Ok(found)
    }

    /// Whether it matches, and nothing else.
    pub fn is_match(&self, subject: &[u8]) -> Result<bool, GivenUp> {
        self.groups(subject, |_| ())
    }

    /// How many groups it has.
    pub fn groups_count(&self) -> usize {
        self.code.captures_len().saturating_sub(1)
    }

    /// Where the first two groups are, if it matches; one that took no part is empty.
    pub fn first_two(&self, subject: &[u8]) -> Option<(Range<usize>, Range<usize>)> {
        let mut found = [(0, 0); 2];
        let matched = self.groups(subject, |groups| {
            for (place, group) in found.iter_mut().zip(groups.skip(1)) {
                *place = group;
            }
        });
        let range = |(start, end): (u32, u32)| start as usize..end as usize;
        matches!(matched, Ok(true)).then(|| (range(found[0]), range(found[1])))
    }

    /// Runs it; on a match `take` gets where each group is, `(0, 0)` for one that took no part.
    fn groups<F>(&self, subject: &[u8], take: F) -> Result<bool, GivenUp>
    where
        F: FnOnce(&mut dyn Iterator<Item = (u32, u32)>),
    {
        LOCATIONS.with_borrow_mut(|kept| {
            if kept.len() >= KEPT {
                kept.clear();
            }
            let locations = kept.entry(self.id).or_insert_with(|| self.code.capture_locations());
            match self.code.captures_read(locations, subject) {
                Ok(None) => Ok(false),
                Ok(Some(_)) => {
                    let group = |n| locations.get(n).map_or((0, 0), |(start, end)| (start as u32, end as u32));
                    take(&mut (0..locations.len()).map(group));
                    Ok(true)
                }
                Err(error) => Err(GivenUp(format!("regular expression {:?} gave up: {error}", self.text))),
            }
        })
    }
}

impl std::fmt::Display for GivenUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<GivenUp> for crate::error::Error {
    fn from(given_up: GivenUp) -> Self {
        Self::new(crate::error::Kind::Internal, given_up.0)
    }
}

/// The names of a pattern's groups, for the front ends. The error says what is wrong and where.
pub fn group_names(text: &str) -> Result<Vec<String>, String> {
    Ok(build(text, false)?.capture_names().iter().flatten().cloned().collect())
}

fn build(text: &str, ignore_case: bool) -> Result<pcre2::bytes::Regex, String> {
    // The option can only lower PCRE2's own limit, so a pattern cannot take it back.
    let limit = format!("(*LIMIT_MATCH={MATCH_LIMIT})");
    let built = RegexBuilder::new().caseless(ignore_case).jit_if_available(true).build(&format!("{limit}{text}"));
    built.map_err(|error| {
        let place = error.offset().map_or_else(String::new, |at| match text.get(at.saturating_sub(limit.len())..) {
            Some(rest) if !rest.is_empty() => format!(" before {rest:?}"),
            _ => " at its end".into(),
        });
        let reason = error.to_string();
        let reason = reason.rsplit_once(": ").map_or(reason.as_str(), |(_, reason)| reason);
        format!("regular expression {text:?}: {reason}{place}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regex(text: &str, ignore_case: bool) -> Regex {
        Regex::compile(text, ignore_case, &Names::default()).unwrap()
    }

    #[test]
    fn groups_are_where_pcre_puts_them() {
        let mut found = Vec::new();
        assert!(regex("^/(x)?(b+)", false).groups(b"/bbc", |groups| found.extend(groups)).unwrap());
        assert_eq!(found, [(0, 3), (0, 0), (1, 3)]);
    }

    #[test]
    fn case_is_ignored_when_asked() {
        assert!(regex("^/A", true).is_match(b"/a").unwrap());
        assert!(!regex("^/A", false).is_match(b"/a").unwrap());
    }

    #[test]
    fn backtracking_is_given_up() {
        let subject = "a".repeat(40) + "b";
        let error = regex("^(a|a|aa)+$", false).is_match(subject.as_bytes()).unwrap_err();
        assert!(error.0.contains("(a|a|aa)"), "{error}");
    }

    #[test]
    fn errors_say_where() {
        let error = group_names("a(b").unwrap_err();
        assert!(error.starts_with("regular expression \"a(b\": ") && error.ends_with("at its end"), "{error}");
        let error = group_names("a)b").unwrap_err();
        assert!(error.ends_with("before \")b\""), "{error}");
        assert_eq!(group_names("(?<a>.)(?P<b>.)(?'c'.)(.)").unwrap(), ["a", "b", "c"]);
    }

    #[test]
    fn bytes_that_are_no_text_match() {
        assert!(regex("^.\\xff$", false).is_match(b"a\xff").unwrap());
    }
}
