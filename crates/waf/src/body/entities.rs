//! Entities of an XML document and its document type declaration.
use std::collections::HashMap;

/// The entities that a document declares.
pub(super) struct Entities<'a> {
    /// Their text; `None` if it is external.
    declared: HashMap<&'a [u8], Option<Vec<u8>>>,
    /// Bytes that may still be put in their place.
    left: usize,
}

impl<'a> Entities<'a> {
    /// For a document of `size` bytes, which entities may double, or make 64 KiB longer.
    pub(super) fn new(size: usize) -> Self {
        Self { declared: HashMap::new(), left: size.max(64 << 10) }
    }

    /// Reads a document type declaration at the start of `rest` and gives its length.
    pub(super) fn declare(&mut self, rest: &'a [u8]) -> Result<usize, &'static str> {
        let (mut at, mut within) = (b"<!DOCTYPE".len(), false);
        while let Some(&byte) = rest.get(at) {
            let here = &rest[at..];
            match byte {
                b'>' if !within => return Ok(at + 1),
                b'[' if !within => within = true,
                b']' if within => within = false,
                b'"' | b'\'' => {
                    at += memchr::memchr(byte, &here[1..]).ok_or("a literal without an end")? + 1;
                }
                b'<' if here.starts_with(b"<!--") => {
                    at += memchr::memmem::find(&here[4..], b"-->").ok_or("a comment without an end")? + 6;
                }
                b'<' if here.starts_with(b"<?") => {
                    at += memchr::memmem::find(here, b"?>").ok_or("an instruction without an end")? + 1;
                }
                b'<' if here.starts_with(b"<!ENTITY") => at += self.entity(here)?,
                _ => {}
            }
            at += 1;
        }
        Err("a document type without an end")
    }

    /// Reads `<!ENTITY name "text">` and gives the length up to its text. Of two with the same name the first holds.
    fn entity(&mut self, rest: &'a [u8]) -> Result<usize, &'static str> {
        let start = b"<!ENTITY".len();
        let name_at = start + rest[start..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let length = rest[name_at..].iter().take_while(|byte| !byte.is_ascii_whitespace() && **byte != b'>').count();
        let name = &rest[name_at..name_at + length];
        // One of the document type itself (`% name`) is only used there.
        if name.is_empty() || name == b"%" {
            return Ok(start);
        }
        let end = name_at + length;
        let literal_at = end + rest[end..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let text = match rest.get(literal_at) {
            Some(quote @ (b'"' | b'\'')) => {
                let literal = &rest[literal_at + 1..];
                let length = memchr::memchr(*quote, literal).ok_or("an entity without an end")?;
                Some(with_characters(&literal[..length]))
            }
            _ => None,
        };
        self.declared.entry(name).or_insert(text);
        Ok(end - 1)
    }

    /// The text in place of `&name;`. References within it stay as they are.
    pub(super) fn expand(&mut self, name: &[u8]) -> Result<&[u8], &'static str> {
        match self.declared.get(name) {
            None => Err("an entity that is not declared"),
            Some(None) => Ok(b""),
            Some(Some(text)) if text.len() <= self.left => {
                self.left -= text.len();
                Ok(text)
            }
            Some(Some(_)) => Err("entities that make the document too long"),
        }
    }
}

/// Replaces the references to characters.
fn with_characters(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'&', rest) {
        out.extend_from_slice(&rest[..at]);
        let after = &rest[at + 1..];
        let end = memchr::memchr(b';', &after[..after.len().min(12)]);
        if let Some((character, end)) = end.and_then(|end| Some((character_reference(&after[..end])?, end))) {
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            rest = &after[end + 1..];
        } else {
            out.push(b'&');
            rest = after;
        }
    }
    out.extend_from_slice(rest);
    out
}

/// The character of `#65` or `#x41`, as it stands between `&` and `;`.
pub(super) fn character_reference(name: &[u8]) -> Option<char> {
    let number = std::str::from_utf8(name.strip_prefix(b"#")?).ok()?;
    let code = match number.strip_prefix('x') {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => number.parse(),
    };
    char::from_u32(code.ok()?).filter(|character| *character >= ' ' || matches!(character, '\t' | '\r' | '\n'))
}

/// The five entities that need no declaration.
pub(super) fn predefined(name: &[u8]) -> Option<char> {
    Some(match name {
        b"lt" => '<',
        b"gt" => '>',
        b"amp" => '&',
        b"quot" => '"',
        b"apos" => '\'',
        _ => return None,
    })
}
