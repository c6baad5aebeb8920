//! What an upstream sent while the client was busy with what came before: in memory first, then in a spool file.
use crate::body::spool::{Spool, SpoolFile};
use crate::error::{Error, Kind, Result};
use bytes::Bytes;
use std::collections::VecDeque;
use std::future::Future;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Bytes read back at a time.
const PIECE: u64 = 64 << 10;

/// How much of an answer may be kept.
#[derive(Clone)]
pub struct Limits {
    /// Bytes in memory.
    pub memory: u64,
    /// Bytes in a file.
    pub most: u64,
    /// Where the file is.
    pub spool: Arc<Spool>,
}

type Writing = Pin<Box<dyn Future<Output = (SpoolFile, Bytes, Result<()>)>>>;

/// Pieces in the order they came: those in memory, those in the file, and the one that the file had no room for.
pub struct Kept {
    limits: Limits,
    pieces: VecDeque<Bytes>,
    in_memory: u64,
    file: Option<SpoolFile>,
    written: u64,
    read: u64,
    writing: Option<Writing>,
    last: Option<Bytes>,
}

impl Kept {
    /// Nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            pieces: VecDeque::new(),
            in_memory: 0,
            file: None,
            written: 0,
            read: 0,
            writing: None,
            last: None,
        }
    }

    /// Bytes that are kept.
    pub fn length(&self) -> u64 {
        self.in_memory + self.written - self.read + self.last.as_ref().map_or(0, |last| last.len() as u64)
    }

    /// Whether another piece may be pushed now; where it never may before the client has taken some, `Pending`.
    pub fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.poll_written(cx));
        let in_memory = !self.in_file() && self.in_memory < self.limits.memory;
        let room = self.last.is_none() && (in_memory || self.written < self.limits.most);
        if room { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Keeps a piece; there must be room.
    pub fn push(&mut self, bytes: Bytes) {
        let length = bytes.len() as u64;
        let fits = !self.in_file() && self.in_memory + length <= self.limits.memory;
        if fits || (self.limits.most == 0 && !self.in_file()) {
            self.in_memory += length;
            self.pieces.push_back(bytes);
            return;
        }
        let file = self.file.take().map_or_else(|| self.limits.spool.create(), Ok);
        let Ok(mut file) = file else {
            self.last = Some(bytes);
            return;
        };
        self.written += length;
        self.writing = Some(Box::pin(async move {
            let done = file.append(bytes.clone()).await;
            (file, bytes, done)
        }));
    }

    /// The next piece; `None` if nothing is kept.
    pub fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if let Some(piece) = self.pieces.pop_front() {
            self.in_memory -= piece.len() as u64;
            return Poll::Ready(Ok(Some(piece)));
        }
        ready!(self.poll_written(cx));
        if let Some(file) = self.file.as_ref().filter(|_| self.read < self.written) {
            let mut piece = vec![0; (self.written - self.read).min(PIECE) as usize];
            let read = file.file().read_exact_at(&mut piece, self.read);
            self.read += piece.len() as u64;
            return Poll::Ready(read.map(|()| Some(piece.into())).map_err(|error| {
                let cause = format!("what was buffered of the answer cannot be read back from spool_dir: {error}");
                Error::new(Kind::SpoolFull, cause).closing()
            }));
        }
        (self.file, self.written, self.read) = (None, 0, 0);
        Poll::Ready(Ok(self.last.take()))
    }

    fn in_file(&self) -> bool {
        self.file.is_some() || self.writing.is_some()
    }

    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(writing) = &mut self.writing else { return Poll::Ready(()) };
        let (file, bytes, done) = ready!(writing.as_mut().poll(cx));
        self.writing = None;
        self.file = Some(file);
        if done.is_err() {
            // There is no room: the piece follows the file, and the upstream waits for the client.
            self.written -= bytes.len() as u64;
            self.last = Some(bytes);
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    /// Pushes pieces as long as there is room; returns how many were, and then takes all that is kept.
    fn kept(memory: u64, most: u64, spool_max: u64) -> (usize, Vec<Bytes>) {
        let spool = Spool::new(std::env::temp_dir(), spool_max);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let result = runtime.block_on(async {
            let mut kept = Kept::new(Limits { memory, most, spool: spool.clone() });
            let mut pushed = 0;
            while pushed < 20 {
                while kept.writing.is_some() {
                    poll_fn(|cx| kept.poll_written(cx)).await;
                }
                let room = poll_fn(|cx| Poll::Ready(kept.poll_room(cx).is_ready())).await;
                if !room {
                    break;
                }
                kept.push(Bytes::from(vec![pushed as u8; 100]));
                pushed += 1;
            }
            poll_fn(|cx| kept.poll_written(cx)).await;
            assert_eq!(kept.length(), pushed as u64 * 100);
            let mut taken = Vec::new();
            while let Some(piece) = poll_fn(|cx| kept.poll_take(cx)).await.unwrap() {
                taken.push(piece);
            }
            assert_eq!(kept.length(), 0);
            (pushed, taken)
        });
        assert_eq!(spool.used(), 0);
        result
    }

    #[test]
    fn pieces_come_back_in_their_order_from_memory_and_file() {
        for (memory, most, spool, expected) in [
            (10_000, 0, 0, 20),            // all in memory
            (250, 0, 10_000, 3),           // memory alone, one piece beyond it
            (250, 1000, 10_000, 12),       // two in memory, ten in the file
            (0, 10_000, 10_000, 20),       // all in the file
            (250, 10_000, 500, 2 + 5 + 1), // the spool is full: one piece more, and the upstream waits
        ] {
            let (pushed, taken) = kept(memory, most, spool);
            assert_eq!(pushed, expected, "{memory} {most} {spool}");
            let all: Vec<u8> = taken.concat();
            let wanted: Vec<u8> = (0..pushed).flat_map(|n| vec![n as u8; 100]).collect();
            assert_eq!(all, wanted, "{memory} {most} {spool}");
        }
    }
}
