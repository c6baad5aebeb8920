//! libinjection's verdicts (`@detectSQLi`, `@detectXSS`).
use super::Captures;
use libinjectionrs::{detect_sqli, detect_xss};

#[derive(Debug, Clone, Copy)]
pub(super) enum Injection {
    Sql,
    Script,
}

impl Injection {
    pub(super) fn matches<'a>(self, input: &'a [u8], captures: Option<&mut Captures<'a>>) -> bool {
        match self {
            Self::Sql => sql(input, captures),
            Self::Script => script(input, captures),
        }
    }
}

/// A single word is never an injection, and most values are one.
fn is_word(input: &[u8]) -> bool {
    input.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

fn sql(input: &[u8], captures: Option<&mut Captures<'_>>) -> bool {
    if is_word(input) {
        return false;
    }
    let verdict = detect_sqli(input);
    let matched = verdict.is_injection();
    if let Some(captures) = captures.filter(|_| matched) {
        captures.clear();
        let fingerprint = verdict.fingerprint.map(|print| print.to_string()).unwrap_or_default();
        captures.set(0, fingerprint.into_bytes());
    }
    matched
}

fn script<'a>(input: &'a [u8], captures: Option<&mut Captures<'a>>) -> bool {
    // Every way to a script goes over a tag, an attribute or a backtick that quotes one.
    if !input.iter().any(|byte| matches!(byte, b'<' | b'=' | b'`')) {
        return false;
    }
    let matched = detect_xss(input).is_injection();
    if let Some(captures) = captures.filter(|_| matched) {
        captures.clear();
        captures.set(0, input);
    }
    matched
}
