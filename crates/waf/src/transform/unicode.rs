//! Unicode: what a character becomes in a code page, and UTF-8 as `%uXXXX`.
use std::borrow::Cow;
use std::sync::OnceLock;

/// The bytes that a code page has for characters, also for those that only resemble one of its own
/// (`SecUnicodeMapFile`).
#[derive(Debug, Clone)]
pub struct UnicodeMap {
    /// Sorted by code.
    bytes: Vec<(u16, u8)>,
}

/// The best fits of code page 20127 (US-ASCII), as Windows has them.
const US_ASCII: &str = include_str!("code_page_20127.txt");

impl UnicodeMap {
    /// The map of code page 20127, US-ASCII.
    pub fn us_ascii() -> &'static Self {
        static MAP: OnceLock<UnicodeMap> = OnceLock::new();
        // The text is the crate's own: a test reads all of it.
        MAP.get_or_init(|| Self::parse_pairs(US_ASCII).unwrap_or(Self { bytes: Vec::new() }))
    }

    /// Reads a file of `SecUnicodeMapFile`: a line with the number of each code page, and after it a line of `XXXX:XX`.
    ///
    /// The error says why the code page was not found or not read.
    pub fn parse(text: &str, code_page: u32) -> Result<Self, String> {
        let number = code_page.to_string();
        let mut lines = text.split(['\r', '\n']).map(str::trim);
        let title = |line: &str| line.split_whitespace().next() == Some(&number);
        if !lines.any(title) {
            return Err(format!("the file has no code page {code_page}"));
        }
        let pairs = lines.find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
        Self::parse_pairs(pairs).ok_or_else(|| format!("code page {code_page} is no list of XXXX:XX"))
    }

    fn parse_pairs(text: &str) -> Option<Self> {
        let mut bytes = Vec::new();
        for pair in text.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace) {
            let (code, byte) = pair.split_once(':')?;
            bytes.push((u16::from_str_radix(code, 16).ok()?, u8::from_str_radix(byte, 16).ok()?));
        }
        bytes.sort_by_key(|(code, _)| *code);
        (!bytes.is_empty()).then_some(Self { bytes })
    }

    /// The byte for a character.
    pub fn get(&self, code: u16) -> Option<u8> {
        let at = self.bytes.binary_search_by_key(&code, |(code, _)| *code).ok()?;
        self.bytes.get(at).map(|(_, byte)| *byte)
    }
}

/// Turns characters beyond ASCII into `%uXXXX` (five or six digits beyond U+FFFF). Overlong forms and surrogates are read,
/// too, since lenient decoders do; other bytes stay.
pub(super) fn from_utf8(input: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = input.iter().position(|byte| !byte.is_ascii()) else { return Cow::Borrowed(input) };
    let mut out = Vec::with_capacity(input.len() * 2);
    out.extend_from_slice(&input[..first]);
    let mut at = first;
    while let Some(&byte) = input.get(at) {
        if let Some((code, length)) = character(&input[at..]) {
            out.extend_from_slice(format!("%u{code:04x}").as_bytes());
            at += length;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    Cow::Owned(out)
}

/// The character of two to four bytes at the start, and its length (RFC 3629, section 3).
fn character(input: &[u8]) -> Option<(u32, usize)> {
    let (length, bits) = match input.first()? {
        lead @ 0xc0..=0xdf => (2, lead & 0x1f),
        lead @ 0xe0..=0xef => (3, lead & 0x0f),
        lead @ 0xf0..=0xf4 => (4, lead & 0x07),
        _ => return None,
    };
    let mut code = u32::from(bits);
    for byte in input.get(1..length)? {
        if byte & 0xc0 != 0x80 {
            return None;
        }
        code = code << 6 | u32::from(byte & 0x3f);
    }
    Some((code, length))
}
