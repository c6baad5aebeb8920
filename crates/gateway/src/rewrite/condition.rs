//! Conditions on a request (nginx: `if`).
use crate::exchange::Exchange;
use crate::net::networks::Networks;
use crate::regex::{GivenUp, Regex};
use crate::rewrite::config::{self, FileTest};
use crate::rewrite::run::value_of;
use crate::vars::{Names, Template};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A compiled condition.
pub enum Condition {
    /// Neither empty nor `0`.
    True(Template),
    /// The same text.
    Equal(Template, Template),
    /// A match.
    Match(Template, Regex),
    /// A file of a kind.
    File(Template, FileTest),
    /// A client of these networks.
    Client(Networks),
    /// Does not hold.
    Not(Box<Condition>),
    /// All hold.
    All(Vec<Condition>),
    /// One holds.
    Any(Vec<Condition>),
}

impl Condition {
    /// Compiles a condition.
    pub fn compile(condition: &config::Condition, names: &Names) -> Result<Self, String> {
        let text = |text: &str| Template::compile(text, names);
        let all = |list: &[config::Condition]| -> Result<Vec<Self>, String> {
            list.iter().map(|one| Self::compile(one, names)).collect()
        };
        Ok(match condition {
            config::Condition::True(value) => Self::True(text(value)?),
            config::Condition::Equal(value, other) => Self::Equal(text(value)?, text(other)?),
            config::Condition::Match { value, regex, ignore_case } => {
                Self::Match(text(value)?, Regex::compile(regex, *ignore_case, names)?)
            }
            config::Condition::File { path, is } => Self::File(text(path)?, *is),
            config::Condition::Client(networks) => Self::Client(Networks::parse(networks)?),
            config::Condition::Not(one) => Self::Not(Box::new(Self::compile(one, names)?)),
            config::Condition::All(list) => Self::All(all(list)?),
            config::Condition::Any(list) => Self::Any(all(list)?),
        })
    }

    /// Whether it holds. `encode`: groups of a match are encoded in texts.
    pub fn holds(&self, ex: &Exchange, encode: bool) -> Result<bool, GivenUp> {
        let value = |template: &Template| value_of(template, ex, encode);
        Ok(match self {
            Self::True(template) => !matches!(value(template).as_slice(), b"" | b"0"),
            Self::Equal(one, other) => match other.as_text() {
                Some(text) => value(one) == text,
                None => value(one) == value(other),
            },
            Self::Match(template, regex) => regex.exec_or_forget(ex, value(template).as_slice())?,
            Self::File(path, test) => file_is(&value(path), *test),
            Self::Client(networks) => networks.contains(&ex.client.addr),
            Self::Not(one) => !one.holds(ex, encode)?,
            Self::All(list) => {
                for one in list {
                    if !one.holds(ex, encode)? {
                        return Ok(false);
                    }
                }
                true
            }
            Self::Any(list) => {
                for one in list {
                    if one.holds(ex, encode)? {
                        return Ok(true);
                    }
                }
                false
            }
        })
    }
}

fn file_is(path: &[u8], test: FileTest) -> bool {
    let Ok(meta) = std::fs::metadata(Path::new(std::ffi::OsStr::from_bytes(path))) else { return false };
    match test {
        FileTest::File => meta.is_file(),
        FileTest::Directory => meta.is_dir(),
        FileTest::Exists => true,
        FileTest::Executable => meta.is_file() && meta.permissions().mode() & 0o111 != 0,
    }
}
