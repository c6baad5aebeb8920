//! Regular expressions (`@rx`): those of the crate `regex`, on bytes.
use super::{Captures, Literals, literals};
use regex::bytes::{Regex, RegexBuilder};
use std::borrow::Cow;

/// Memory for one compiled expression.
const SIZE_LIMIT: usize = 10 << 20;

#[derive(Debug)]
pub(super) struct Pattern {
    regex: Regex,
    global: bool,
    literals: Option<Literals>,
}

impl Pattern {
    pub(super) fn compile(text: &str, global: bool) -> Result<Self, String> {
        let regex = regex(text)?;
        let literals = literals::required(regex.as_str());
        Ok(Self { regex, global, literals })
    }

    pub(super) fn matches<'a>(&self, input: &'a [u8], captures: Option<&mut Captures<'a>>) -> bool {
        let Some(captures) = captures else { return self.regex.is_match(input) };
        // Most values match nothing, and captures cost more than the question whether they do.
        if !self.regex.is_match(input) {
            return false;
        }
        captures.clear();
        let mut next = 0;
        for found in self.regex.captures_iter(input).take(if self.global { 10 } else { 1 }) {
            for text in found.iter() {
                if let Some(text) = text {
                    captures.set(next, text.as_bytes());
                }
                next += 1;
            }
        }
        true
    }

    pub(super) fn required_literals(&self) -> Option<Literals> {
        self.literals.clone()
    }
}

/// Compiles as ModSecurity does: bytes, `.` matches all of them, `$` only the very end.
pub(super) fn regex(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(&for_bytes(text))
        .unicode(false)
        .dot_matches_new_line(true)
        .size_limit(SIZE_LIMIT)
        .build()
        .map_err(|error| error.to_string())
}

/// Rewrites what PCRE and the crate `regex` read differently.
///
/// `\x{HH}` becomes `\xHH`, which means the byte without Unicode, too. `\<` and `\>` are characters to PCRE, and within a
/// class so are `[`, `&&`, `~~` and `--`, which otherwise nest and combine classes.
fn for_bytes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // Within a class: whether its first character is yet to come.
    let mut class: Option<bool> = None;
    while let Some(first) = rest.chars().next() {
        let first_in_class = class == Some(true);
        if class.is_some() {
            class = Some(first_in_class && first == '^' && out.ends_with('['));
        }
        let (piece, length) = match first {
            '\\' => escape(rest),
            '[' if class.is_none() => {
                class = Some(true);
                (Cow::Borrowed("["), 1)
            }
            '[' => match rest.find(":]").filter(|_| rest.starts_with("[:")) {
                Some(end) if rest[2..end].trim_start_matches('^').bytes().all(|byte| byte.is_ascii_lowercase()) => {
                    (Cow::Borrowed(&rest[..end + 2]), end + 2)
                }
                _ => (Cow::Borrowed("\\["), 1),
            },
            ']' if class.is_some() && !first_in_class => {
                class = None;
                (Cow::Borrowed("]"), 1)
            }
            '&' | '~' if class.is_some() => (Cow::Owned(format!("\\{first}")), 1),
            '-' if first_in_class => (Cow::Borrowed("\\-"), 1),
            '-' if class.is_some() && rest.starts_with("--") => (Cow::Borrowed("-\\-"), 2),
            _ => (Cow::Borrowed(&rest[..first.len_utf8()]), first.len_utf8()),
        };
        out.push_str(&piece);
        rest = &rest[length..];
    }
    out
}

/// An escape, rewritten, and its length in the text.
fn escape(rest: &str) -> (Cow<'_, str>, usize) {
    let braced = rest.strip_prefix("\\x{").and_then(|after| after.split_once('}')).map(|(digits, _)| digits);
    if let Some(digits) = braced.filter(|digits| is_byte(digits)) {
        return (Cow::Owned(format!("\\x{digits:0>2}")), digits.len() + 4);
    }
    let length = rest.chars().take(2).map(char::len_utf8).sum();
    match &rest[..length] {
        character @ ("\\<" | "\\>") => (Cow::Borrowed(&character[1..]), length),
        other => (Cow::Borrowed(other), length),
    }
}

fn is_byte(digits: &str) -> bool {
    (1..=2).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}
