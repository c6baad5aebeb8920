//! Lists of directories (nginx: the autoindex module), and a file of one at random (random_index).
use crate::body::Body;
use crate::clock::{http_date, moment, utc};
use crate::exchange::Response;
use crate::exchange::conditions::IfModifiedSince;
use crate::filter::body;
use buchner_wire::headers::HeaderId;
use jiff::tz::Offset;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::UNIX_EPOCH;

/// Characters of a name in a page; a longer one is cut.
const NAME: usize = 50;
/// Characters of a callback's name.
const CALLBACK: usize = 128;

/// What a list of a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A page.
    Html,
    /// XML.
    Xml,
    /// JSON.
    Json,
    /// A call in JavaScript of the function that the argument `callback` names; without it JSON.
    Jsonp,
}

struct Entry {
    name: Vec<u8>,
    kind: Kind,
    modified: u64,
    size: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Directory,
    File,
    Other,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::File => "file",
            Self::Other => "other",
        }
    }
}

/// What a directory holds, hidden names aside: directories first, then by name.
fn read(directory: &[u8]) -> std::io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(OsStr::from_bytes(directory))? {
        let entry = entry?;
        let name = entry.file_name().into_vec();
        if name.starts_with(b".") {
            continue;
        }
        // A link that leads nowhere is shown as itself; what went away meanwhile is not.
        let Ok(meta) = std::fs::metadata(entry.path()).or_else(|_| entry.metadata()) else { continue };
        let kind = match () {
            () if meta.is_dir() => Kind::Directory,
            () if meta.is_file() => Kind::File,
            () => Kind::Other,
        };
        let modified = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        entries.push(Entry { name, kind, modified: modified.unwrap_or_default().as_secs(), size: meta.len() });
    }
    entries.sort_by(|a, b| {
        let order = (b.kind == Kind::Directory).cmp(&(a.kind == Kind::Directory));
        order.then_with(|| a.name.cmp(&b.name))
    });
    Ok(entries)
}

/// The name of a file in a directory, chosen at random. `None`: it has none.
pub fn random(directory: &[u8], random: u64) -> std::io::Result<Option<Vec<u8>>> {
    let mut files = read(directory)?;
    files.retain(|entry| entry.kind == Kind::File);
    Ok((!files.is_empty()).then(|| files.swap_remove((random % files.len() as u64) as usize).name))
}

/// How a list is to look.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// What it is.
    pub format: Format,
    /// Sizes in bytes.
    pub exact_size: bool,
    /// What the times of pages are ahead of UTC, as nginx has it: today's, whatever it was when a file was modified.
    pub offset: Offset,
    /// Names are counted in characters of UTF-8 rather than bytes: the answer says it is in UTF-8.
    pub utf8: bool,
    /// Name of a function, for JSONP.
    pub callback: &'a [u8],
}

/// The list of a directory. `path` is what the client asked for. `Err(None)`: the callback is no name.
pub fn list(directory: &[u8], path: &[u8], look: Look<'_>) -> Result<Response, Option<std::io::Error>> {
    let Look { format, callback, .. } = look;
    let name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'$' | b'[' | b']');
    let callback = if format == Format::Jsonp { callback } else { b"" };
    if callback.len() > CALLBACK || !callback.iter().all(name) {
        return Err(None);
    }
    let entries = read(directory).map_err(Some)?;
    let mut out = Vec::with_capacity(256 + entries.len() * 128);
    let kind: &[u8] = match format {
        Format::Html => {
            html(&entries, path, look, &mut out);
            b"text/html"
        }
        Format::Xml => {
            xml(&entries, &mut out);
            b"text/xml; charset=utf-8"
        }
        Format::Jsonp if !callback.is_empty() => {
            out.extend_from_slice(b"/* callback */\r\n");
            out.extend_from_slice(callback);
            out.push(b'(');
            json(&entries, &mut out);
            out.extend_from_slice(b");");
            b"application/javascript"
        }
        Format::Json | Format::Jsonp => {
            json(&entries, &mut out);
            b"application/json"
        }
    };
    let mut response = Response::new(200, Body::Full(out.into()));
    response.headers.push(HeaderId::ContentType, kind);
    // As nginx, which does not count a list before it sends it.
    body::unmeasured(&mut response);
    response.conditions = Some(IfModifiedSince::Exact);
    Ok(response)
}

fn html(entries: &[Entry], path: &[u8], look: Look<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<html>\r\n<head><title>Index of ");
    escape_html(path, out);
    out.extend_from_slice(b"</title></head>\r\n<body>\r\n<h1>Index of ");
    escape_html(path, out);
    out.extend_from_slice(b"</h1><hr><pre><a href=\"../\">../</a>\r\n");
    for entry in entries {
        row(entry, look, out);
    }
    out.extend_from_slice(b"</pre><hr></body>\r\n</html>\r\n");
}

