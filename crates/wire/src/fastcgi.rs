//! FastCGI records (FastCGI Specification 1.0): the request of a responder, and what comes back.
//!
//! Theory of operation: [`Writer`] makes BEGIN_REQUEST and PARAMS, [`stdin_header`] and [`STDIN_END`] frame the body. What comes
//! back goes through a [`Reader`], which hands out the bytes of STDOUT, keeps those of STDERR up to a limit, and knows the end. One
//! request at a time is on a connection, and its number is [`REQUEST`].
//!
//! Laws:
//! - The bytes handed out don't depend on where the pieces end in which they arrived.
//! - A record of another version, kind or request is an error, after which nothing more is taken.
use crate::malformed::Malformed;
use bytes::{Buf, Bytes, BytesMut};

/// The number of the one request on a connection.
pub const REQUEST: u16 = 1;
/// Bytes of a record's header.
pub const HEADER: usize = 8;
/// Bytes of content that a record of ours has at most: the highest multiple of 8.
pub const MAX_CONTENT: usize = 65_528;
/// The end of a request's body.
pub const STDIN_END: [u8; HEADER] = header(STDIN, 0, 0);
/// Bytes of STDERR that are kept until they are taken; what is beyond is dropped.
pub const MAX_STDERR: usize = 16 << 10;

const VERSION: u8 = 1;
const BEGIN_REQUEST: u8 = 1;
const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;
const RESPONDER: u8 = 1;
const KEEP_CONN: u8 = 1;

const fn header(kind: u8, length: u16, padding: u8) -> [u8; HEADER] {
    let (length, request) = (length.to_be_bytes(), REQUEST.to_be_bytes());
    [VERSION, kind, request[0], request[1], length[0], length[1], padding, 0]
}

/// The header of a record with a piece of the body, at most [`MAX_CONTENT`] bytes.
pub fn stdin_header(length: usize) -> [u8; HEADER] {
    header(STDIN, length.min(MAX_CONTENT) as u16, 0)
}

/// Appends a piece of the body as records.
pub fn encode_stdin(piece: &[u8], out: &mut Vec<u8>) {
    for part in piece.chunks(MAX_CONTENT) {
        out.extend_from_slice(&stdin_header(part.len()));
        out.extend_from_slice(part);
    }
}

/// Writes the beginning of one request behind what `out` holds.
pub struct Writer<'o> {
    out: &'o mut Vec<u8>,
    /// Where the content of the open PARAMS record begins.
    content: usize,
}

impl<'o> Writer<'o> {
    /// Begins a request. `keep`: the connection is to stay open behind it.
    pub fn new(keep: bool, out: &'o mut Vec<u8>) -> Self {
        out.extend_from_slice(&header(BEGIN_REQUEST, 8, 0));
        out.extend_from_slice(&[0, RESPONDER, if keep { KEEP_CONN } else { 0 }, 0, 0, 0, 0, 0]);
        out.extend_from_slice(&header(PARAMS, 0, 0));
        let content = out.len();
        Self { out, content }
    }

    /// Adds a pair; its bytes may go over the end of a record.
    pub fn pair(&mut self, name: &[u8], value: &[u8]) {
        for part in [name, value] {
            match u8::try_from(part.len()) {
                Ok(length) if length < 0x80 => self.out.push(length),
                _ => self.out.extend_from_slice(&(part.len() as u32 | 0x8000_0000).to_be_bytes()),
            }
        }
        self.out.extend_from_slice(name);
        self.out.extend_from_slice(value);
        while self.out.len() - self.content > MAX_CONTENT {
            let end = self.content + MAX_CONTENT;
            self.close(MAX_CONTENT);
            self.out.splice(end..end, header(PARAMS, 0, 0));
            self.content = end + HEADER;
        }
    }

    /// Ends the pairs. The body and [`STDIN_END`] follow.
    pub fn finish(mut self) {
        let length = self.out.len() - self.content;
        if length > 0 {
            self.close(length);
            self.out.extend_from_slice(&header(PARAMS, 0, 0));
        }
    }

