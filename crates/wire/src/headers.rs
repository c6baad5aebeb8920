//! The fields of a head or a trailer section (RFC 9110 section 5).
//!
//! [`Headers`] doesn't copy what was received: each field is 16 bytes that say where in the received head its name and
//! value are. What the gateway adds lies in one buffer beside it. A set of the ids present answers most questions
//! ("is there a Connection field?") without a look at the fields.
//!
//! Law: a `Headers` holds only valid names and values, so writing one can't split a message (RFC 9112 section 11.1).
//! The reader and [`Headers::push`] both see to it.
mod forwarded;
mod id;

pub use forwarded::{CLIENT_NAMES, speaks_for_client};
pub use id::HeaderId;

use crate::method::{is_tchar, is_token};
use bytes::Bytes;
use id::HOP_BY_HOP;
use std::fmt;
use std::ops::Range;

/// One field, borrowed from its [`Headers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name as an id.
    pub id: HeaderId,
    /// The name as it was sent.
    pub name: &'a [u8],
    /// The value without the white space around it; bytes of any charset, no control characters but tab.
    pub value: &'a [u8],
}

/// A field name that is valid, and what it is known as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldName {
    id: HeaderId,
    name: Box<[u8]>,
}

impl FieldName {
    /// A name as it will be written. `None`: it can't be one.
    pub fn new(name: &[u8]) -> Option<Self> {
        is_valid_name(name).then(|| Self { id: HeaderId::of(name), name: name.into() })
    }

    /// Its id.
    pub fn id(&self) -> HeaderId {
        self.id
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.name
    }
}

/// Header or trailer fields in their order.
#[derive(Clone, Default)]
pub struct Headers {
    /// The head as received.
    raw: Bytes,
    /// Names and values added here.
    extra: Vec<u8>,
    list: Vec<Field>,
    /// Bit n is set when a field with id n is in the list.
    present: u128,
}

/// Where a field's bytes are.
#[derive(Clone, Copy)]
struct Field {
    id: HeaderId,
    place: Place,
    name_len: u16,
    name_at: u32,
    value_at: u32,
    value_len: u32,
}

#[derive(Clone, Copy)]
enum Place {
    /// Name and value lie in the received head.
    Raw,
    /// Name and value lie in the buffer beside it.
    Extra,
    /// The name is the canonical one of the id, the value lies in the buffer beside the head.
    Known,
}

/// Whether `name` can be a field name (RFC 9110 section 5.1): a token.
pub fn is_valid_name(name: &[u8]) -> bool {
    is_token(name) && u16::try_from(name.len()).is_ok()
}

/// Whether `value` can be a field value (RFC 9110 section 5.5): no control characters but tab, so no CR, LF or NUL.
pub fn is_valid_value(value: &[u8]) -> bool {
    // To the end instead of to the first bad one: so it is done many bytes at a time.
    let bad = |byte: u8| (byte < b' ' && byte != b'\t') || byte == 0x7f;
    !value.iter().fold(false, |found, &byte| found | bad(byte))
}