fn row(entry: &Entry, look: Look<'_>, out: &mut Vec<u8>) {
    let directory = entry.kind == Kind::Directory;
    out.extend_from_slice(b"<a href=\"");
    escape_component(&entry.name, out);
    out.extend_from_slice(if directory { b"/\">" } else { b"\">" });
    let mut length = characters(&entry.name, look.utf8);
    if length > NAME {
        escape_html(&entry.name[..first(&entry.name, NAME - 3, look.utf8)], out);
        out.extend_from_slice(b"..&gt;</a>");
    } else {
        escape_html(&entry.name, out);
        if directory && length < NAME {
            out.push(b'/');
            length += 1;
        }
        out.extend_from_slice(b"</a>");
        out.resize(out.len() + NAME - length, b' ');
    }
    let time = look.offset.to_datetime(moment(entry.modified));
    let mut text = time.strftime(" %d-%b-%Y %H:%M ").to_string();
    let _ = match (look.exact_size, directory) {
        (true, true) => write!(text, "{:>19}", "-"),
        (true, false) => write!(text, "{:>19}", entry.size),
        (false, true) => write!(text, "{:>7}", "-"),
        (false, false) => write!(text, "{:>7}", rounded(entry.size)),
    };
    text.push_str("\r\n");
    out.extend_from_slice(text.as_bytes());
}

/// A size in bytes, K, M or G, to the nearest.
fn rounded(size: u64) -> String {
    let round = |shift: u32, unit: char| {
        let one = 1u64 << shift;
        format!("{}{unit}", size / one + u64::from(size % one >= one / 2))
    };
    match size {
        0..=9999 => size.to_string(),
        10_000..0x10_0000 => round(10, 'K'),
        0x10_0000..0x4000_0000 => round(20, 'M'),
        _ => round(30, 'G'),
    }
}

/// Characters of a name; bytes where they are not counted, or it is not UTF-8.
fn characters(name: &[u8], utf8: bool) -> usize {
    std::str::from_utf8(name).ok().filter(|_| utf8).map_or(name.len(), |name| name.chars().count())
}

/// Bytes of the first `count` characters.
fn first(name: &[u8], count: usize, utf8: bool) -> usize {
    match std::str::from_utf8(name).ok().filter(|_| utf8) {
        Some(text) => text.char_indices().nth(count).map_or(name.len(), |(at, _)| at),
        None => count.min(name.len()),
    }
}

fn xml(entries: &[Entry], out: &mut Vec<u8>) {
    out.extend_from_slice(b"<?xml version=\"1.0\"?>\r\n<list>\r\n");
    for entry in entries {
        let kind = entry.kind.word();
        let mut text = format!("<{kind} mtime=\"{}\"", utc(entry.modified).strftime("%Y-%m-%dT%H:%M:%SZ"));
        if entry.kind == Kind::File {
            let _ = write!(text, " size=\"{}\"", entry.size);
        }
        out.extend_from_slice(text.as_bytes());
        out.push(b'>');
        escape_html(&entry.name, out);
        out.extend_from_slice(format!("</{kind}>\r\n").as_bytes());
    }
    out.extend_from_slice(b"</list>\r\n");
}

fn json(entries: &[Entry], out: &mut Vec<u8>) {
    out.push(b'[');
    for (i, entry) in entries.iter().enumerate() {
        out.extend_from_slice(if i == 0 { b"\r\n{ \"name\":\"" } else { b",\r\n{ \"name\":\"" });
        escape_json(&entry.name, out);
        out.extend_from_slice(format!("\", \"type\":\"{}\", \"mtime\":\"", entry.kind.word()).as_bytes());
        out.extend_from_slice(&http_date(entry.modified));
        out.push(b'"');
        if entry.kind == Kind::File {
            out.extend_from_slice(format!(", \"size\":{}", entry.size).as_bytes());
        }
        out.extend_from_slice(b" }");
    }
    out.extend_from_slice(b"\r\n]");
}

fn escape_html(text: &[u8], out: &mut Vec<u8>) {
    for byte in text {
        match byte {
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            b'&' => out.extend_from_slice(b"&amp;"),
            b'"' => out.extend_from_slice(b"&quot;"),
            byte => out.push(*byte),
        }
    }
}

fn escape_json(text: &[u8], out: &mut Vec<u8>) {
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04X}").as_bytes()),
            byte => out.push(*byte),
        }
    }
}

/// Everything but unreserved characters (RFC 3986 section 2.3) as `%XX`.
fn escape_component(text: &[u8], out: &mut Vec<u8>) {
    for byte in text {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(*byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_as_nginx_rounds_them() {
        let cases = [
            (0, "0"),
            (9999, "9999"),
            (10_000, "10K"),
            (20_000, "20K"),
            (1_048_575, "1024K"),
            (1_048_576, "1M"),
            (3_000_000, "3M"),
            (1 << 30, "1G"),
        ];
        for (size, expected) in cases {
            assert_eq!(rounded(size), expected);
        }
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let look = Look { format: Format::Html, exact_size: true, offset: Offset::UTC, utf8: true, callback: b"" };
        let entry = |name: &str| Entry { name: name.into(), kind: Kind::File, modified: 0, size: 1 };
        let mut out = Vec::new();
        row(&entry(&"ü".repeat(51)), look, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(&format!(">{}..&gt;</a> 01-Jan-1970", "ü".repeat(47))), "{text}");
        let mut out = Vec::new();
        row(&entry(&"x".repeat(50)), look, &mut out);
        assert!(String::from_utf8(out).unwrap().contains(&format!(">{}</a> 01-Jan", "x".repeat(50))));
    }
}
