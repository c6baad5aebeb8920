//! An open file with everything its response says about it, made once and used for many requests.
use crate::backend::files::precompressed::Coding;
use crate::backend::files::resolve::Stamp;
use crate::body::{Body, Part};
use crate::clock::http_date;
use buchner_wire::headers::{HeaderId, Headers};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

/// A file up to this size is kept in memory: it leaves in one write with its head, and holds no descriptor.
const MEMORY_BYTES: u64 = 16 << 10;

/// What of the time of a file's last change its entity tag has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EtagPrecision {
    /// All of it: a file that changes twice within a second has two tags.
    #[default]
    Nanoseconds,
    /// Seconds, as nginx does: both give a file the same tag.
    Seconds,
}

/// What a route says about its files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traits<'a> {
    /// Content-Type; empty: none.
    pub content_type: &'a str,
    /// Content coding of a precompressed sibling.
    pub coding: Option<Coding>,
    /// Another coding could have been chosen.
    pub varies: bool,
    /// Send an entity tag, of this kind.
    pub etag: Option<EtagPrecision>,
    /// Cache-Control.
    pub cache_control: Option<&'a str>,
}

/// A file, or a precompressed sibling of one.
pub struct Representation {
    stamp: Stamp,
    varies: bool,
    coding: Option<Coding>,
    headers: Headers,
    content: Content,
}

enum Content {
    Memory(Bytes),
    File(Rc<File>),
}

impl Representation {
    /// Takes an open file. A small one is read.
    pub fn new(file: File, stamp: Stamp, traits: Traits<'_>) -> Self {
        let etag = traits.etag.map(|precision| entity_tag(stamp, traits.coding, precision));
        let mut headers = Headers::with_capacity(8);
        if !traits.content_type.is_empty() {
            headers.push(HeaderId::ContentType, traits.content_type.as_bytes());
        }
        headers.push(HeaderId::LastModified, &http_date(stamp.modified()));
        if let Some(etag) = &etag {
            headers.push(HeaderId::Etag, etag);
        }
        if let Some(coding) = traits.coding {
            headers.push(HeaderId::ContentEncoding, coding.name().as_bytes());
        }
        if traits.varies {
            headers.push(HeaderId::Vary, b"Accept-Encoding");
        }
        if let Some(value) = traits.cache_control {
            headers.push(HeaderId::CacheControl, value.as_bytes());
        }
        Self { stamp, varies: traits.varies, coding: traits.coding, headers, content: Content::of(file, stamp.size) }
    }

    /// A file with this stamp would be just the same.
    pub fn is_still(&self, stamp: Stamp, coding: Option<Coding>, varies: bool) -> bool {
        self.stamp == stamp && self.coding == coding && self.varies == varies
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        self.stamp.size
    }

    /// Its content coding.
    pub fn coding(&self) -> Option<Coding> {
        self.coding
    }

    /// The fields of its response, at Unix time `now` in seconds. A date in the future is none: the server must not claim it
    /// (RFC 9110 section 8.8.2.1).
    pub fn headers(&self, now: u64) -> Headers {
        let mut headers = self.headers.clone();
        if self.stamp.modified() > now {
            headers.remove(HeaderId::LastModified);
        }
        headers
    }

    /// All of it.
    pub fn body(&self) -> Body {
        match &self.content {
            Content::Memory(bytes) => Body::Full(bytes.clone()),
            Content::File(file) => {
                Body::Parts(vec![Part::File { file: file.clone(), offset: 0, length: self.stamp.size }])
            }
        }
    }

    /// Bytes of its content in memory.
    pub fn memory(&self) -> usize {
        match &self.content {
            Content::Memory(bytes) => bytes.len(),
            Content::File(_) => 0,
        }
    }

    /// Descriptors it holds.
    pub fn descriptors(&self) -> usize {
        usize::from(matches!(self.content, Content::File(_)))
    }
}

/// The entity tag of a file or precompressed sibling (RFC 9110 section 8.8.3): always a strong one.
fn entity_tag(stamp: Stamp, coding: Option<Coding>, precision: EtagPrecision) -> Vec<u8> {
    match precision {
        EtagPrecision::Nanoseconds => {
            let suffix = coding.map_or(String::new(), |coding| format!("-{}", coding.extension()));
            format!("\"{:x}-{:x}{suffix}\"", stamp.nanos(), stamp.size).into_bytes()
        }
        EtagPrecision::Seconds => {
            // A time before 1970 is a negative number, in hexadecimal too.
            let sign = if stamp.mtime() < 0 { "-" } else { "" };
            format!("\"{sign}{:x}-{:x}\"", stamp.mtime().unsigned_abs(), stamp.size).into_bytes()
        }
    }
}

impl Content {
    fn of(file: File, size: u64) -> Self {
        if size <= MEMORY_BYTES {
            let mut bytes = vec![0; size as usize];
            // A file that shrinks right now is left to the writer, which notices.
            if file.read_exact_at(&mut bytes, 0).is_ok() {
                return Self::Memory(bytes.into());
            }
        }
        Self::File(Rc::new(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_by_nanoseconds_see_what_tags_by_seconds_do_not() {
        let tag = |nanos, coding, precision| {
            let stamp = Stamp::of_time(0x5f5e_1000, nanos, 255);
            String::from_utf8(entity_tag(stamp, coding, precision)).unwrap()
        };
        let (nanoseconds, seconds) = (EtagPrecision::Nanoseconds, EtagPrecision::Seconds);
        assert_eq!(tag(1, None, seconds), "\"5f5e1000-ff\"");
        assert_eq!(tag(2, Some(Coding::Gzip), seconds), "\"5f5e1000-ff\"");
        assert_ne!(tag(1, None, nanoseconds), tag(2, None, nanoseconds));
        assert_ne!(tag(1, None, nanoseconds), tag(1, Some(Coding::Gzip), nanoseconds));
        let early = Stamp::of_time(-1, 0, 0);
        assert_eq!(entity_tag(early, None, seconds), b"\"-1-0\"");
    }
}
