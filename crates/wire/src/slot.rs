//! Slot frames: how a request reaches a Python thread and its answer comes back (docs/worker-protocol.md).
//!
//! A frame is a header of [`HEADER`] bytes and a payload. Both ends keep a buffer of what they have read, look at the header
//! with [`Header::parse`] and take the payload from the buffer once it is there; [`Request`] and [`Response`] read payloads
//! in place, [`RequestWriter`] and [`ResponseWriter`] build whole frames behind whatever a buffer already holds.
//!
//! Law: numbers are little-endian, no payload is longer than [`MAX_PAYLOAD`], and what a peer sends is checked: a frame that
//! breaks the grammar is an [`Error`], after which the socket is of no use.
mod keys;

pub use keys::{KEYS, key, key_of_header, key_of_id, key_of_name};

use crate::headers::{HeaderId, Headers};
use bytes::Bytes;

/// Bytes of a frame's header.
pub const HEADER: usize = 8;
/// The version this program speaks.
pub const VERSION: u8 = 1;
/// Bytes of the longest payload: a head and its pairs, or a piece of a body.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// Bytes of a body that one frame carries at most.
pub const MAX_CHUNK: usize = 64 << 10;
/// Claim index of a request that was not offered ahead: the slot has it, whatever happens.
pub const NO_CLAIM: u32 = u32::MAX;
/// `body_length` of a streamed body whose length is not known.
pub const UNKNOWN_LENGTH: u64 = u64::MAX;

/// Flag of REQUEST: the body follows the pairs.
pub const INLINE: u16 = 1;
/// Flag of REQUEST: the body is in the descriptor that travels with the frame.
pub const SPOOLED: u16 = 2;
/// Flag of REQUEST: the body follows as BODY frames.
pub const STREAMED: u16 = 4;
/// Flag of REQUEST: the client asks for an upgrade.
pub const UPGRADE: u16 = 8;
/// Flag of REQUEST: if the app raises, a page for developers is wanted.
pub const DEVELOPMENT: u16 = 16;

/// Flag of RESPONSE: the body is whole, no END follows.
pub const COMPLETE: u16 = 1;
/// Flag of RESPONSE: a descriptor travels with the frame and the payload ends in offset and length.
pub const FILE: u16 = 2;
/// Flag of RESPONSE: a descriptor travels with the frame, the rest of the response comes there, the slot is free.
pub const DETACHED: u16 = 4;
/// Flag of RESPONSE: the worker's own 500. The body is the traceback; a NUL and the inside of a page follow if wanted.
pub const FAILED: u16 = 8;

/// Flag of UPGRADED: the slot stays busy until an END.
pub const HELD: u16 = 1;

/// Flag of every frame that a descriptor travels with: the kernel refused to send it, and the frame comes alone.
pub const UNSENT: u16 = 0x8000;

/// Where a header has its flags.
const FLAGS_AT: usize = 6;

/// Notes in a whole frame at the beginning of `bytes` that its descriptor does not come with it.
pub fn set_unsent(bytes: &mut [u8]) {
    if let Some(flags) = bytes.get_mut(FLAGS_AT..HEADER).and_then(|flags| flags.first_chunk_mut::<2>()) {
        *flags = (u16::from_le_bytes(*flags) | UNSENT).to_le_bytes();
    }
}

/// Whether [`set_unsent`] was called for the frame at the beginning of `bytes`.
pub fn is_unsent(bytes: &[u8]) -> bool {
    let flags = bytes.get(FLAGS_AT..HEADER).and_then(|flags| flags.first_chunk::<2>());
    flags.is_some_and(|flags| u16::from_le_bytes(*flags) & UNSENT != 0)
}

/// A claim word: what a ticket's request has come to.
pub mod claim {
    /// The gateway offers the request.
    pub const OFFERED: u32 = 1;
    /// The worker runs it.
    pub const TAKEN: u32 = 2;
    /// The gateway took it back.
    pub const REVOKED: u32 = 3;

    /// The word for a state of `ticket` (its low 30 bits).
    pub const fn word(ticket: u32, state: u32) -> u32 {
        ticket << 2 | state
    }
}

