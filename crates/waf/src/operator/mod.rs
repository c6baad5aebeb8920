//! Operators: the question that a rule asks of a value.
//!
//! They behave as ModSecurity 2.9.7 does (its reference manual, "Operators"). All are linear in the value.
mod address;
mod injection;
mod literals;
mod number;
mod pattern;
mod phrases;
mod ranges;
mod refused;
mod text;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::path::Path;

pub use literals::Literals;

/// What an operator matched: captures 0 to 9 (`TX:0` …).
#[derive(Debug, Default)]
pub struct Captures<'a> {
    texts: [Option<Cow<'a, [u8]>>; 10],
}

impl<'a> Captures<'a> {
    /// The text of a capture; `None` if it took no part in the match.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        self.texts.get(index)?.as_deref()
    }

    /// Forgets all captures.
    pub fn clear(&mut self) {
        self.texts = Default::default();
    }

    fn set(&mut self, index: usize, text: impl Into<Cow<'a, [u8]>>) {
        if let Some(slot) = self.texts.get_mut(index) {
            *slot = Some(text.into());
        }
    }
}

/// An operator with its argument, compiled.
#[derive(Debug)]
pub struct Operator {
    name: &'static str,
    argument: Box<str>,
    kind: Kind,
    expands: bool,
    literals: Option<Literals>,
}

#[derive(Debug)]
enum Kind {
    Pattern(pattern::Pattern),
    Phrases(phrases::Phrases),
    Text(text::Text),
    Number(number::Comparison),
    Address(address::Addresses),
    Bytes(ranges::ByteRange),
    Encoding(ranges::Encoding),
    Injection(injection::Injection),
    Checksum(number::Checksum),
    Always(bool),
}

impl Operator {
    /// Compiles the operator `name` (without `@`, in any case) with its argument. Files that the argument names are read
    /// now, relative to `base`, the folder of the rule's file.
    ///
    /// The error says why the operator is unknown or refused, or what is wrong with its argument.
    pub fn compile(name: &str, argument: &str, base: &Path) -> Result<Self, String> {
        let expands = has_macro(argument);
        let fixed = || format!("@{name}: its argument is compiled once, so it can't have macros: {argument}");
        let compiled = Kind::compile(&name.to_ascii_lowercase(), argument, base);
        let (name, kind) = match compiled {
            Ok((_, kind)) if expands && !matches!(kind, Kind::Text(_) | Kind::Number(_) | Kind::Always(_)) => {
                return Err(fixed());
            }
            Ok(compiled) => compiled,
            Err(error) => return Err(if expands { fixed() } else { format!("@{name}: {error}") }),
        };
        let literals = match &kind {
            Kind::Pattern(pattern) => pattern.required_literals(),
            Kind::Phrases(phrases) => phrases.required_literals(),
            _ => None,
        };
        Ok(Self { name, argument: argument.into(), kind, expands, literals })
    }

    /// The name as ModSecurity's reference manual writes it, without `@`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The argument as the rule has it.
    pub fn argument(&self) -> &str {
        &self.argument
    }

    /// The argument if it has macros (`%{tx.foo}`): the caller expands it and passes the outcome to
    /// [`matches`](Self::matches). `None` if it has none; what is passed is then ignored.
    pub fn macros(&self) -> Option<&str> {
        self.expands.then_some(&self.argument)
    }

    /// Whether `input` matches; a negation (`!@…`) is the caller's. `expanded` is the argument with its macros replaced
    /// (see [`macros`](Self::macros)). Captures are written on a match, if the caller wants them.
    pub fn matches<'a>(&'a self, input: &'a [u8], expanded: &'a [u8], captures: Option<&mut Captures<'a>>) -> bool {
        let argument = if self.expands { expanded } else { self.argument.as_bytes() };
        let whole = |matched: bool, captures: Option<&mut Captures<'a>>| {
            if let Some(captures) = captures.filter(|_| matched) {
                captures.clear();
                captures.set(0, input);
            }
            matched
        };
        match &self.kind {
            Kind::Pattern(pattern) => pattern.matches(input, captures),
            Kind::Phrases(phrases) => phrases.matches(input, captures),
            Kind::Text(text) => text.matches(input, argument, captures),
            Kind::Number(comparison) => whole(comparison.holds(input, argument), captures),
            Kind::Address(addresses) => whole(addresses.contain(input), captures),
            Kind::Bytes(range) => range.refuses(input),
            Kind::Encoding(encoding) => encoding.refuses(input),
            Kind::Injection(injection) => injection.matches(input, captures),
            Kind::Checksum(checksum) => checksum.matches(input, captures),
            Kind::Always(matched) => whole(*matched, captures),
        }
    }

    /// Texts of which every matching value contains at least one, for a prefilter; `None` if there are none.
    pub fn required_literals(&self) -> Option<&Literals> {
        self.literals.as_ref()
    }
}

