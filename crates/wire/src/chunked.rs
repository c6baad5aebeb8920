//! Bodies: where they end, and the chunked coding (RFC 9112 sections 6 and 7.1).
//!
//! Theory of operation: the caller appends what it receives to one buffer and calls [`BodyDecoder::decode`] until it says
//! [`Decoded::NeedMore`] or [`Decoded::End`]. Data is split off the buffer without a copy. What lies behind the end of the body
//! stays in the buffer: it is the next message.
//!
//! Laws:
//! - The decoded bytes, the outcome and the bytes consumed don't depend on where the pieces end.
//! - Size lines end with CR LF and nothing else; sizes fit 64 bits; extensions are dropped, and can't outweigh the data.
//! - After an error or the end, nothing more is consumed.
use crate::h1::{Framing, H1Error, H1ErrorKind, Limits, parse_trailers};
use crate::headers::{HeaderId, Headers};
use bytes::{Buf, Bytes, BytesMut};

/// The end of a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The end of a chunk, behind its data.
pub const CHUNK_END: &[u8] = b"\r\n";

/// Bytes of one chunk's extensions, and how many more bytes of extensions than of data a body may have.
const MAX_EXTENSIONS: u64 = 4096;

/// What a decoder made of the buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Bytes of the body; never empty.
    Data(Bytes),
    /// The buffer has to grow first.
    NeedMore,
    /// The body is complete.
    End,
}

/// Reads a chunked body.
#[derive(Debug)]
pub struct ChunkedDecoder {
    state: State,
    /// Size of the current chunk as far as it is read, then what is left of its data.
    size: u64,
    /// Hex digits of the size so far.
    digits: u8,
    /// Bytes of this chunk's extensions.
    extension: u64,
    /// How many more bytes of extensions may come; data adds to it.
    allowance: u64,
    /// How far the end of the trailers has been searched for.
    scanned: usize,
    limits: Limits,
    trailers: Headers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    /// Spaces behind the size.
    Space,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
    End,
    Failed,
}

impl Default for ChunkedDecoder {
    /// Trailers of at most 8 KiB and 64 fields.
    fn default() -> Self {
        Self::new(&Limits { max_head: 8 << 10, max_field: 8 << 10, max_target: 0, max_fields: 64, bare_lf: false })
    }
}

impl ChunkedDecoder {
    /// A decoder at the beginning of a body, with limits for the trailers (at most 64 of them).
    pub fn new(trailer_limits: &Limits) -> Self {
        Self {
            state: State::Size,
            size: 0,
            digits: 0,
            extension: 0,
            allowance: MAX_EXTENSIONS,
            scanned: 0,
            limits: trailer_limits.clone(),
            trailers: Headers::default(),
        }
    }

    /// Takes what can be decoded off the front of `buf`.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Decoded, H1Error> {
        let result = self.step(buf);
        if result.is_err() {
            self.state = State::Failed;
        }
        result
    }

    fn step(&mut self, buf: &mut BytesMut) -> Result<Decoded, H1Error> {
        loop {
            match self.state {
                State::End => return Ok(Decoded::End),
                State::Failed => return Err(size_error()),
                State::Trailers => {
                    let Some(trailers) = parse_trailers(buf, &self.limits, &mut self.scanned)? else {
                        return Ok(Decoded::NeedMore);
                    };
                    self.trailers = trailers;
                    self.trailers.retain(|field| may_be_trailer(field.id));
                    self.state = State::End;
                }
                _ if buf.is_empty() => return Ok(Decoded::NeedMore),
                State::Data => {
                    let len = self.size.min(buf.len() as u64);
                    self.size -= len;
                    self.allowance = self.allowance.saturating_add(len);
                    if self.size == 0 {
                        self.state = State::DataCr;
                    }
                    return Ok(Decoded::Data(buf.split_to(len as usize).freeze()));
                }
                _ => self.framing_bytes(buf)?,
            }
        }
    }

    /// Reads the bytes between the data of two chunks, as far as they are there.
    fn framing_bytes(&mut self, buf: &mut BytesMut) -> Result<(), H1Error> {
        let mut read = 0;
        for &byte in buf.iter() {
            self.framing_byte(byte)?;
            read += 1;
            if matches!(self.state, State::Data | State::Trailers) {
                break;
            }
        }
        buf.advance(read);
        Ok(())
    }

    fn framing_byte(&mut self, byte: u8) -> Result<(), H1Error> {
        self.state = match (self.state, byte) {
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                (self.size, self.digits, self.extension) = (0, 0, 0);
                State::Size
            }
            (State::DataCr | State::DataLf, _) => {
                return Err(H1Error::bad(
                    H1ErrorKind::ChunkEnd,
                    "a chunk's data doesn't end with CR LF where its size says",
                ));
            }
            (State::Size, byte) if byte.is_ascii_hexdigit() => self.digit(byte)?,
            (State::Size | State::Space | State::Extension, b'\r') if self.digits > 0 && self.state != State::Space => {
                State::SizeLf
            }
            (State::Size | State::Space, b';') if self.digits > 0 => State::Extension,
            (State::Size | State::Space, b' ' | b'\t') if self.digits > 0 => self.extension_byte(State::Space)?,
            (State::Extension, b'\t' | b' '..=0x7e | 0x80..) => self.extension_byte(State::Extension)?,
            (State::Extension, _) => {
                return Err(H1Error::bad(H1ErrorKind::ChunkExtension, "a control character in a chunk extension"));
            }
            (State::SizeLf, b'\n') if self.size == 0 => State::Trailers,
            (State::SizeLf, b'\n') => State::Data,
            _ => return Err(size_error()),
        };
        Ok(())
    }

    fn digit(&mut self, byte: u8) -> Result<State, H1Error> {
        if self.digits == 16 {
            return Err(size_error());
        }
        let digit = char::from(byte).to_digit(16).unwrap_or(0);
        self.size = self.size << 4 | u64::from(digit);
        self.digits += 1;
        Ok(State::Size)
    }

    fn extension_byte(&mut self, next: State) -> Result<State, H1Error> {
        self.extension += 1;
        if self.extension > MAX_EXTENSIONS || self.allowance == 0 {
            let message = format!("chunk extensions beyond the limit of {MAX_EXTENSIONS} bytes");
            return Err(H1Error::bad(H1ErrorKind::ChunkExtension, message));
        }
        self.allowance -= 1;
        Ok(next)
    }

    /// Whether the body is complete.
    pub fn is_done(&self) -> bool {
        self.state == State::End
    }

    /// Bytes still to come of the chunk whose size line has been read.
    pub fn chunk_left(&self) -> u64 {
        if self.state == State::Data { self.size } else { 0 }
    }

    /// The trailers, once the body is complete. Fields that matter for framing, routing or access aren't taken from trailers
    /// (RFC 9110 section 6.5.1): of the known names only `ETag` and `Server-Timing` are here.
    pub fn trailers(&self) -> &Headers {
        &self.trailers
    }
}

