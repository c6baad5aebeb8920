//! Phrases that are looked for all at once, without regard to ASCII case (`@pm`, `@pmFromFile`).
use super::{Captures, Literals, read_lines};
use crate::transform::hex_digit;
use aho_corasick::AhoCorasick;
use std::path::Path;

#[derive(Debug)]
pub(super) struct Phrases {
    texts: Vec<Box<[u8]>>,
    search: AhoCorasick,
}

impl Phrases {
    /// Phrases separated by whitespace; `|41 42|` within one are bytes in hexadecimal, as Snort writes them.
    pub(super) fn words(argument: &str) -> Result<Self, String> {
        Self::new(decode_hex(argument)?)
    }

    /// Phrases of files, one on a line.
    pub(super) fn files(argument: &str, base: &Path) -> Result<Self, String> {
        let mut texts = Vec::new();
        read_lines(argument, base, |line| {
            texts.push(line.as_bytes().into());
            Ok(())
        })?;
        Self::new(texts)
    }

    fn new(texts: Vec<Box<[u8]>>) -> Result<Self, String> {
        if texts.is_empty() {
            return Err("has no phrase".into());
        }
        let search = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(&texts)
            .map_err(|error| format!("its phrases make no automaton: {error}"))?;
        Ok(Self { texts, search })
    }

    pub(super) fn matches<'a>(&'a self, input: &'a [u8], captures: Option<&mut Captures<'a>>) -> bool {
        let Some(captures) = captures else { return self.search.is_match(input) };
        let Some(found) = self.search.find(input) else { return false };
        captures.clear();
        captures.set(0, &*self.texts[found.pattern().as_usize()]);
        true
    }

    pub(super) fn required_literals(&self) -> Option<Literals> {
        Literals::new(self.texts.iter().map(|text| text.to_ascii_lowercase()).collect())
    }
}

/// Splits at whitespace and decodes bytes between bars.
fn decode_hex(argument: &str) -> Result<Vec<Box<[u8]>>, String> {
    let (mut texts, mut text, mut within) = (Vec::new(), Vec::new(), false);
    let mut high = None;
    for byte in argument.bytes() {
        match byte {
            b'|' if within && high.is_some() => {
                return Err(format!("an odd number of digits between bars: {argument}"));
            }
            b'|' => within = !within,
            _ if within => match (hex_digit(byte), high.take()) {
                (Some(low), Some(first)) => text.push(first << 4 | low),
                (Some(digit), None) => high = Some(digit),
                (None, None) if byte.is_ascii_whitespace() => {}
                _ => return Err(format!("no hexadecimal digits between bars: {argument}")),
            },
            _ if byte.is_ascii_whitespace() => {
                if !text.is_empty() {
                    texts.push(std::mem::take(&mut text).into_boxed_slice());
                }
            }
            _ => text.push(byte),
        }
    }
    if within {
        return Err(format!("a bar is not closed: {argument}"));
    }
    if !text.is_empty() {
        texts.push(text.into_boxed_slice());
    }
    Ok(texts)
}