impl Kind {
    fn compile(lower: &str, argument: &str, base: &Path) -> Result<(&'static str, Self), String> {
        use text::Text;
        Ok(match lower {
            "rx" => ("rx", Self::Pattern(pattern::Pattern::compile(argument, false)?)),
            "rxglobal" => ("rxGlobal", Self::Pattern(pattern::Pattern::compile(argument, true)?)),
            "pm" => ("pm", Self::Phrases(phrases::Phrases::words(argument)?)),
            "pmfromfile" | "pmf" => ("pmFromFile", Self::Phrases(phrases::Phrases::files(argument, base)?)),
            "streq" => ("streq", Self::Text(Text::Equal)),
            "contains" => ("contains", Self::Text(Text::Contains)),
            "strmatch" => ("strmatch", Self::Text(Text::Contains)),
            "containsword" => ("containsWord", Self::Text(Text::ContainsWord)),
            "within" => ("within", Self::Text(Text::Within)),
            "beginswith" => ("beginsWith", Self::Text(Text::Begins)),
            "endswith" => ("endsWith", Self::Text(Text::Ends)),
            "eq" => ("eq", Self::Number(number::Comparison::Equal)),
            "ge" => ("ge", Self::Number(number::Comparison::AtLeast)),
            "gt" => ("gt", Self::Number(number::Comparison::Above)),
            "le" => ("le", Self::Number(number::Comparison::AtMost)),
            "lt" => ("lt", Self::Number(number::Comparison::Below)),
            "ipmatch" => ("ipMatch", Self::Address(address::Addresses::list(argument)?)),
            "ipmatchfromfile" | "ipmatchf" => {
                ("ipMatchFromFile", Self::Address(address::Addresses::files(argument, base)?))
            }
            "validatebyterange" => ("validateByteRange", Self::Bytes(ranges::ByteRange::parse(argument)?)),
            "validateutf8encoding" => ("validateUtf8Encoding", Self::Encoding(ranges::Encoding::Utf8)),
            "validateurlencoding" => ("validateUrlEncoding", Self::Encoding(ranges::Encoding::Url)),
            "detectsqli" => ("detectSQLi", Self::Injection(injection::Injection::Sql)),
            "detectxss" => ("detectXSS", Self::Injection(injection::Injection::Script)),
            "verifycc" => ("verifyCC", Self::Checksum(number::Checksum::card(argument)?)),
            "verifyssn" => ("verifySSN", Self::Checksum(number::Checksum::social_security(argument)?)),
            "verifycpf" => ("verifyCPF", Self::Checksum(number::Checksum::cpf(argument)?)),
            "unconditionalmatch" => ("unconditionalMatch", Self::Always(true)),
            "nomatch" => ("noMatch", Self::Always(false)),
            _ => return Err(refused::reason(lower).into()),
        })
    }
}

/// Whether the text has a macro: `%{`, a name of letters, digits and `_ . : - /`, `}`.
fn has_macro(text: &str) -> bool {
    text.match_indices("%{").any(|(at, _)| {
        let rest = &text[at + 2..];
        let name =
            rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "_.:-/".contains(c)).len();
        name > 0 && rest[name..].starts_with('}')
    })
}

/// Reads the files that an argument names, separated by whitespace, and passes on each line that is no comment.
fn read_lines(argument: &str, base: &Path, mut line: impl FnMut(&str) -> Result<(), String>) -> Result<(), String> {
    if argument.split_whitespace().next().is_none() {
        return Err("names no file".into());
    }
    for name in argument.split_whitespace() {
        if name.starts_with("http://") || name.starts_with("https://") {
            return Err(format!("{name}: lists are read from files only"));
        }
        let path = base.join(name);
        let text = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let text = String::from_utf8(text).map_err(|error| format!("{}: {error}", path.display()))?;
        for (number, text) in text.lines().enumerate() {
            let text = text.trim();
            if !text.is_empty() && !text.starts_with('#') {
                line(text).map_err(|error| format!("{}, line {}: {error}", path.display(), number + 1))?;
            }
        }
    }
    Ok(())
}