/// What is wrong with bytes that came over a slot's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The peer speaks another version of the protocol.
    Version(u8),
    /// The kind is not one of the table.
    Kind(u8),
    /// The payload is longer than [`MAX_PAYLOAD`].
    TooLong(u32),
    /// The payload ends before what it announces.
    Truncated,
    /// An environ pair names an entry that the table of well-known keys does not have.
    Key(u8),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Version(version) => {
                write!(
                    f,
                    "slot frame of version {version}, this program speaks {VERSION}: gateway and worker are of different releases"
                )
            }
            Self::Kind(kind) => write!(f, "slot frame of unknown kind {kind}"),
            Self::TooLong(length) => write!(f, "slot frame of {length} bytes, more than {MAX_PAYLOAD}"),
            Self::Truncated => f.write_str("slot frame that ends before what it announces"),
            Self::Key(key) => {
                write!(f, "slot frame with unknown key {key}: gateway and worker are of different releases")
            }
        }
    }
}

impl std::error::Error for Error {}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A request, towards the worker.
    Request = 1,
    /// Bytes of a streamed request body.
    RequestBody = 2,
    /// The streamed request body is complete.
    RequestEnd = 3,
    /// The client went away in the middle of a streamed request body.
    RequestAbort = 4,
    /// Nobody waits for the answer of the running request any more.
    Stop = 5,
    /// The head of a response, towards the gateway.
    Response = 16,
    /// Bytes of a response body.
    Body = 17,
    /// The response is complete.
    End = 18,
    /// The app failed after the head was sent.
    Abort = 19,
    /// Raw bytes from here.
    Upgraded = 20,
    /// The request had been taken back.
    Skipped = 21,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Request,
            2 => Self::RequestBody,
            3 => Self::RequestEnd,
            4 => Self::RequestAbort,
            5 => Self::Stop,
            16 => Self::Response,
            17 => Self::Body,
            18 => Self::End,
            19 => Self::Abort,
            20 => Self::Upgraded,
            21 => Self::Skipped,
            _ => return None,
        })
    }
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the payload.
    pub length: usize,
    /// What the frame is.
    pub kind: Kind,
    /// Flags of the kind.
    pub flags: u16,
}

impl Header {
    /// Reads the header at the start of `bytes`; `None` when it is not all there yet.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, Error> {
        let Some(header) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
        let &[l0, l1, l2, l3, kind, version, f0, f1] = header;
        if version != VERSION {
            return Err(Error::Version(version));
        }
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        if length as usize > MAX_PAYLOAD {
            return Err(Error::TooLong(length));
        }
        let kind = Kind::from_byte(kind).ok_or(Error::Kind(kind))?;
        Ok(Some(Self { length: length as usize, kind, flags: u16::from_le_bytes([f0, f1]) }))
    }

    /// The bytes of the header.
    pub fn to_bytes(self) -> [u8; HEADER] {
        let [l0, l1, l2, l3] = (self.length as u32).to_le_bytes();
        let [f0, f1] = self.flags.to_le_bytes();
        [l0, l1, l2, l3, self.kind as u8, VERSION, f0, f1]
    }
}

/// Appends a frame without much inside: END, ABORT with its words, a piece of a body.
pub fn write_frame(out: &mut Vec<u8>, kind: Kind, flags: u16, payload: &[u8]) {
    out.extend_from_slice(&Header { length: payload.len(), kind, flags }.to_bytes());
    out.extend_from_slice(payload);
}

/// Sets the length of the frame that begins at `at` and reaches to the end of `out`, plus `extra` bytes sent behind it.
fn patch_length(out: &mut [u8], at: usize, extra: usize) {
    let length = ((out.len() - at - HEADER + extra) as u32).to_le_bytes();
    out[at..at + 4].copy_from_slice(&length);
}

/// Takes numbers and byte strings off the front of a payload.
struct Take<'a>(&'a [u8]);

impl<'a> Take<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Error::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Error::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, Error> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_le_bytes)
    }
}

/// The key of an environ pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// Index into [`KEYS`].
    Known(u8),
    /// Any other name.
    Name(&'a [u8]),
}

impl<'a> Key<'a> {
    /// The name.
    pub fn name(self) -> &'a [u8] {
        match self {
            Self::Known(index) => KEYS[usize::from(index)].as_bytes(),
            Self::Name(name) => name,
        }
    }
}

