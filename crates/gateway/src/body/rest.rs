//! Bodies of which the start was read, and the rest comes from the client while a backend reads.
use crate::body::spool::{self, Collected, Spool, SpoolFile, Start};
use crate::body::{RequestBody, Source};
use crate::error::{Error, Kind, Result};
use bytes::Bytes;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Bytes read back from a file in one go.
const BLOCK: u64 = 256 << 10;

/// As [`spool::buffer`], for a backend that can read while the client sends: a body of more than `most` bytes (0: any number),
/// or than the spool has room for, stays a stream. Returns why it does.
pub async fn buffer_or_stream(
    body: &mut RequestBody,
    memory: u64,
    most: u64,
    spool: &Arc<Spool>,
) -> Result<Option<Error>> {
    let mut source = match std::mem::replace(body, RequestBody::Empty) {
        RequestBody::Stream(source) => source,
        other => {
            *body = other;
            return Ok(None);
        }
    };
    if most != 0 && source.length().is_some_and(|length| length > most) {
        *body = RequestBody::Stream(source);
        return Ok(Some(spool::above(most)));
    }
    let (read, why) = match spool::collect(source.as_mut(), memory, most, spool).await? {
        Collected::Whole(buffered) => (RequestBody::Buffered(buffered), None),
        Collected::Part(Start { file, memory, why }) => {
            (RequestBody::Stream(Box::new(Rest { file, offset: 0, memory, source })), Some(why))
        }
    };
    *body = read;
    Ok(why)
}

/// What was read of a body, and then the rest of it from the client.
struct Rest {
    file: Option<SpoolFile>,
    offset: u64,
    memory: Bytes,
    source: Box<dyn Source>,
}

impl Source for Rest {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if let Some(file) = self.file.as_ref().filter(|file| self.offset < file.length()) {
            let mut piece = vec![0; (file.length() - self.offset).min(BLOCK) as usize];
            let read = file.file().read_at(&mut piece, self.offset).unwrap_or(0);
            if read == 0 {
                let cause = "what was spooled of the body cannot be read back";
                return Poll::Ready(Err(Error::new(Kind::Internal, cause)));
            }
            piece.truncate(read);
            self.offset += read as u64;
            return Poll::Ready(Ok(Some(piece.into())));
        }
        self.file = None;
        if !self.memory.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.memory))));
        }
        self.source.poll_chunk(cx)
    }

    fn length(&self) -> Option<u64> {
        let spooled = self.file.as_ref().map_or(0, |file| file.length() - self.offset);
        self.source.length().map(|rest| spooled + self.memory.len() as u64 + rest)
    }

    fn set_limit(&mut self, bytes: u64) {
        self.source.set_limit(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::next_chunk;
    use crate::testing::{Pieces, block_on};

    #[test]
    fn what_there_is_no_room_for_follows_what_was_read() {
        for (room, most, length) in
            [(1_000_000, 0, 400_000), (1, 0, 50_000), (1 << 22, 200_000, 200_000), (1 << 22, 30, 30)]
        {
            let spool = Spool::new(std::env::temp_dir(), room);
            let count = |piece: usize| vec![piece as u8; 50_000];
            let pieces: Vec<_> = (0..30).map(|piece| Bytes::from(count(piece))).collect();
            let mut source: Box<dyn Source> = Box::new(Pieces::of(pieces));
            let read = block_on(spool::collect(source.as_mut(), 64, most, &spool)).unwrap();
            let Collected::Part(Start { file, memory, .. }) = read else { unreachable!() };
            assert!(file.as_ref().map_or(0, SpoolFile::length) + memory.len() as u64 >= length);
            let mut rest = Rest { file, offset: 0, memory, source };
            let mut all = Vec::new();
            while let Some(piece) = block_on(next_chunk(&mut rest)).unwrap() {
                all.extend_from_slice(&piece);
            }
            assert_eq!(all, (0..30).flat_map(count).collect::<Vec<_>>());
            assert_eq!(spool.used(), 0);
        }
    }
}