/// Writes `name: value\r\n`; writes nothing and returns false if either is invalid.
pub fn write_header(out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> bool {
    let valid = is_valid_name(name) && is_valid_value(value);
    if valid {
        write_valid(out, name, value);
    }
    valid
}

fn write_valid(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

impl Headers {
    /// No fields, and room for `fields` of them.
    pub fn with_capacity(fields: usize) -> Self {
        Self { list: Vec::with_capacity(fields), ..Self::default() }
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The fields in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Header<'_>> {
        self.list.iter().map(|field| self.header(field))
    }

    /// Whether a field named `id` is there.
    pub fn contains(&self, id: HeaderId) -> bool {
        self.present & id.bit() != 0
    }

    /// The first value of `id`.
    pub fn get(&self, id: HeaderId) -> Option<&[u8]> {
        if !self.contains(id) {
            return None;
        }
        self.list.iter().find(|field| field.id == id).map(|field| self.value(field))
    }

    /// The value of `id`, unless there are several; empty without one.
    pub fn get_only(&self, id: HeaderId) -> Option<&[u8]> {
        let mut values = self.get_all(id);
        let first = values.next().unwrap_or_default();
        values.next().is_none().then_some(first)
    }

    /// The first value of `id`, sharing the received head where it lies in one.
    pub fn get_bytes(&self, id: HeaderId) -> Option<Bytes> {
        if !self.contains(id) {
            return None;
        }
        let field = self.list.iter().find(|field| field.id == id)?;
        let value = self.value(field);
        Some(match field.place {
            Place::Raw => self.raw.slice_ref(value),
            Place::Extra | Place::Known => Bytes::copy_from_slice(value),
        })
    }

    /// All values of `id`, in their order.
    pub fn get_all(&self, id: HeaderId) -> impl Iterator<Item = &[u8]> {
        let list = if self.contains(id) { self.list.as_slice() } else { &[] };
        list.iter().filter(move |field| field.id == id).map(|field| self.value(field))
    }

    /// The first value of the field named `name`, whatever its case.
    pub fn get_name(&self, name: &[u8]) -> Option<&[u8]> {
        match HeaderId::of(name) {
            HeaderId::Other => self.list.iter().find(|field| self.is_other(field, name)).map(|field| self.value(field)),
            id => self.get(id),
        }
    }

    /// Appends a field under its canonical name. An invalid value, or [`HeaderId::Other`], appends nothing and returns
    /// false.
    pub fn push(&mut self, id: HeaderId, value: &[u8]) -> bool {
        if id == HeaderId::Other || !is_valid_value(value) {
            return false;
        }
        self.append(id, Place::Known, &[], value)
    }

    /// Appends a field. An invalid name or value appends nothing and returns false.
    pub fn push_name(&mut self, name: &[u8], value: &[u8]) -> bool {
        if !is_valid_name(name) || !is_valid_value(value) {
            return false;
        }
        self.append(HeaderId::of(name), Place::Extra, name, value)
    }

    /// Appends a field. An invalid value appends nothing and returns false.
    pub fn push_field(&mut self, name: &FieldName, value: &[u8]) -> bool {
        is_valid_value(value) && self.append(name.id, Place::Extra, &name.name, value)
    }

    /// Makes room for `fields` more, and `bytes` of names and values.
    pub fn reserve(&mut self, fields: usize, bytes: usize) {
        self.list.reserve(fields);
        self.extra.reserve(bytes);
    }

    /// Removes all fields named `id` and appends one. An invalid value changes nothing and returns false.
    pub fn set(&mut self, id: HeaderId, value: &[u8]) -> bool {
        if id == HeaderId::Other || !is_valid_value(value) {
            return false;
        }
        self.remove(id);
        self.append(id, Place::Known, &[], value)
    }

    /// Removes all fields named `name` and appends one. An invalid name or value changes nothing and returns false.
    pub fn set_name(&mut self, name: &[u8], value: &[u8]) -> bool {
        if !is_valid_name(name) || !is_valid_value(value) {
            return false;
        }
        self.remove_name(name);
        self.append(HeaderId::of(name), Place::Extra, name, value)
    }

    /// Removes all fields named `id`; [`HeaderId::Other`] removes none.
    pub fn remove(&mut self, id: HeaderId) {
        if id != HeaderId::Other && self.contains(id) {
            self.list.retain(|field| field.id != id);
            self.present &= !id.bit();
        }
    }

    /// Removes all fields named `name`, whatever its case.
    pub fn remove_name(&mut self, name: &[u8]) {
        match HeaderId::of(name) {
            HeaderId::Other => {
                self.retain(|header| header.id != HeaderId::Other || !header.name.eq_ignore_ascii_case(name));
            }
            id => self.remove(id),
        }
    }

    /// Keeps the fields that `keep` returns true for.
    pub fn retain(&mut self, mut keep: impl FnMut(&Header<'_>) -> bool) {
        let mut list = std::mem::take(&mut self.list);
        self.present = 0;
        list.retain(|field| {
            let keep = keep(&self.header(field));
            if keep {
                self.present |= field.id.bit();
            }
            keep
        });
        self.list = list;
    }

    /// Removes what is for this hop only (RFC 9110 section 7.6.1): Connection, the fields it names, and Keep-Alive,
    /// Proxy-Connection, TE, Trailer, Transfer-Encoding, Upgrade and HTTP2-Settings.
    ///
    /// A sender must not name fields meant for the recipient in Connection, and those who do want to hide a field the next
    /// hop relies on. So of the known names only the hop-by-hop ones go; Host, Content-Length, Authorization, Cookie and
    /// whatever begins with `X-Forwarded-` stay.
    pub fn strip_hop_by_hop(&mut self) {
        if self.present & HOP_BY_HOP == 0 {
            return;
        }
        let list = std::mem::take(&mut self.list);
        let named = self.named_by_connection(&list);
        let mut kept = Vec::with_capacity(list.len());
        let mut present = 0;
        for field in &list {
            let other = || named.binary_search_by(|name| cmp_ignore_case(name, self.name(field))).is_ok();
            let goes = field.id.is_hop_by_hop() || (field.id == HeaderId::Other && !named.is_empty() && other());
            if !goes {
                present |= field.id.bit();
                kept.push(*field);
            }
        }
        drop(named);
        self.list = kept;
        self.present = present;
    }

    /// As [`Headers::strip_hop_by_hop`], of a response: the Upgrade of a 426 stays, since it names what the client is asked
    /// for (RFC 9110 section 15.5.22).
    pub fn strip_hop_by_hop_of_response(&mut self, status: u16) {
        let wanted = self.get(HeaderId::Upgrade).filter(|_| status == 426).map(<[u8]>::to_vec);
        self.strip_hop_by_hop();
        if let Some(wanted) = wanted {
            self.push(HeaderId::Upgrade, &wanted);
        }
    }

    /// The unknown names that Connection fields in `list` name, sorted without regard to case.
    fn named_by_connection<'a>(&'a self, list: &[Field]) -> Vec<&'a [u8]> {
        let mut named = Vec::new();
        for field in list.iter().filter(|field| field.id == HeaderId::Connection) {
            for name in list_members(self.value(field)) {
                let plain = name.eq_ignore_ascii_case(b"close") || HeaderId::of(name) != HeaderId::Other;
                if !plain && !starts_ignore_case(name, b"x-forwarded-") {
                    named.push(name);
                }
            }
        }
        // Sorted, so that many names and many fields don't cost their product.
        named.sort_unstable_by(|a, b| cmp_ignore_case(a, b));
        named
    }

    /// Writes every field as `name: value\r\n`.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        out.reserve(self.raw.len() + self.extra.len() + 4 * self.list.len());
        for header in self.iter() {
            write_valid(out, header.name, header.value);
        }
    }

    /// Writes the fields that `keep` returns true for as `name: value\r\n`. Those that were received so are copied as they
    /// stand, and what stands together in one go.
    #[inline]
    pub fn write_kept(&self, out: &mut Vec<u8>, mut keep: impl FnMut(&Header<'_>) -> bool) {
        let mut run = 0..0;
        for field in &self.list {
            let header = self.header(field);
            if !keep(&header) {
                continue;
            }
            let line = self.line(field);
            if line.start != run.end {
                out.extend_from_slice(self.raw.get(run).unwrap_or_default());
                run = line.start..line.start;
            }
            if line.is_empty() {
                write_valid(out, header.name, header.value);
            } else {
                run.end = line.end;
            }
        }
        out.extend_from_slice(self.raw.get(run).unwrap_or_default());
    }

    /// Where in the received head the line of a field is, if it is there just as it would be written.
    fn line(&self, field: &Field) -> Range<usize> {
        let name_end = field.name_at as usize + usize::from(field.name_len);
        let value_end = field.value_at as usize + field.value_len as usize;
        let as_written = matches!(field.place, Place::Raw)
            && self.raw.get(name_end..field.value_at as usize) == Some(b": ")
            && self.raw.get(value_end..value_end + 2) == Some(b"\r\n");
        if as_written { field.name_at as usize..value_end + 2 } else { 0..0 }
    }

    /// The fields of a head of `raw_len` bytes that is being read, with room for `fields` and some that will be added.
    pub(crate) fn received(raw_len: usize, fields: usize) -> Received {
        Received { list: Vec::with_capacity(fields + SPARE), present: 0, raw_len }
    }

    fn append(&mut self, id: HeaderId, place: Place, name: &[u8], value: &[u8]) -> bool {
        let name_at = self.extra.len();
        let value_at = name_at + name.len();
        let (Ok(name_len), Ok(name_at), Ok(value_at), Ok(value_len)) =
            (u16::try_from(name.len()), u32::try_from(name_at), u32::try_from(value_at), u32::try_from(value.len()))
        else {
            return false;
        };
        self.extra.extend_from_slice(name);
        self.extra.extend_from_slice(value);
        self.present |= id.bit();
        self.list.push(Field { id, place, name_len, name_at, value_at, value_len });
        true
    }

    fn header(&self, field: &Field) -> Header<'_> {
        Header { id: field.id, name: self.name(field), value: self.value(field) }
    }

    fn name(&self, field: &Field) -> &[u8] {
        match field.place {
            Place::Raw => span(&self.raw, field.name_at, u32::from(field.name_len)),
            Place::Extra => span(&self.extra, field.name_at, u32::from(field.name_len)),
            Place::Known => field.id.name().as_bytes(),
        }
    }

    fn value(&self, field: &Field) -> &[u8] {
        match field.place {
            Place::Raw => span(&self.raw, field.value_at, field.value_len),
            Place::Extra | Place::Known => span(&self.extra, field.value_at, field.value_len),
        }
    }

    fn is_other(&self, field: &Field, name: &[u8]) -> bool {
        field.id == HeaderId::Other && self.name(field).eq_ignore_ascii_case(name)
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes| String::from_utf8_lossy(bytes);
        f.debug_list().entries(self.iter().map(|header| (text(header.name), text(header.value)))).finish()
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for Headers {}

/// Room left for what the gateway adds to a head (Via, X-Forwarded-For, a request id), so that the list doesn't move.
const SPARE: usize = 6;

/// Fields of a head that is still being read.
pub(crate) struct Received {
    list: Vec<Field>,
    present: u128,
    raw_len: usize,
}

impl Received {
    /// Adds a field by the offsets of its name and value in the head. False if they can't be: then the name is too long.
    #[inline]
    pub(crate) fn add(&mut self, id: HeaderId, name: (usize, usize), value: (usize, usize)) -> bool {
        debug_assert!(name.0 + name.1 <= self.raw_len && value.0 + value.1 <= self.raw_len);
        let (Ok(name_len), Ok(name_at), Ok(value_at), Ok(value_len)) =
            (u16::try_from(name.1), u32::try_from(name.0), u32::try_from(value.0), u32::try_from(value.1))
        else {
            return false;
        };
        self.present |= id.bit();
        self.list.push(Field { id, place: Place::Raw, name_len, name_at, value_at, value_len });
        true
    }

    /// As [`Received::add`], unless name or value are not valid.
    pub(crate) fn add_checked(&mut self, name: &[u8], name_at: usize, value: &[u8], value_at: usize) {
        if is_valid_name(name) && is_valid_value(value) {
            self.add(HeaderId::of(name), (name_at, name.len()), (value_at, value.len()));
        }
    }

    /// The fields over the head they were found in.
    pub(crate) fn over(self, raw: Bytes) -> Headers {
        debug_assert_eq!(raw.len(), self.raw_len);
        Headers { raw, extra: Vec::new(), list: self.list, present: self.present }
    }
}

/// The members of a comma-separated list (RFC 9110 section 5.6.1), empty ones left out.
pub fn list_members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// `name` for a message: what isn't part of a name becomes `?`, the end of a long one dots.
pub(crate) fn printable_name(name: &[u8]) -> String {
    const SHOWN: usize = 64;
    let mut text: String =
        name.iter().take(SHOWN).map(|&byte| if is_tchar(byte) { char::from(byte) } else { '?' }).collect();
    if name.len() > SHOWN {
        text.push_str("...");
    }
    text
}

fn span(bytes: &[u8], at: u32, len: u32) -> &[u8] {
    // In range by construction; an empty slice is the harmless answer otherwise.
    bytes.get(at as usize..at as usize + len as usize).unwrap_or_default()
}

fn cmp_ignore_case(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    a.iter().map(u8::to_ascii_lowercase).cmp(b.iter().map(u8::to_ascii_lowercase))
}

fn starts_ignore_case(name: &[u8], prefix: &[u8]) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests;
