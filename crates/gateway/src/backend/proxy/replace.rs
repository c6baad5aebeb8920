//! Texts that take the place of others: what proxy_redirect, proxy_cookie_domain and proxy_cookie_path are made of.
use super::config;
use crate::error::Result;
use crate::exchange::Exchange;
use crate::regex::Regex;
use crate::vars::{Names, Sent, Template};

/// What is looked for.
#[derive(Debug)]
pub enum Pattern {
    /// A text with variables.
    Text(Template),
    /// A regular expression.
    Regex(Regex),
}

impl Pattern {
    /// Compiles a text, or a regular expression behind `~` or `~*`.
    pub fn compile(text: &str, ignore_case: bool, names: &Names) -> std::result::Result<Self, String> {
        let Some(regex) = text.strip_prefix('~') else { return Template::compile(text, names).map(Self::Text) };
        let (regex, ignore_case) = regex.strip_prefix('*').map_or((regex, ignore_case), |regex| (regex, true));
        Regex::compile(regex, ignore_case, names).map(Self::Regex)
    }

    /// The expression, or the text without regard to case, is `text`.
    pub fn is(&self, ex: &Exchange, text: &[u8]) -> Result<bool> {
        match self {
            Self::Text(pattern) => Ok(pattern.value(ex, Sent::default()).eq_ignore_ascii_case(text)),
            Self::Regex(regex) => Ok(regex.exec(ex, text)?),
        }
    }
}

/// A pattern and what takes its place.
#[derive(Debug)]
pub struct Replace {
    from: Pattern,
    to: Template,
}

impl Replace {
    /// Compiles one.
    pub fn compile(config: &config::Replace, names: &Names) -> std::result::Result<Self, String> {
        Ok(Self { from: Pattern::compile(&config.from, false, names)?, to: Template::compile(&config.to, names)? })
    }

    /// The same for the domains of cookies: case never counts, nor does a dot in front.
    pub fn domain(config: &config::Replace, names: &Names) -> std::result::Result<Self, String> {
        if config.from.starts_with('~') {
            let from = Pattern::compile(&config.from, true, names)?;
            return Ok(Self { from, to: Template::compile(&config.to, names)? });
        }
        let dotless = |text: &str| Template::compile(text.strip_prefix('.').unwrap_or(text), names);
        Ok(Self { from: Pattern::Text(dotless(&config.from)?), to: dotless(&config.to)? })
    }

    /// Replaces the beginning of `text` by a text, all of it by a regular expression. False: it is not found, and
    /// nothing was appended.
    pub fn apply(&self, ex: &Exchange, text: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        match &self.from {
            Pattern::Text(from) => {
                let from = from.value(ex, Sent::default());
                let Some(rest) = text.strip_prefix(from.as_slice()) else { return Ok(false) };
                self.to.write(ex, Sent::default(), out);
                out.extend_from_slice(rest);
            }
            Pattern::Regex(_) => return self.apply_whole(ex, text, out),
        }
        Ok(true)
    }

    /// Replaces a domain.
    pub fn apply_domain(&self, ex: &Exchange, text: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        if matches!(self.from, Pattern::Regex(_)) {
            return self.apply_whole(ex, text, out);
        }
        let name = text.strip_prefix(b".").unwrap_or(text);
        if text.is_empty() || !self.from.is(ex, name)? {
            return Ok(false);
        }
        out.extend_from_slice(&text[..text.len() - name.len()]);
        self.to.write(ex, Sent::default(), out);
        Ok(true)
    }

    fn apply_whole(&self, ex: &Exchange, text: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        if !self.from.is(ex, text)? {
            return Ok(false);
        }
        self.to.write(ex, Sent::default(), out);
        Ok(true)
    }
}
