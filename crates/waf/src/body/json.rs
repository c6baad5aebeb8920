//! JSON (RFC 8259): its leaves as arguments whose names are their paths.
use super::{Argument, Message};

/// How the path of a leaf becomes its name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Naming {
    /// As ModSecurity 3 does: `{"a":{"b":[1]}}` has `json.a.b.array_0`.
    #[default]
    Indexed,
    /// As ModSecurity 2.9 does: the same has `a.b.b`, and `[1]` has `array.array`.
    Repeated,
}

/// Longest name in bytes. Each leaf repeats the path to it, so a long path would multiply the document.
const MAX_NAME: usize = 4096;

/// Limits of a document.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How deep arrays and objects may nest (`SecRequestBodyJsonDepthLimit`).
    pub max_depth: usize,
    /// How many arguments there may be (`SecArgumentsLimit`).
    pub max_arguments: usize,
    /// How leaves are named.
    pub naming: Naming,
}

impl Default for Options {
    /// 512 levels, 1000 arguments: ModSecurity's recommended configuration.
    fn default() -> Self {
        Self { max_depth: 512, max_arguments: 1000, naming: Naming::default() }
    }
}

/// What a document says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Json {
    /// Its leaves, in their order, up to an error. Strings are decoded, numbers as they are written, `null` is empty.
    pub arguments: Vec<Argument>,
    /// Why it was not read to its end.
    pub error: Option<Message>,
}

/// Reads a document.
pub fn parse(body: &[u8], options: &Options) -> Json {
    let mut reader = Reader {
        input: body,
        at: 0,
        options,
        path: if options.naming == Naming::Indexed { b"json".to_vec() } else { Vec::new() },
        open: Vec::new(),
        arguments: Vec::new(),
    };
    let error = reader.document().err();
    Json { arguments: reader.arguments, error }
}

/// An array or object that is open.
struct Level {
    /// Length of the path without what stands in it.
    path: usize,
    /// Where the path's last segment begins: what an array repeats.
    segment: usize,
    /// The number of the next element; `None` in an object.
    index: Option<usize>,
}

struct Reader<'a> {
    input: &'a [u8],
    at: usize,
    options: &'a Options,
    /// The path of the value that is read.
    path: Vec<u8>,
    open: Vec<Level>,
    arguments: Vec<Argument>,
}

