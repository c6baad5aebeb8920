//! The one body type: what a backend answers with, and what a client sends, whatever the HTTP version.
pub mod pace;
pub mod rest;
pub mod spool;

use crate::error::{Error, Kind, Result};
use crate::io::stream::Io;
use bytes::Bytes;
use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Bytes of a file read at a time where it cannot be sent as it is.
const FILE_PIECE: u64 = 64 << 10;

/// Bytes that come over time. Dropping a source before its end abandons what it reads from.
pub trait Source {
    /// The next piece, never empty; `None` at the end.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>>;

    /// Bytes still to come, where known.
    fn length(&self) -> Option<u64>;

    /// More than this many bytes are an error (413); 0: no limit.
    fn set_limit(&mut self, _bytes: u64) {}

    /// Fields that came behind the body and go on to the client; known at its end.
    fn trailers(&self) -> Option<&buchner_wire::headers::Headers> {
        None
    }

    /// Drops what is already there of a request's body that nobody reads, so that errors in its framing show before the
    /// response; waits for nothing.
    fn skip_ready(&mut self) -> Result<()> {
        Ok(())
    }

    /// The client is busy with a piece: what there is of the next ones may be taken, and kept for later.
    fn poll_ahead(&mut self, _cx: &mut Context<'_>) {}

    /// Each piece goes out at once, nothing waits for more (server-sent events, unbuffered routes).
    fn flush_each(&self) -> bool {
        true
    }
}

/// Waits for the next piece of a source.
pub async fn next_chunk(source: &mut dyn Source) -> Result<Option<Bytes>> {
    std::future::poll_fn(|cx| source.poll_chunk(cx)).await
}

/// A part of a body that is all there.
pub enum Part {
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes of a file, sent by sendfile where the transport can.
    File {
        /// The open file.
        file: Rc<File>,
        /// Where it starts.
        offset: u64,
        /// How much of it.
        length: u64,
    },
}

impl Part {
    /// Bytes in this part.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
        }
    }

    /// True without bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The body of a response.
pub enum Body {
    /// No bytes. `length` is what a body would have had (HEAD, 304); `None` leaves Content-Length out.
    None {
        /// Value of Content-Length.
        length: Option<u64>,
    },
    /// All of it, in memory.
    Full(Bytes),
    /// All of it, in memory and files (single and multiple ranges).
    Parts(Vec<Part>),
    /// Bytes that come over time.
    Stream(Box<dyn Source>),
    /// The connection leaves HTTP (101): raw bytes both ways with this peer.
    Upgraded(Box<Upgraded>),
}

/// The other end of an upgraded connection.
pub struct Upgraded {
    /// A connected socket.
    pub io: Io,
    /// What it had already sent behind its head.
    pub received: Bytes,
    /// Milliseconds without a byte, after which it ends; 0: never.
    pub idle_ms: u64,
    /// Kept until the tunnel ends (a detached slot's place, an upstream's connection count).
    pub guard: Option<Box<dyn std::any::Any>>,
}

impl Body {
    /// No body and `Content-Length: 0`.
    pub const EMPTY: Self = Self::None { length: Some(0) };

    /// Bytes of the whole body, where known.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::None { length } => *length,
            Self::Full(bytes) => Some(bytes.len() as u64),
            Self::Parts(parts) => Some(parts.iter().map(Part::len).sum()),
            Self::Stream(source) => source.length(),
            Self::Upgraded(_) => None,
        }
    }
}

impl Body {
    /// Its bytes as they come, for whoever wants to see them; itself if it has none.
    pub fn into_source(self) -> std::result::Result<Box<dyn Source>, Self> {
        match self {
            Self::Full(bytes) => Ok(Box::new(PartsSource { parts: VecDeque::from([Part::Bytes(bytes)]) })),
            Self::Parts(parts) => Ok(Box::new(PartsSource { parts: parts.into() })),
            Self::Stream(source) => Ok(source),
            other => Err(other),
        }
    }
}

/// Parts, read piece by piece. Files are read on the I/O thread, as nginx does.
struct PartsSource {
    parts: VecDeque<Part>,
}

impl Source for PartsSource {
    fn poll_chunk(&mut self, _cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        while let Some(part) = self.parts.front_mut() {
            match part {
                Part::Bytes(bytes) if !bytes.is_empty() => return Poll::Ready(Ok(Some(std::mem::take(bytes)))),
                Part::File { file, offset, length } if *length > 0 => {
                    let mut piece = vec![0; (*length).min(FILE_PIECE) as usize];
                    let read = file.read_at(&mut piece, *offset);
                    let n = read.map_err(|e| Error::new(Kind::Internal, format!("reading a file: {e}")).closing())?;
                    if n == 0 {
                        return Poll::Ready(Err(Error::new(Kind::Internal, "a file became shorter").closing()));
                    }
                    piece.truncate(n);
                    (*offset, *length) = (*offset + n as u64, *length - n as u64);
                    return Poll::Ready(Ok(Some(piece.into())));
                }
                _ => {
                    self.parts.pop_front();
                }
            }
        }
        Poll::Ready(Ok(None))
    }

    fn length(&self) -> Option<u64> {
        Some(self.parts.iter().map(Part::len).sum())
    }

    fn flush_each(&self) -> bool {
        false
    }
}

/// The body of a request.
pub enum RequestBody {
    /// There is none.
    Empty,
    /// Still to be read from the client.
    Stream(Box<dyn Source>),
    /// Read whole; can be sent more than once.
    Buffered(crate::body::spool::Buffered),
}

impl RequestBody {
    /// True when there are no bytes to come.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream(_) => false,
            Self::Buffered(buffered) => buffered.length() == 0,
        }
    }

    /// Bytes of the body, where known.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Stream(source) => source.length(),
            Self::Buffered(buffered) => Some(buffered.length()),
        }
    }
}