    /// Says in the header of the open record how long it is.
    fn close(&mut self, length: usize) {
        let at = self.content - HEADER;
        self.out[at..self.content].copy_from_slice(&header(PARAMS, length as u16, 0));
    }
}

/// What a reader made of the buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Bytes of STDOUT; never empty.
    Stdout(Bytes),
    /// The buffer has to grow first.
    NeedMore,
    /// The request is over.
    End,
}

/// Reads what an application sends.
#[derive(Debug, Default)]
pub struct Reader {
    kind: u8,
    /// Bytes of the record's content that are still to come.
    content: usize,
    /// Bytes of padding behind them.
    padding: usize,
    stderr: Vec<u8>,
    ended: bool,
}

impl Reader {
    /// Takes what can be read off the front of `buf`.
    pub fn read(&mut self, buf: &mut BytesMut) -> Result<Event, Malformed> {
        loop {
            if self.ended {
                return Ok(Event::End);
            }
            if self.content > 0 && self.kind == END_REQUEST {
                if buf.len() < self.content + self.padding {
                    return Ok(Event::NeedMore);
                }
                self.end(buf)?;
            } else if self.content > 0 {
                let count = self.content.min(buf.len());
                if count == 0 {
                    return Ok(Event::NeedMore);
                }
                self.content -= count;
                let piece = buf.split_to(count);
                if self.kind == STDOUT {
                    return Ok(Event::Stdout(piece.freeze()));
                }
                let room = MAX_STDERR.saturating_sub(self.stderr.len());
                self.stderr.extend_from_slice(&piece[..count.min(room)]);
            } else if self.padding > 0 {
                let count = self.padding.min(buf.len());
                if count == 0 {
                    return Ok(Event::NeedMore);
                }
                self.padding -= count;
                buf.advance(count);
            } else if !self.begin(buf)? {
                return Ok(Event::NeedMore);
            }
        }
    }

    /// Reads the header of a record. False: it is not there yet.
    fn begin(&mut self, buf: &mut BytesMut) -> Result<bool, Malformed> {
        if buf.first().is_some_and(|version| *version != VERSION) {
            return Err(Malformed::new(format!("a FastCGI record of version {}, not 1", buf[0])));
        }
        let Some(&[_, kind, request0, request1, length0, length1, padding, _]) = buf.first_chunk::<HEADER>() else {
            return Ok(false);
        };
        let request = u16::from_be_bytes([request0, request1]);
        let length = usize::from(u16::from_be_bytes([length0, length1]));
        if !matches!(kind, STDOUT | STDERR | END_REQUEST) {
            return Err(Malformed::new(format!("a FastCGI record of kind {kind}, which an application does not send")));
        }
        if request != REQUEST {
            return Err(Malformed::new(format!("a FastCGI record of request {request}, which is not under way")));
        }
        if kind == END_REQUEST && length != 8 {
            return Err(Malformed::new(format!("a FastCGI END_REQUEST of {length} bytes, not 8")));
        }
        buf.advance(HEADER);
        (self.kind, self.content, self.padding) = (kind, length, usize::from(padding));
        Ok(true)
    }

    /// Reads END_REQUEST.
    fn end(&mut self, buf: &mut BytesMut) -> Result<(), Malformed> {
        let status = buf[4];
        buf.advance(self.content + self.padding);
        (self.content, self.padding) = (0, 0);
        let why = match status {
            0 => {
                self.ended = true;
                return Ok(());
            }
            1 => "it serves one request on a connection (FCGI_CANT_MPX_CONN)",
            2 => "it is overloaded (FCGI_OVERLOADED)",
            3 => "it knows no responders (FCGI_UNKNOWN_ROLE)",
            _ => "its protocol status is unknown",
        };
        Err(Malformed::new(format!("the FastCGI application refused the request: {why}")))
    }

    /// The request is over, and all of it was taken.
    pub fn is_done(&self) -> bool {
        self.ended
    }

    /// What came as STDERR since it was last taken.
    pub fn take_stderr(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.stderr)
    }
}

#[cfg(test)]
mod tests;
