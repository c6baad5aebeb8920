//! Errors of rules.

use std::fmt;
use std::sync::Arc;

/// The position of a directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The file, as it was named.
    pub file: Arc<str>,
    /// The directive's first line, from 1.
    pub line: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Why rules cannot be loaded: the position, the reason and the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// The directive's position.
    pub at: Location,
    /// The reason.
    pub what: String,
    /// The directive as it was written.
    pub text: String,
}

impl LoadError {
    pub(crate) fn new(at: &Location, what: impl Into<String>, text: impl Into<String>) -> Self {
        Self { at: at.clone(), what: what.into(), text: text.into() }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.text.trim();
        let mut more = "";
        if let Some((end, _)) = text.char_indices().nth(200) {
            (text, more) = (&text[..end], "…");
        }
        write!(f, "{}: {}\n    {text}{more}", self.at, self.what)
    }
}

impl std::error::Error for LoadError {}
