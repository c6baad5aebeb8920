//! The protocol's state of one connection: records go in, plain text comes out, and the other way round. It owns no buffer
//! beside what rustls keeps of a message that is incomplete; bytes are handed to it and taken from it.
use bytes::{Buf, BytesMut};
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{CommonState, Error};

/// Plain text of the longest record (RFC 8446 section 5.1).
pub const RECORD: usize = 16 << 10;
/// Bytes that a record is longer than its plain text, at most, with those of TLS 1.2.
const OVERHEAD: usize = 5 + 8 + 16 + 1;
/// Bytes that may wait for the rest of a message: the longest of the handshake (64 KiB), in records of any size that make sense.
const MOST_WAITING: usize = 128 << 10;

/// One end of a connection.
pub struct Engine {
    side: Side,
    ended: bool,
    /// It broke: rustls may still know of messages in bytes that are gone, and must not look for them in others.
    failed: bool,
}

/// Which end it is.
pub enum Side {
    /// The gateway is the server.
    Server(Box<UnbufferedServerConnection>),
    /// The gateway is the client: a connection to an upstream server.
    Client(Box<UnbufferedClientConnection>),
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The handshake waits for more records.
    Handshake,
    /// Plain text can be sent, and may come.
    Open,
    /// Both ends have said that they send nothing more.
    Closed,
}

/// What one look at the records gave.
enum Seen {
    Again,
    /// The other end has said that it sends nothing more.
    Ended,
    Wait(Phase),
}

impl Engine {
    /// A connection that begins.
    pub fn new(side: Side) -> Self {
        Self { side, ended: false, failed: false }
    }

    /// rustls' connection, for a test that sends what rustls would not.
    #[cfg(test)]
    pub fn into_side(self) -> Side {
        self.side
    }

    /// What rustls knows of the connection.
    pub fn state(&self) -> &CommonState {
        match &self.side {
            Side::Server(connection) => connection,
            Side::Client(connection) => connection,
        }
    }

    /// The other end has said that it sends nothing more.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Takes all records that are complete from the front of `incoming`; their plain text is appended to `plain`, and what the
    /// protocol has to say to `out`.
    ///
    /// # Errors
    /// The other end broke the protocol or cannot be agreed with; `out` has the alert that says so.
    pub fn advance(
        &mut self,
        incoming: &mut BytesMut,
        plain: &mut BytesMut,
        out: &mut Vec<u8>,
    ) -> Result<Phase, Error> {
        if self.failed {
            return Err(broken());
        }
        loop {
            let (discard, seen) = match &mut self.side {
                Side::Server(connection) => {
                    let UnbufferedStatus { discard, state, .. } = connection.process_tls_records(incoming);
                    match state {
                        Ok(ConnectionState::ReadEarlyData(mut early)) => {
                            let mut more = 0;
                            while let Some(record) = early.next_record() {
                                let record = record?;
                                plain.extend_from_slice(record.payload);
                                more += record.discard;
                            }
                            (discard + more, Ok(Seen::Again))
                        }
                        other => take(discard, other, plain, out),
                    }
                }
                Side::Client(connection) => {
                    let UnbufferedStatus { discard, state, .. } = connection.process_tls_records(incoming);
                    take(discard, state, plain, out)
                }
            };
            incoming.advance(discard);
            match seen {
                Ok(Seen::Again) => {}
                Ok(Seen::Ended) => self.ended = true,
                Ok(Seen::Wait(phase)) if incoming.len() <= MOST_WAITING => return Ok(phase),
                // A message whose end does not come keeps all of its records, padding and all.
                Ok(Seen::Wait(_)) => {
                    self.failed = true;
                    return Err(Error::General("a message of the handshake has no end".to_owned()));
                }
                Err(error) => {
                    self.failed = true;
                    self.last_words(incoming, out);
                    return Err(error);
                }
            }
        }
    }

