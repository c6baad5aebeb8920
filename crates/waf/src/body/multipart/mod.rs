//! `multipart/form-data` bodies (RFC 7578), read strictly: what parsers read in different ways sets a flag.
//!
//! The flags are the variables `MULTIPART_…` of ModSecurity. A part that an error cuts short is kept, so that rules see
//! what a lenient parser would.
mod boundary;
mod disposition;
mod headers;

#[cfg(test)]
mod tests;

use super::Message;
use std::borrow::Cow;

/// Longest header of a part in bytes, folded lines included.
const MAX_HEADER: usize = 4096;

/// Limits of a body.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How many files there may be (`SecUploadFileLimit`).
    pub max_files: usize,
    /// How many parts there may be.
    pub max_parts: usize,
}

impl Default for Options {
    /// 100 files, 1000 parts.
    fn default() -> Self {
        Self { max_files: 100, max_parts: 1000 }
    }
}

/// A part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part<'a> {
    /// `name` of its `Content-Disposition` (`MULTIPART_NAME`, `FILES_NAMES` of a file).
    pub name: Vec<u8>,
    /// `filename`, which makes it a file (`FILES`, `MULTIPART_FILENAME`); may be empty.
    pub filename: Option<Vec<u8>>,
    /// Its headers as `Name: value`, folded lines joined (`MULTIPART_PART_HEADERS`, selected by the part's name).
    pub headers: Vec<Cow<'a, [u8]>>,
    /// Its data: the value of an argument, the content of a file.
    pub data: &'a [u8],
}

/// What parsers may read in different ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags {
    /// The boundary stands in quotes.
    pub boundary_quoted: bool,
    /// Whitespace stands around the boundary.
    pub boundary_whitespace: bool,
    /// There is data before the first boundary.
    pub data_before: bool,
    /// There is data after the last boundary.
    pub data_after: bool,
    /// A header is folded.
    pub header_folding: bool,
    /// A folded line begins with other whitespace than space or tab, or only has whitespace.
    pub invalid_header_folding: bool,
    /// A line ends with LF alone.
    pub lf_line: bool,
    /// Some lines end with CRLF, others with LF.
    pub crlf_lf_lines: bool,
    /// A semicolon is missing before a parameter.
    pub missing_semicolon: bool,
    /// A parameter is quoted with `'`, or has quotes within a value without them.
    pub invalid_quoting: bool,
    /// A part has no name, or no end of its headers.
    pub invalid_part: bool,
    /// There are more files than permitted.
    pub file_limit_exceeded: bool,
    /// A line begins with `--` and is not the boundary.
    pub unmatched_boundary: bool,
}

impl Flags {
    /// The flag of the variable `MULTIPART_…`, without that prefix; `None` if there is none.
    pub fn get(&self, name: &str) -> Option<bool> {
        Some(match name.to_ascii_uppercase().as_str() {
            "BOUNDARY_QUOTED" => self.boundary_quoted,
            "BOUNDARY_WHITESPACE" => self.boundary_whitespace,
            "DATA_BEFORE" => self.data_before,
            "DATA_AFTER" => self.data_after,
            "HEADER_FOLDING" => self.header_folding,
            "INVALID_HEADER_FOLDING" => self.invalid_header_folding,
            "LF_LINE" => self.lf_line,
            "CRLF_LF_LINES" => self.crlf_lf_lines,
            "MISSING_SEMICOLON" | "SEMICOLON_MISSING" => self.missing_semicolon,
            "INVALID_QUOTING" => self.invalid_quoting,
            "INVALID_PART" => self.invalid_part,
            "FILE_LIMIT_EXCEEDED" => self.file_limit_exceeded,
            "UNMATCHED_BOUNDARY" => self.unmatched_boundary,
            _ => return None,
        })
    }

    /// Whether one is set of those that make the body fail strict validation; `unmatched_boundary` is judged on its own.
    fn strict(&self) -> bool {
        self.boundary_quoted
            || self.boundary_whitespace
            || self.data_before
            || self.data_after
            || self.header_folding
            || self.invalid_header_folding
            || self.lf_line
            || self.missing_semicolon
            || self.invalid_quoting
            || self.invalid_part
            || self.file_limit_exceeded
    }
}

/// What a body says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Multipart<'a> {
    /// Its parts, in their order.
    pub parts: Vec<Part<'a>>,
    /// What parsers may read in different ways.
    pub flags: Flags,
    /// Why it was not read to its end.
    pub error: Option<Message>,
}

impl<'a> Multipart<'a> {
    /// The parts that are arguments.
    pub fn arguments(&self) -> impl Iterator<Item = &Part<'a>> {
        self.parts.iter().filter(|part| part.filename.is_none())
    }

    /// The parts that are files, each with its filename.
    pub fn files(&self) -> impl Iterator<Item = (&Part<'a>, &[u8])> {
        self.parts.iter().filter_map(|part| part.filename.as_deref().map(|name| (part, name)))
    }

    /// The size of all files in bytes (`FILES_COMBINED_SIZE`).
    pub fn files_combined_size(&self) -> usize {
        self.files().map(|(part, _)| part.data.len()).sum()
    }

    /// Whether the body fails strict validation (`MULTIPART_STRICT_ERROR`).
    pub fn strict_error(&self) -> bool {
        self.error.is_some() || self.flags.strict()
    }
}

