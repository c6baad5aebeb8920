//! XML 1.0: the text of a document and the values of its attributes, which is what rules select by `XML:/*` and `XML://@*`.
//!
//! The reader is the crate's own: it has to refuse what is not well-formed, as libxml2 does for ModSecurity, and has to
//! leave external entities alone; a general parser does too little of the one and too much of the other.
use super::Message;
use super::entities::{Entities, character_reference, predefined};
use std::borrow::Cow;
use std::collections::HashSet;

/// How deep elements may nest: the limit of libxml2.
const MAX_DEPTH: usize = 256;

/// What a document says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Xml {
    /// The text of all elements, in one piece as it is the string value of the root element (`XML:/*`).
    pub text: Vec<u8>,
    /// The values of all attributes, in their order (`XML://@*`).
    pub attributes: Vec<Vec<u8>>,
    /// Why it was not read to its end.
    pub error: Option<Message>,
}

/// Reads a document in UTF-8 (with or without a byte order mark), US-ASCII or ISO-8859-1. Entities of its own document
/// type are replaced by their text; external ones by nothing, as nothing is fetched.
pub fn parse(body: &[u8]) -> Xml {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let text = match decode(body) {
        Ok(text) => text,
        Err(error) => return Xml { error: Some(error), ..Xml::default() },
    };
    let mut reader = Reader {
        input: text.as_bytes(),
        at: 0,
        open: Vec::new(),
        entities: Entities::new(text.len()),
        out: Xml::default(),
    };
    if let Err(error) = reader.document() {
        reader.out.error = Some(error);
    }
    reader.out
}

/// The document as UTF-8, by the encoding that its declaration names.
fn decode(body: &[u8]) -> Result<Cow<'_, str>, Message> {
    let declaration = if body.starts_with(b"<?xml") { body.split(|byte| *byte == b'>').next() } else { None };
    let encoding = declaration.and_then(encoding).unwrap_or(b"utf-8").to_ascii_lowercase();
    match &encoding[..] {
        b"utf-8" | b"utf8" | b"us-ascii" | b"ascii" => {
            let text = std::str::from_utf8(body).map_err(|error| format!("XML parsing error: {error}"))?;
            Ok(Cow::Borrowed(text))
        }
        b"iso-8859-1" | b"latin1" => Ok(Cow::Owned(body.iter().map(|byte| char::from(*byte)).collect())),
        other => Err(format!("XML parsing error: encoding {} is not supported", String::from_utf8_lossy(other))),
    }
}

/// What `encoding="…"` says.
fn encoding(declaration: &[u8]) -> Option<&[u8]> {
    let at = memchr::memmem::find(declaration, b"encoding")?;
    let rest = declaration[at + 8..].trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let (quote, rest) = rest.split_first().filter(|(quote, _)| matches!(quote, b'"' | b'\''))?;
    rest.split(|byte| byte == quote).next()
}