/// A REQUEST, borrowed from its payload.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Index of the claim word, or [`NO_CLAIM`].
    pub claim: u32,
    /// The ticket the word must have.
    pub ticket: u32,
    /// Bytes of the body, or [`UNKNOWN_LENGTH`].
    pub body_length: u64,
    count: u16,
    rest: &'a [u8],
}

impl<'a> Request<'a> {
    /// Reads the fixed part; the pairs are read by [`Request::for_each`].
    pub fn parse(payload: &'a [u8]) -> Result<Self, Error> {
        let mut take = Take(payload);
        let (claim, ticket) = (take.u32()?, take.u32()?);
        let body_length = take.u64()?;
        let count = take.u16()?;
        Ok(Self { claim, ticket, body_length, count, rest: take.0 })
    }

    /// Hands each pair to `pair`, in order, and returns the bytes behind them: the inline body.
    pub fn for_each<E: From<Error>>(
        &self,
        mut pair: impl FnMut(Key<'a>, &'a [u8]) -> Result<(), E>,
    ) -> Result<&'a [u8], E> {
        let mut take = Take(self.rest);
        for _ in 0..self.count {
            let key = match take.u8()? {
                0 => {
                    let length = take.u8()?;
                    Key::Name(take.bytes(usize::from(length))?)
                }
                number if usize::from(number) <= KEYS.len() => Key::Known(number - 1),
                number => return Err(Error::Key(number).into()),
            };
            let length = take.u32()?;
            pair(key, take.bytes(length as usize)?)?;
        }
        Ok(take.0)
    }
}

/// Builds a REQUEST.
#[derive(Debug)]
pub struct RequestWriter<'a> {
    out: &'a mut Vec<u8>,
    at: usize,
    count: u16,
}

const REQUEST_COUNT_AT: usize = HEADER + 16;

impl<'a> RequestWriter<'a> {
    /// Begins a frame behind what `out` holds.
    pub fn new(out: &'a mut Vec<u8>, body_length: u64) -> Self {
        let at = out.len();
        out.extend_from_slice(&Header { length: 0, kind: Kind::Request, flags: 0 }.to_bytes());
        out.extend_from_slice(&NO_CLAIM.to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
        out.extend_from_slice(&body_length.to_le_bytes());
        out.extend_from_slice(&0u16.to_le_bytes());
        Self { out, at, count: 0 }
    }

    /// Adds a pair with a key of the table.
    pub fn known(&mut self, key: u8, value: &[u8]) {
        self.out.push(key + 1);
        self.value(value);
    }

    /// Adds a pair by name. Names of more than 255 bytes are left out.
    pub fn pair(&mut self, name: &[u8], value: &[u8]) {
        if let Some(key) = key_of_name(name) {
            return self.known(key, value);
        }
        let Ok(length) = u8::try_from(name.len()) else { return };
        self.out.extend_from_slice(&[0, length]);
        self.out.extend_from_slice(name);
        self.value(value);
    }

    /// Adds a pair for a request header of this id: `HTTP_` and the name in capitals with `_` for `-`.
    pub fn header(&mut self, id: HeaderId, name: &[u8], value: &[u8]) {
        if let Some(key) = key_of_id(id).or_else(|| key_of_header(name)) {
            return self.known(key, value);
        }
        let Ok(length) = u8::try_from(name.len() + 5) else { return };
        self.out.extend_from_slice(&[0, length]);
        self.out.extend_from_slice(b"HTTP_");
        self.out.extend(name.iter().map(|&byte| if byte == b'-' { b'_' } else { byte.to_ascii_uppercase() }));
        self.value(value);
    }

    fn value(&mut self, value: &[u8]) {
        self.count += 1;
        self.out.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.out.extend_from_slice(value);
    }

    /// Ends the frame; `inline` is the body where `flags` has [`INLINE`].
    pub fn finish(self, flags: u16, inline: &[u8]) {
        self.out[self.at + REQUEST_COUNT_AT..self.at + REQUEST_COUNT_AT + 2].copy_from_slice(&self.count.to_le_bytes());
        self.out[self.at + 6..self.at + 8].copy_from_slice(&flags.to_le_bytes());
        self.out.extend_from_slice(inline);
        patch_length(self.out, self.at, 0);
    }
}

/// Names the claim word of the REQUEST frame at the start of `frame`, just before it is sent.
pub fn set_claim(frame: &mut [u8], claim: u32, ticket: u32) {
    if let Some(words) = frame.get_mut(HEADER..HEADER + 8) {
        words[..4].copy_from_slice(&claim.to_le_bytes());
        words[4..].copy_from_slice(&ticket.to_le_bytes());
    }
}

/// A RESPONSE, borrowed from its payload.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// Status, 100 to 999.
    pub status: u16,
    /// Reason phrase; may be empty.
    pub reason: &'a [u8],
    count: u16,
    rest: &'a [u8],
}