impl Reader<'_> {
    fn document(&mut self) -> Result<(), Message> {
        let mut segment = 0;
        loop {
            // A value begins here; `segment` is where its own segment begins in the path.
            self.space();
            if self.value(segment)? {
                // A container was opened, and it isn't empty.
                segment = self.element()?;
                continue;
            }
            loop {
                let Some(level) = self.open.last() else {
                    self.space();
                    return if self.at == self.input.len() {
                        Ok(())
                    } else {
                        Err(self.wrong("text after the document"))
                    };
                };
                let close = if level.index.is_some() { b']' } else { b'}' };
                self.path.truncate(level.path);
                self.space();
                match self.next() {
                    Some(b',') => break,
                    Some(byte) if byte == close => _ = self.open.pop(),
                    _ => return Err(self.wrong("neither a comma nor the end of an array or object")),
                }
            }
            segment = self.element()?;
        }
    }

    /// Reads a scalar, an empty container, or the start of another one (`true`).
    fn value(&mut self, segment: usize) -> Result<bool, Message> {
        let start = self.at;
        match self.next() {
            Some(open @ (b'[' | b'{')) => self.container(open == b'[', segment),
            Some(b'"') => {
                let text = self.string()?;
                self.leaf(text)
            }
            Some(b'-' | b'0'..=b'9') => {
                self.at = start;
                let number = self.number()?;
                self.leaf(number)
            }
            Some(b't') => self.word(b"rue", b"true"),
            Some(b'f') => self.word(b"alse", b"false"),
            Some(b'n') => self.word(b"ull", b""),
            _ => Err(self.wrong("no value")),
        }
    }

    fn container(&mut self, array: bool, mut segment: usize) -> Result<bool, Message> {
        if self.open.len() >= self.options.max_depth {
            return Err(format!("JSON parsing error: nested deeper than {}", self.options.max_depth));
        }
        if array && self.open.is_empty() && self.options.naming == Naming::Repeated {
            segment = 0;
            self.path.extend_from_slice(b"array");
        }
        self.space();
        if self.input.get(self.at) == Some(if array { &b']' } else { &b'}' }) {
            self.at += 1;
            return Ok(false);
        }
        self.open.push(Level { path: self.path.len(), segment, index: array.then_some(0) });
        Ok(true)
    }

    /// Begins an element or a member: its segment joins the path. Gives where that begins.
    fn element(&mut self) -> Result<usize, Message> {
        let naming = self.options.naming;
        let Some(level) = self.open.last_mut() else { return Ok(0) };
        let (path, segment) = (level.path, level.segment);
        let begins = if path == 0 { 0 } else { path + 1 };
        if begins > 0 {
            self.path.push(b'.');
        }
        match (&mut level.index, naming) {
            (Some(index), Naming::Indexed) => {
                self.path.extend_from_slice(format!("array_{index}").as_bytes());
                *index += 1;
            }
            (Some(_), Naming::Repeated) => self.path.extend_from_within(segment..path),
            (None, _) => {
                self.space();
                if self.next() != Some(b'"') {
                    return Err(self.wrong("no name of a member"));
                }
                let name = self.string()?;
                self.path.extend_from_slice(&name);
                self.space();
                if self.next() != Some(b':') {
                    return Err(self.wrong("no colon after a name"));
                }
            }
        }
        if self.path.len() > MAX_NAME {
            return Err(format!("JSON parsing error: a path of more than {MAX_NAME} bytes"));
        }
        Ok(begins)
    }

    fn leaf(&mut self, value: Vec<u8>) -> Result<bool, Message> {
        if self.arguments.len() >= self.options.max_arguments {
            return Err(format!("JSON parsing error: more than {} arguments", self.options.max_arguments));
        }
        self.arguments.push(Argument { name: self.path.clone(), value });
        Ok(false)
    }

    fn word(&mut self, rest: &[u8], value: &[u8]) -> Result<bool, Message> {
        if !self.input[self.at..].starts_with(rest) {
            return Err(self.wrong("no value"));
        }
        self.at += rest.len();
        self.leaf(value.to_vec())
    }

    fn number(&mut self) -> Result<Vec<u8>, Message> {
        let start = self.at;
        if self.input.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        let whole = self.digits()?;
        if whole > 1 && self.input[self.at - whole] == b'0' {
            return Err(self.wrong("a number with a leading zero"));
        }
        if self.input.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.input.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.input.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(self.input[start..self.at].to_vec())
    }

    fn digits(&mut self) -> Result<usize, Message> {
        let count = self.input[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count == 0 { Err(self.wrong("a number without digits")) } else { Ok(count) }
    }

    /// The text up to the closing quote, decoded.
    fn string(&mut self) -> Result<Vec<u8>, Message> {
        let mut out = Vec::new();
        loop {
            let rest = &self.input[self.at..];
            let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)).unwrap_or(rest.len());
            if std::str::from_utf8(&rest[..plain]).is_err() {
                return Err(self.wrong("text that is not UTF-8"));
            }
            out.extend_from_slice(&rest[..plain]);
            self.at += plain;
            match self.next() {
                Some(b'"') => return Ok(out),
                Some(b'\\') => self.escape(&mut out)?,
                Some(_) => return Err(self.wrong("a control character in a string")),
                None => return Err(self.wrong("a string without an end")),
            }
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), Message> {
        out.push(match self.next() {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                let character = self.unicode_escape()?;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(self.wrong("an escape that there is not")),
        });
        Ok(())
    }

    /// A surrogate without its other half is a question mark.
    fn unicode_escape(&mut self) -> Result<char, Message> {
        let high = self.unit()?;
        if let 0xd800..=0xdbff = high {
            if self.input[self.at..].starts_with(b"\\u") {
                let before = self.at;
                self.at += 2;
                let low = self.unit()?;
                if let 0xdc00..=0xdfff = low {
                    let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                    return Ok(char::from_u32(code).unwrap_or('?'));
                }
                self.at = before;
            }
        }
        Ok(char::from_u32(high).unwrap_or('?'))
    }

    fn unit(&mut self) -> Result<u32, Message> {
        let digits = self.input.get(self.at..self.at + 4).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let number = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let Some(number) = number.and_then(|digits| u32::from_str_radix(digits, 16).ok()) else {
            return Err(self.wrong("\\u without four digits"));
        };
        self.at += 4;
        Ok(number)
    }

    fn space(&mut self) {
        let space = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        self.at += self.input[self.at..].iter().take_while(space).count();
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.input.get(self.at).copied();
        self.at += usize::from(byte.is_some());
        byte
    }

    fn wrong(&self, what: &str) -> Message {
        format!("JSON parsing error: {what} at byte {}", self.at)
    }
}
