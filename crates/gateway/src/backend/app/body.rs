//! Bodies of answers that come over time: from the slot's socket, or from an answer's own once it has left its slot.
use super::call::{Event, Waiter};
use super::link::Reader;
use super::uplink::Uplink;
use crate::body::Source;
use crate::error::{Error, Kind, Result};
use buchner_wire::slot;
use bytes::Bytes;
use std::fs::File;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

/// Bytes read in one go from a detached answer.
const READ: usize = 16 << 10;

fn broken(words: &str) -> Error {
    Error::new(Kind::WorkerInvalid, format!("the app failed after its head was sent: {words}")).closing()
}

/// The rest of an answer at its slot.
pub struct SlotBody {
    /// Where it comes from; gone at the end.
    pub waiter: Option<Waiter>,
    /// The rest of the request, on its way to the app.
    pub uplink: Option<Uplink>,
    /// What came with the head.
    pub first: Bytes,
    /// Bytes to come, where the app said.
    pub left: Option<u64>,
    /// Each piece goes out at once.
    pub flush: bool,
    /// A piece on its way back from a file.
    pub reading: Option<JoinHandle<std::io::Result<Vec<u8>>>>,
}

/// Fills `bytes`. The room is made by the I/O thread and only used by another: memory that many threads allocate and one
/// frees stays with each of them.
fn read_back(file: &File, offset: u64, length: usize, mut bytes: Vec<u8>) -> std::io::Result<Vec<u8>> {
    while bytes.len() < length {
        let at = offset + bytes.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), at) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

impl SlotBody {
    fn count(&mut self, bytes: Bytes) -> Bytes {
        let Some(left) = &mut self.left else { return bytes };
        let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
        *left -= count as u64;
        bytes.slice(..count)
    }
}

impl Source for SlotBody {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if self.uplink.as_mut().is_some_and(|uplink| uplink.poll_failed(cx).is_ready()) {
            // The head is out: what is wrong with the request is the app's to see.
            self.uplink = None;
        }
        loop {
            if !self.first.is_empty() {
                let first = std::mem::take(&mut self.first);
                let first = self.count(first);
                return Poll::Ready(Ok((!first.is_empty()).then_some(first)));
            }
            if let Some(reading) = &mut self.reading {
                let read = ready!(Pin::new(reading).poll(cx));
                self.reading = None;
                let Ok(Ok(bytes)) = read else {
                    let cause = "what was buffered of the answer cannot be read back from spool_dir";
                    return Poll::Ready(Err(Error::new(Kind::SpoolFull, cause).closing()));
                };
                self.first = bytes.into();
                continue;
            }
            let Some(waiter) = &self.waiter else { return Poll::Ready(Ok(None)) };
            match ready!(waiter.poll(cx)) {
                Event::Chunk(bytes) => self.first = bytes,
                Event::Spilled { file, offset, length } => {
                    let room = Vec::with_capacity(length);
                    self.reading = Some(tokio::task::spawn_blocking(move || read_back(&file, offset, length, room)));
                }
                Event::End => self.waiter = None,
                Event::Abort(words) => {
                    self.waiter = None;
                    return Poll::Ready(Err(broken(&words)));
                }
                _ => {
                    if let Some(waiter) = self.waiter.take() {
                        let place = &waiter.link.place;
                        place.pool.culprits.died(&waiter.call, place.worker, false);
                    }
                    return Poll::Ready(Err(
                        Error::new(Kind::WorkerDied, "the worker died while it answered").closing()
                    ));
                }
            }
        }
    }

    fn length(&self) -> Option<u64> {
        self.left
    }

    fn flush_each(&self) -> bool {
        self.flush
    }
}

type Reading = Pin<Box<dyn Future<Output = (Box<Detached>, std::io::Result<bool>)>>>;

struct Detached {
    sock: UnixStream,
    reader: Reader,
    scratch: Vec<u8>,
}

/// The rest of an answer that has left its slot.
pub struct DetachedBody {
    first: Bytes,
    idle: Option<Box<Detached>>,
    reading: Option<Reading>,
}

impl DetachedBody {
    /// Reads frames from the answer's own socket, behind what came with the head.
    pub fn new(sock: UnixStream, first: Bytes) -> Self {
        let idle = Detached { sock, reader: Reader::default(), scratch: vec![0; READ] };
        Self { first, idle: Some(Box::new(idle)), reading: None }
    }
}

impl Source for DetachedBody {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if !self.first.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.first))));
        }
        loop {
            if let Some(mut detached) = self.idle.take() {
                match detached.reader.next_frame() {
                    Ok(Some((header, payload))) => {
                        match header.kind {
                            slot::Kind::Body => self.idle = Some(detached),
                            slot::Kind::End => return Poll::Ready(Ok(None)),
                            _ => return Poll::Ready(Err(broken(&String::from_utf8_lossy(&payload)))),
                        }
                        if payload.is_empty() {
                            continue;
                        }
                        return Poll::Ready(Ok(Some(payload)));
                    }
                    Ok(None) => {
                        self.reading = Some(Box::pin(async move {
                            let Detached { sock, reader, scratch } = &mut *detached;
                            let filled = reader.fill(sock, scratch).await;
                            (detached, filled)
                        }));
                    }
                    Err(error) => return Poll::Ready(Err(broken(&error.to_string()))),
                }
            }
            let Some(reading) = &mut self.reading else { return Poll::Ready(Ok(None)) };
            let (detached, filled) = ready!(reading.as_mut().poll(cx));
            self.reading = None;
            match filled {
                Ok(true) => self.idle = Some(detached),
                _ => return Poll::Ready(Err(broken("its worker died"))),
            }
        }
    }

    fn length(&self) -> Option<u64> {
        None
    }
}