impl<'a> Response<'a> {
    /// Reads the fixed part; the headers are read by [`Response::for_each`].
    pub fn parse(payload: &'a [u8]) -> Result<Self, Error> {
        let mut take = Take(payload);
        let status = take.u16()?;
        let length = take.u8()?;
        let reason = take.bytes(usize::from(length))?;
        let count = take.u16()?;
        Ok(Self { status, reason, count, rest: take.0 })
    }

    /// The headers, over `payload`, which this was parsed from, and where in it the body begins. One that is no header field
    /// is left out.
    pub fn headers(&self, payload: Bytes) -> Result<(Headers, usize), Error> {
        let mut take = Take(self.rest);
        let mut headers = Headers::received(payload.len(), usize::from(self.count));
        for _ in 0..self.count {
            let length = take.u16()?;
            let name_at = payload.len() - take.0.len();
            let name = take.bytes(usize::from(length))?;
            let length = take.u32()?;
            let value_at = payload.len() - take.0.len();
            let value = take.bytes(length as usize)?;
            headers.add_checked(name, name_at, value, value_at);
        }
        let body_at = payload.len() - take.0.len();
        Ok((headers.over(payload), body_at))
    }

    /// Hands each header to `header`, in order, and returns the bytes behind them: the start of the body.
    pub fn for_each(&self, mut header: impl FnMut(&'a [u8], &'a [u8])) -> Result<&'a [u8], Error> {
        let mut take = Take(self.rest);
        for _ in 0..self.count {
            let length = take.u16()?;
            let name = take.bytes(usize::from(length))?;
            let length = take.u32()?;
            header(name, take.bytes(length as usize)?);
        }
        Ok(take.0)
    }
}

/// Builds the head of a RESPONSE; what follows in the frame is appended by the caller.
#[derive(Debug)]
pub struct ResponseWriter<'a> {
    out: &'a mut Vec<u8>,
    at: usize,
    count_at: usize,
    count: u16,
}

impl<'a> ResponseWriter<'a> {
    /// Begins a frame behind what `out` holds. Of `reason` 255 bytes are used.
    pub fn new(out: &'a mut Vec<u8>, status: u16, reason: &[u8]) -> Self {
        let at = out.len();
        let reason = &reason[..reason.len().min(255)];
        out.extend_from_slice(&Header { length: 0, kind: Kind::Response, flags: 0 }.to_bytes());
        out.extend_from_slice(&status.to_le_bytes());
        out.push(reason.len() as u8);
        out.extend_from_slice(reason);
        let count_at = out.len();
        out.extend_from_slice(&0u16.to_le_bytes());
        Self { out, at, count_at, count: 0 }
    }

    /// Adds a header; false when its name or the number of headers is too large for the frame.
    pub fn header(&mut self, name: &[u8], value: &[u8]) -> bool {
        let (Ok(name_length), Some(count)) = (u16::try_from(name.len()), self.count.checked_add(1)) else {
            return false;
        };
        self.count = count;
        self.out.extend_from_slice(&name_length.to_le_bytes());
        self.out.extend_from_slice(name);
        self.out.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.out.extend_from_slice(value);
        true
    }

    /// Ends the head. The frame's flags and length are set by [`finish_response`] once its body is known.
    pub fn end(self) {
        self.out[self.count_at..self.count_at + 2].copy_from_slice(&self.count.to_le_bytes());
        patch_length(self.out, self.at, 0);
    }
}

/// Sets flags and length of the RESPONSE that begins at the start of `frame`, with `extra` bytes that are sent behind it.
pub fn finish_response(frame: &mut [u8], flags: u16, extra: usize) {
    frame[6..8].copy_from_slice(&flags.to_le_bytes());
    patch_length(frame, 0, extra);
}

#[cfg(test)]
mod tests;