    /// The alert that tells the other end what was wrong. `rest` is what has not been taken of the records.
    fn last_words(&mut self, rest: &mut [u8], out: &mut Vec<u8>) {
        // As long as it has something to say rustls looks at no record, and must not look at the one that was wrong again.
        while self.state().wants_write() {
            let state = match &mut self.side {
                Side::Server(connection) => match connection.process_tls_records(rest).state {
                    Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out),
                    _ => return,
                },
                Side::Client(connection) => match connection.process_tls_records(rest).state {
                    Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out),
                    _ => return,
                },
            };
            if state.is_err() {
                return;
            }
        }
    }

    /// Encrypts `data` into the front of `out`, which is made long enough. Returns the bytes of it that are to be sent.
    /// `incoming` is what [`Engine::advance`] left: a message that has come in part is there, and rustls looks at it again.
    ///
    /// # Errors
    /// The handshake is not over, or the keys have been used for as much as they may.
    pub fn encrypt(&mut self, incoming: &mut BytesMut, data: &[u8], out: &mut Vec<u8>) -> Result<usize, Error> {
        let room = data.len() + data.len().div_ceil(RECORD) * OVERHEAD + OVERHEAD;
        if out.len() < room {
            out.resize(room, 0);
        }
        self.write(incoming, |traffic| traffic.encrypt(data, out))
    }

    /// Says that nothing more is sent (RFC 8446 section 6.1). Returns the bytes at the front of `out` that say so; 0 where the
    /// handshake is not over, or it was said before. `incoming` as in [`Engine::encrypt`].
    pub fn close(&mut self, incoming: &mut BytesMut, out: &mut Vec<u8>) -> usize {
        out.resize(out.len().max(2 * OVERHEAD), 0);
        self.write(incoming, |traffic| traffic.queue_close_notify(out)).unwrap_or(0)
    }

    fn write(
        &mut self,
        incoming: &mut BytesMut,
        f: impl FnOnce(&mut dyn Traffic) -> Result<usize, EncryptError>,
    ) -> Result<usize, Error> {
        if self.failed {
            return Err(broken());
        }
        let (discard, written) = match &mut self.side {
            Side::Server(connection) => {
                let UnbufferedStatus { discard, state, .. } = connection.process_tls_records(incoming);
                match state? {
                    ConnectionState::WriteTraffic(mut traffic) => (discard, f(&mut traffic)),
                    _ => return Err(Error::HandshakeNotComplete),
                }
            }
            Side::Client(connection) => {
                let UnbufferedStatus { discard, state, .. } = connection.process_tls_records(incoming);
                match state? {
                    ConnectionState::WriteTraffic(mut traffic) => (discard, f(&mut traffic)),
                    _ => return Err(Error::HandshakeNotComplete),
                }
            }
        };
        incoming.advance(discard);
        written.map_err(|error| match error {
            EncryptError::EncryptExhausted => Error::EncryptError,
            EncryptError::InsufficientSize(_) => Error::General("a record did not fit its buffer".to_owned()),
        })
    }
}

fn broken() -> Error {
    Error::General("the connection broke before".to_owned())
}

/// The writing half, of either end.
trait Traffic {
    fn encrypt(&mut self, data: &[u8], out: &mut [u8]) -> Result<usize, EncryptError>;
    fn queue_close_notify(&mut self, out: &mut [u8]) -> Result<usize, EncryptError>;
}

impl<D> Traffic for WriteTraffic<'_, D> {
    fn encrypt(&mut self, data: &[u8], out: &mut [u8]) -> Result<usize, EncryptError> {
        WriteTraffic::encrypt(self, data, out)
    }

    fn queue_close_notify(&mut self, out: &mut [u8]) -> Result<usize, EncryptError> {
        WriteTraffic::queue_close_notify(self, out)
    }
}

/// Handles what either end may be asked to do. Returns the bytes that are done with.
fn take<D>(
    mut discard: usize,
    state: Result<ConnectionState<'_, '_, D>, Error>,
    plain: &mut BytesMut,
    out: &mut Vec<u8>,
) -> (usize, Result<Seen, Error>) {
    let seen = match state {
        Err(error) => Err(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                None => break Ok(Seen::Again),
                Some(Err(error)) => break Err(error),
                Some(Ok(record)) => {
                    plain.extend_from_slice(record.payload);
                    discard += record.discard;
                }
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out),
        Ok(ConnectionState::TransmitTlsData(data)) => {
            // It is ahead of whatever is sent later, which is all that rustls has to know.
            data.done();
            Ok(Seen::Again)
        }
        Ok(ConnectionState::PeerClosed) => Ok(Seen::Ended),
        Ok(ConnectionState::BlockedHandshake) => Ok(Seen::Wait(Phase::Handshake)),
        Ok(ConnectionState::WriteTraffic(_)) => Ok(Seen::Wait(Phase::Open)),
        Ok(ConnectionState::Closed) => Ok(Seen::Wait(Phase::Closed)),
        Ok(_) => Err(Error::General("rustls asks for something unknown".to_owned())),
    };
    (discard, seen)
}

fn encode<D>(data: &mut EncodeTlsData<'_, D>, out: &mut Vec<u8>) -> Result<Seen, Error> {
    let start = out.len();
    let mut room = 1024;
    loop {
        out.resize(start + room, 0);
        match data.encode(&mut out[start..]) {
            Ok(length) => {
                out.truncate(start + length);
                return Ok(Seen::Again);
            }
            Err(EncodeError::InsufficientSize(error)) if error.required_size > room => room = error.required_size,
            Err(error) => {
                out.truncate(start);
                return Err(Error::General(error.to_string()));
            }
        }
    }
}
