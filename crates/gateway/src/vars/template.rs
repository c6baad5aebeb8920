//! Text with variables, compiled.
use crate::exchange::Exchange;
use crate::vars::write::lent;
use crate::vars::{Escape, Names, Sent, Var, write_var};

/// Text with variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text as it is.
    Text(Box<[u8]>),
    /// The value of a variable.
    Var(Var),
}

impl Template {
    /// Compiles `$name`, `${name}` and `$1` to `$9`; `$$` is not special, as in nginx. An unknown name is an error that says so.
    pub fn compile(text: &str, names: &Names) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            if at > 0 {
                parts.push(Part::Text(rest.as_bytes()[..at].into()));
            }
            let (name, after) = variable_name(&rest[at + 1..]).ok_or_else(|| {
                format!("invalid variable name in {text:?}: a name follows \"$\" (letters, digits, _)")
            })?;
            let var = names.find(name).ok_or_else(|| format!("unknown variable \"${name}\" in {text:?}"))?;
            parts.push(Part::Var(var));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.as_bytes().into()));
        }
        Ok(Self { parts })
    }

    /// A text without variables.
    pub fn text(text: &str) -> Self {
        let part = (!text.is_empty()).then(|| Part::Text(text.as_bytes().into()));
        Self { parts: part.into_iter().collect() }
    }

    /// The value of one variable.
    pub fn of(var: Var) -> Self {
        Self { parts: vec![Part::Var(var)] }
    }

    /// Its text, if it has no variables.
    pub fn as_text(&self) -> Option<&[u8]> {
        match self.parts.as_slice() {
            [] => Some(b""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Its value as bytes of their own.
    pub fn value(&self, ex: &Exchange, sent: Sent<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(ex, sent, &mut out);
        out
    }

    /// Its value: where it lies if it is in one piece, else written into `buf`.
    pub fn lend<'v>(&'v self, ex: &'v Exchange, sent: Sent<'_>, buf: &'v mut Vec<u8>) -> &'v [u8] {
        match self.parts.as_slice() {
            [] => return b"",
            [Part::Text(text)] => return text,
            [Part::Var(var)] => {
                if let Some(value) = lent(var, ex) {
                    return value;
                }
            }
            _ => {}
        }
        buf.clear();
        self.write(ex, sent, buf);
        buf
    }

    /// Its parts: texts, and variables that `value` writes.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Appends its value.
    pub fn write(&self, ex: &Exchange, sent: Sent<'_>, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Var(var) => write_var(var, ex, sent, out),
            }
        }
    }

    /// Like [`Template::write`], for logs: values are escaped, and with [`Escape::Default`] one that is not there is `-`.
    pub fn write_log(&self, ex: &Exchange, sent: Sent<'_>, escape: Escape, out: &mut Vec<u8>) {
        for part in &self.parts {
            let var = match part {
                Part::Text(text) => {
                    out.extend_from_slice(text);
                    continue;
                }
                Part::Var(var) => var,
            };
            let at = out.len();
            write_var(var, ex, sent, out);
            if out.len() == at {
                if escape == Escape::Default && !var.is_found(ex) {
                    out.push(b'-');
                }
            } else if !var.is_plain() {
                escape_from(at, escape, out);
            }
        }
    }

    /// True without text and variables.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}

/// The name of a file, with variables; a relative one starts from a directory of the configuration.
#[derive(Clone, Debug)]
pub struct PathTemplate {
    text: Template,
    base: Box<[u8]>,
}

impl PathTemplate {
    /// Compiles a name.
    pub fn compile(text: &str, base: &str, names: &Names) -> Result<Self, String> {
        Ok(Self { text: Template::compile(text, names)?, base: base.as_bytes().into() })
    }

    /// It has variables.
    pub fn varies(&self) -> bool {
        self.text.as_text().is_none()
    }

    /// The name, in full.
    pub fn value(&self, ex: &Exchange) -> Vec<u8> {
        let name = self.text.value(ex, Sent::default());
        if name.starts_with(b"/") || self.base.is_empty() { name } else { [&self.base, &b"/"[..], &name].concat() }
    }
}

fn variable_name(rest: &str) -> Option<(&str, &str)> {
    let (braced, body) = match rest.strip_prefix('{') {
        Some(body) => (true, body),
        None => (false, rest),
    };
    // A group has one digit: `$10` is group 1 and a zero.
    if let [b'1'..=b'9', ..] = body.as_bytes() {
        let (name, after) = body.split_at(1);
        return if braced { Some((name, after.strip_prefix('}')?)) } else { Some((name, after)) };
    }
    let end = body.bytes().position(|b| !b.is_ascii_alphanumeric() && b != b'_').unwrap_or(body.len());
    if end == 0 {
        return None;
    }
    let (name, after) = body.split_at(end);
    if braced { Some((name, after.strip_prefix('}')?)) } else { Some((name, after)) }
}

/// Escapes what stands in `out` from `at` on, where something in it has to be.
fn escape_from(at: usize, escape: Escape, out: &mut Vec<u8>) {
    let default = |b: u8| (0x20..0x7f).contains(&b) && b != b'"' && b != b'\\';
    let plain = |b: u8| match escape {
        Escape::Default => default(b),
        Escape::Json => b >= 0x20 && b != b'"' && b != b'\\',
        Escape::None => true,
    };
    // To the end instead of to the first: so it is done many bytes at a time.
    let all = || !out[at..].iter().fold(false, |odd, &b| odd | !default(b));
    if escape == Escape::None || (escape == Escape::Default && all()) {
        return;
    }
    let Some(first) = out[at..].iter().position(|b| !plain(*b)) else { return };
    for byte in out.split_off(at + first) {
        match byte {
            byte if plain(byte) => out.push(byte),
            _ if escape == Escape::Default => out.extend_from_slice(&[b'\\', b'x', hex(byte >> 4), hex(byte & 15)]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            _ => out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)]),
        }
    }
}