/// Reads a body by its header `Content-Type`.
pub fn parse<'a>(content_type: &[u8], body: &'a [u8], options: &Options) -> Multipart<'a> {
    let mut reader = Reader { out: Multipart::default(), part: None, options, files: 0, crlf: false };
    let read = boundary::of(content_type, &mut reader.out.flags).and_then(|boundary| reader.body(&boundary, body));
    let mut out = reader.out;
    out.error = read.err().map(|error| format!("Multipart parsing error: {error}"));
    out.flags.crlf_lf_lines = reader.crlf && out.flags.lf_line;
    out
}

/// A part that is read.
struct Open<'a> {
    headers: Vec<Cow<'a, [u8]>>,
    /// Where its data begins; `None` as long as its headers are read.
    data: Option<usize>,
    name: Vec<u8>,
    filename: Option<Vec<u8>>,
}

struct Reader<'a, 'o> {
    out: Multipart<'a>,
    part: Option<Open<'a>>,
    options: &'o Options,
    /// Files so far.
    files: usize,
    /// A line ended with CRLF.
    crlf: bool,
}

impl<'a> Reader<'a, '_> {
    fn body(&mut self, boundary: &[u8], body: &'a [u8]) -> Result<(), Message> {
        let (mut at, mut complete, mut any) = (0, false, false);
        while at < body.len() {
            let rest = &body[at..];
            let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
            let line = &rest[..length];
            match self.boundary_line(line, boundary) {
                Ok(Some(last)) => {
                    any = true;
                    if complete {
                        return Err(format!("{} after the final one", if last { "a boundary" } else { "a part" }));
                    }
                    self.finish(&body[..at], true);
                    self.ending(line);
                    complete = last;
                    if !last {
                        self.begin()?;
                    }
                }
                Ok(None) if complete => self.out.flags.data_after |= !line.trim_ascii().is_empty(),
                Ok(None) => {
                    if let Err(error) = self.line(line, at + length) {
                        self.finish(&body[..at], false);
                        return Err(error);
                    }
                }
                Err(error) => {
                    self.finish(&body[..at], false);
                    return Err(error);
                }
            }
            at += length;
        }
        self.finish(body, false);
        match (any, complete) {
            (false, _) => Err("no boundary in the body".into()),
            (true, false) => Err("the final boundary is missing".into()),
            (true, true) => Ok(()),
        }
    }

    /// Whether the line is the boundary, and the final one.
    fn boundary_line(&mut self, line: &[u8], boundary: &[u8]) -> Result<Option<bool>, Message> {
        let Some(text) = line.strip_prefix(b"--") else { return Ok(None) };
        if let Some(after) = text.strip_prefix(boundary) {
            let (last, after) = after.strip_prefix(b"--").map_or((false, after), |after| (true, after));
            if matches!(after, b"\r\n" | b"\n") || (last && after.is_empty()) {
                return Ok(Some(last));
            }
            return Err("text after a boundary on its line".into());
        }
        let quoted = text.strip_prefix(b"\"").is_some_and(|text| text.starts_with(boundary));
        if self.out.flags.boundary_quoted && quoted {
            return Err("a boundary in quotes".into());
        }
        let trimmed = text.trim_ascii_start();
        if trimmed.len() < text.len() && trimmed.starts_with(boundary) {
            return Err("whitespace before a boundary".into());
        }
        self.out.flags.unmatched_boundary |= !trimmed.is_empty();
        Ok(None)
    }

    fn begin(&mut self) -> Result<(), Message> {
        if self.out.parts.len() >= self.options.max_parts {
            return Err(format!("more than {} parts", self.options.max_parts));
        }
        self.part = Some(Open { headers: Vec::new(), data: None, name: Vec::new(), filename: None });
        Ok(())
    }

    /// A line that is no boundary; `next` is where the next one begins.
    fn line(&mut self, line: &'a [u8], next: usize) -> Result<(), Message> {
        let Some(part) = &mut self.part else {
            self.out.flags.data_before = true;
            return Ok(());
        };
        if part.data.is_some() {
            return Ok(());
        }
        let text = headers::without_ending(line);
        if text.is_empty() {
            let value = headers::disposition(&part.headers)?;
            let found = disposition::parse(value, &mut self.out.flags)?;
            (part.name, part.filename) = (found.name, found.filename);
            part.data = Some(next);
        } else {
            headers::add(&mut part.headers, text, &mut self.out.flags)?;
        }
        self.ending(line);
        Ok(())
    }

    /// Ends the open part, whose data ends with `body`, without the line break before a boundary.
    fn finish(&mut self, body: &'a [u8], bounded: bool) {
        let Some(part) = self.part.take() else { return };
        let Some(start) = part.data else {
            self.out.flags.invalid_part = true;
            return;
        };
        let mut data = body.get(start..).unwrap_or_default();
        if bounded {
            // Without data, the line break before the boundary is that of the headers' end.
            if !data.is_empty() {
                self.ending(data);
            }
            data = headers::without_ending(data);
        }
        self.files += usize::from(part.filename.is_some());
        if part.filename.is_some() && self.files > self.options.max_files {
            self.out.flags.file_limit_exceeded = true;
            return;
        }
        self.out.parts.push(Part { name: part.name, filename: part.filename, headers: part.headers, data });
    }

    /// Notes how a line ends.
    fn ending(&mut self, line: &[u8]) {
        if line.ends_with(b"\r\n") {
            self.crlf = true;
        } else if line.ends_with(b"\n") {
            self.out.flags.lf_line = true;
        }
    }
}