fn may_be_trailer(id: HeaderId) -> bool {
    matches!(id, HeaderId::Other | HeaderId::Etag | HeaderId::ServerTiming)
}

fn size_error() -> H1Error {
    H1Error::bad(H1ErrorKind::ChunkSize, "a chunk's size line isn't 1 to 16 hex digits and CR LF")
}

/// Writes the size line of a chunk of `len` bytes. 0 writes nothing: it would end the body ([`LAST_CHUNK`] does).
pub fn encode_chunk_header(len: usize, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    if len == 0 {
        return;
    }
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4);
    out.extend((0..digits).rev().map(|digit| HEX[len >> (4 * digit) & 15]));
    out.extend_from_slice(b"\r\n");
}

/// Writes the end of a chunked body with `trailers`.
pub fn encode_trailers(trailers: &Headers, out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    trailers.write_to(out);
    out.extend_from_slice(b"\r\n");
}

/// Reads a body of any framing.
#[derive(Debug)]
pub enum BodyDecoder {
    /// So many bytes are still to come; never 0.
    Length(u64),
    /// Chunked.
    Chunked(Box<ChunkedDecoder>),
    /// Everything until the connection closes.
    UntilClose,
    /// Complete.
    Done,
}

impl BodyDecoder {
    /// A decoder at the beginning of a body, with limits for the trailers of a chunked one.
    pub fn new(framing: Framing, trailer_limits: &Limits) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Self::Done,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Box::new(ChunkedDecoder::new(trailer_limits))),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Takes what can be decoded off the front of `buf`. `eof`: nothing will come behind `buf`; where the framing asks for
    /// more, that is [`H1ErrorKind::Truncated`].
    pub fn decode(&mut self, buf: &mut BytesMut, eof: bool) -> Result<Decoded, H1Error> {
        let decoded = match self {
            Self::Done => return Ok(Decoded::End),
            Self::Chunked(decoder) => decoder.decode(buf)?,
            _ if buf.is_empty() => Decoded::NeedMore,
            Self::UntilClose => return Ok(Decoded::Data(buf.split().freeze())),
            Self::Length(left) => {
                let len = (*left).min(buf.len() as u64);
                *left -= len;
                if *left == 0 {
                    *self = Self::Done;
                }
                return Ok(Decoded::Data(buf.split_to(len as usize).freeze()));
            }
        };
        match (decoded, &*self) {
            (Decoded::NeedMore, Self::UntilClose) if eof => {
                *self = Self::Done;
                Ok(Decoded::End)
            }
            (Decoded::NeedMore, _) if eof => {
                Err(H1Error::bad(H1ErrorKind::Truncated, "the connection closed before the body was complete"))
            }
            (decoded, _) => Ok(decoded),
        }
    }

    /// Bytes still to come, where the framing tells.
    pub fn remaining(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Done => Some(0),
            Self::Chunked(decoder) => decoder.is_done().then_some(0),
            Self::UntilClose => None,
        }
    }

    /// Bytes still to come of the current chunk; 0 for other framings.
    pub fn chunk_left(&self) -> u64 {
        match self {
            Self::Chunked(decoder) => decoder.chunk_left(),
            Self::Length(_) | Self::UntilClose | Self::Done => 0,
        }
    }

    /// Whether the body is complete. A chunked decoder stays, so that its trailers can be asked for.
    pub fn is_done(&self) -> bool {
        match self {
            Self::Done => true,
            Self::Chunked(decoder) => decoder.is_done(),
            Self::Length(_) | Self::UntilClose => false,
        }
    }

    /// The trailers of a complete chunked body.
    pub fn trailers(&self) -> Option<&Headers> {
        match self {
            Self::Chunked(decoder) if decoder.is_done() && !decoder.trailers().is_empty() => Some(decoder.trailers()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