struct Reader<'a> {
    input: &'a [u8],
    at: usize,
    /// Names of the elements that are open.
    open: Vec<&'a [u8]>,
    entities: Entities<'a>,
    out: Xml,
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Result<(), Message> {
        let (mut root, mut doctype) = (false, false);
        while self.at < self.input.len() {
            let rest = &self.input[self.at..];
            if self.open.is_empty() && !rest.starts_with(b"<") {
                self.outside(rest)?;
            } else if !rest.starts_with(b"<") {
                self.characters(rest)?;
            } else if rest.starts_with(b"<!--") {
                let text = self.until(4, b"-->")?;
                if memchr::memmem::find(text, b"--").is_some() || text.ends_with(b"-") {
                    return Err(self.wrong("two hyphens in a comment"));
                }
            } else if rest.starts_with(b"<?") {
                self.instruction()?;
            } else if rest.starts_with(b"<![CDATA[") && !self.open.is_empty() {
                let text = self.until(9, b"]]>")?;
                self.out.text.extend_from_slice(text);
            } else if rest.starts_with(b"<!DOCTYPE") && !root && !doctype {
                doctype = true;
                let length = self.entities.declare(rest).map_err(|what| self.wrong(what))?;
                self.at += length;
            } else if rest.starts_with(b"</") {
                self.end_tag()?;
            } else {
                if root && self.open.is_empty() {
                    return Err(self.wrong("a second root element"));
                }
                root = true;
                self.start_tag()?;
            }
        }
        match (self.open.is_empty(), root) {
            (false, _) => Err(self.wrong("an element is not closed")),
            (true, false) => Err(self.wrong("no element")),
            (true, true) => Ok(()),
        }
    }

    /// Whitespace before, between and after what stands outside of the root element.
    fn outside(&mut self, rest: &[u8]) -> Result<(), Message> {
        let space = rest.iter().take_while(|byte| is_space(**byte)).count();
        self.at += space;
        if space > 0 { Ok(()) } else { Err(self.wrong("text outside of the root element")) }
    }

    /// What stands `from` bytes ahead, up to `end`, which is passed, too.
    fn until(&mut self, from: usize, end: &[u8]) -> Result<&'a [u8], Message> {
        let rest = &self.input[self.at + from..];
        let Some(length) = memchr::memmem::find(rest, end) else {
            return Err(self.wrong("a comment, section or instruction without an end"));
        };
        self.at += from + length + end.len();
        Ok(&rest[..length])
    }

    fn instruction(&mut self) -> Result<(), Message> {
        let start = self.at;
        let text = self.until(2, b"?>")?;
        let target = text.split(|byte| is_space(*byte)).next().unwrap_or_default();
        if target.is_empty() || (target.eq_ignore_ascii_case(b"xml") && start > 0) {
            return Err(self.wrong("an instruction without a target, or a declaration that isn't first"));
        }
        Ok(())
    }

    fn characters(&mut self, rest: &'a [u8]) -> Result<(), Message> {
        let length = memchr::memchr(b'<', rest).unwrap_or(rest.len());
        let text = &rest[..length];
        if memchr::memmem::find(text, b"]]>").is_some() {
            return Err(self.wrong("]]> in text"));
        }
        let mut out = std::mem::take(&mut self.out.text);
        let read = self.replace(text, &mut out);
        self.out.text = out;
        self.at += length;
        read
    }

    /// Appends text with its references replaced.
    fn replace(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Message> {
        if text.iter().any(|byte| *byte < b' ' && !is_space(*byte)) {
            return Err(self.wrong("a control character"));
        }
        let mut rest = text;
        while let Some(at) = memchr::memchr(b'&', rest) {
            out.extend_from_slice(&rest[..at]);
            let after = &rest[at + 1..];
            let Some(end) = memchr::memchr(b';', &after[..after.len().min(256)]) else {
                return Err(self.wrong("a reference without an end"));
            };
            let name = &after[..end];
            if let Some(character) = character_reference(name).or_else(|| predefined(name)) {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                let at = self.at;
                let text = self.entities.expand(name).map_err(|what| wrong(what, at))?;
                out.extend_from_slice(text);
            }
            rest = &after[end + 1..];
        }
        out.extend_from_slice(rest);
        Ok(())
    }

    fn start_tag(&mut self) -> Result<(), Message> {
        self.at += 1;
        let name = self.name()?;
        if self.open.len() >= MAX_DEPTH {
            return Err(self.wrong("elements are nested too deep"));
        }
        let mut seen = HashSet::new();
        loop {
            let spaced = self.space();
            let rest = &self.input[self.at..];
            if rest.starts_with(b">") {
                self.at += 1;
                self.open.push(name);
                return Ok(());
            }
            if rest.starts_with(b"/>") {
                self.at += 2;
                return Ok(());
            }
            if !spaced {
                return Err(self.wrong("no space before an attribute"));
            }
            if !seen.insert(self.attribute()?) {
                return Err(self.wrong("an attribute twice"));
            }
        }
    }

    /// Reads an attribute and gives its name.
    fn attribute(&mut self) -> Result<&'a [u8], Message> {
        let name = self.name()?;
        self.space();
        if self.input.get(self.at) != Some(&b'=') {
            return Err(self.wrong("an attribute without a value"));
        }
        self.at += 1;
        self.space();
        let Some((quote @ (b'"' | b'\''), rest)) = self.input[self.at..].split_first() else {
            return Err(self.wrong("an attribute without quotes"));
        };
        let Some(length) = memchr::memchr(*quote, rest) else {
            return Err(self.wrong("an attribute without an end"));
        };
        let text = &rest[..length];
        if memchr::memchr(b'<', text).is_some() {
            return Err(self.wrong("< in an attribute"));
        }
        let mut value = Vec::with_capacity(length);
        self.replace(text, &mut value)?;
        self.at += length + 2;
        // Declarations of namespaces are no attributes to XPath.
        if name != b"xmlns" && !name.starts_with(b"xmlns:") {
            self.out.attributes.push(value);
        }
        Ok(name)
    }

    fn end_tag(&mut self) -> Result<(), Message> {
        self.at += 2;
        let name = self.name()?;
        self.space();
        if self.input.get(self.at) != Some(&b'>') || self.open.pop() != Some(name) {
            return Err(self.wrong("an end tag that closes nothing"));
        }
        self.at += 1;
        Ok(())
    }

    fn name(&mut self) -> Result<&'a [u8], Message> {
        let rest = &self.input[self.at..];
        let length = rest.iter().take_while(|byte| is_name(**byte)).count();
        let name = &rest[..length];
        if name.first().is_none_or(|first| first.is_ascii_digit() || matches!(first, b'-' | b'.')) {
            return Err(self.wrong("no name"));
        }
        self.at += length;
        Ok(name)
    }

    fn space(&mut self) -> bool {
        let count = self.input[self.at..].iter().take_while(|byte| is_space(**byte)).count();
        self.at += count;
        count > 0
    }

    fn wrong(&self, what: &str) -> Message {
        wrong(what, self.at)
    }
}

fn wrong(what: &str, at: usize) -> Message {
    format!("XML parsing error: {what} at byte {at}")
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'-' | b'.' | 0x80..)
}