fn hex(digit: u8) -> u8 {
    b"0123456789ABCDEF"[usize::from(digit)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vars::NAMES;

    fn compile(text: &str) -> Result<Template, String> {
        Template::compile(text, &Names::default())
    }

    #[test]
    fn templates_take_both_forms_of_names() {
        let template = compile("a $host-${uri}b $arg_x$10").unwrap();
        let text = |t: &str| Part::Text(t.as_bytes().into());
        assert_eq!(
            template.parts,
            [
                text("a "),
                Part::Var(Var::Host),
                text("-"),
                Part::Var(Var::Uri),
                text("b "),
                Part::Var(Var::Arg("x".into())),
                Part::Var(Var::Capture(1)),
                text("0")
            ]
        );
    }

    #[test]
    fn unknown_and_malformed_names_are_errors() {
        assert_eq!(compile("x $hots").unwrap_err(), "unknown variable \"$hots\" in \"x $hots\"");
        assert!(compile("100$").is_err() && compile("${host").is_err());
    }

    #[test]
    fn names_are_unique_and_parse_to_themselves() {
        for (name, var, _) in NAMES {
            assert_eq!(Names::default().find(name).as_ref(), Some(var));
        }
    }

    #[test]
    fn log_values_are_escaped() {
        let escaped = |escape| {
            let mut out = b"\"a\"b\\c\n\x01\xff".to_vec();
            escape_from(1, escape, &mut out);
            out
        };
        assert_eq!(escaped(Escape::Default), b"\"a\\x22b\\x5Cc\\x0A\\x01\\xFF");
        assert_eq!(escaped(Escape::Json), b"\"a\\\"b\\\\c\\n\\u0001\xff");
        assert_eq!(escaped(Escape::None), b"\"a\"b\\c\n\x01\xff");
    }
}
