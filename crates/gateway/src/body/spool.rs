//! Bodies kept whole: memory first, then an unlinked file, within a total that all bodies share; or a file with a name, for
//! whoever is told it.
use crate::body::{RequestBody, Source, next_chunk};
use crate::error::{Error, Kind, Result};
use crate::random::random;
use bytes::{Bytes, BytesMut};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Bytes collected before they are written to a spool file in one go.
const WRITE_SIZE: usize = 256 << 10;

/// The name of a file, which goes with it unless it is to stay.
#[derive(Debug)]
struct Name {
    path: PathBuf,
    stays: AtomicBool,
}

impl Drop for Name {
    fn drop(&mut self) {
        if !self.stays.load(Ordering::Relaxed) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Where bodies spill to, shared by all I/O threads.
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    max: u64,
    used: AtomicU64,
}

impl Spool {
    /// A spool in `dir` that holds at most `max` bytes at a time.
    pub fn new(dir: impl Into<PathBuf>, max: u64) -> Arc<Self> {
        Arc::new(Self { dir: dir.into(), max, used: AtomicU64::new(0) })
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// A new unlinked file.
    pub fn create(self: &Arc<Self>) -> Result<SpoolFile> {
        let file = open_unlinked(&self.dir).map_err(|e| {
            let cause = format!(
                "cannot create a file in spool_dir {}: {e}; check that it exists, is writable by the gateway's user and has room",
                self.dir.display()
            );
            Error::new(Kind::SpoolFull, cause)
        })?;
        Ok(SpoolFile { file: Arc::new(file), spool: self.clone(), length: 0, name: None })
    }

    /// A new file with a name, in a directory that is made if it is missing. It goes when it is dropped.
    pub fn create_named(self: &Arc<Self>, dir: Option<&Path>) -> Result<SpoolFile> {
        let dir = dir.unwrap_or(&self.dir);
        let (file, path) = open_named(dir).map_err(|e| {
            let cause = format!(
                "cannot create a file for a request's body in {}: {e}; check that the gateway's user may write there (request_body_dir, nginx: client_body_temp_path)",
                dir.display()
            );
            Error::new(Kind::SpoolFull, cause)
        })?;
        let name = Some(Arc::new(Name { path, stays: AtomicBool::new(false) }));
        Ok(SpoolFile { file: Arc::new(file), spool: self.clone(), length: 0, name })
    }

    /// Counts bytes that are held in memory until they are all there.
    fn hold(self: &Arc<Self>) -> Held {
        Held { spool: self.clone(), bytes: 0 }
    }

    fn reserve(&self, bytes: u64) -> Result<()> {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > self.max {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            let cause = format!("the bodies being buffered exceed spool_max ({} bytes)", self.max);
            return Err(Error::new(Kind::SpoolFull, cause));
        }
        Ok(())
    }
}

/// Room in memory that a body takes while it is read: it counts like a file's, so that stalled uploads have a bound.
struct Held {
    spool: Arc<Spool>,
    bytes: u64,
}

impl Held {
    fn set(&mut self, bytes: usize) -> Result<()> {
        let bytes = bytes as u64;
        if bytes > self.bytes {
            self.spool.reserve(bytes - self.bytes)?;
        } else {
            self.spool.used.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.spool.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn open_unlinked(dir: &Path) -> io::Result<File> {
    let mode = Mode::RUSR | Mode::WUSR;
    match rustix::fs::open(dir, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode) {
        Ok(fd) => Ok(File::from(fd)),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => {
            let (file, path) = create_new(dir, ".buchner")?;
            std::fs::remove_file(&path)?;
            Ok(file)
        }
        Err(e) => Err(e.into()),
    }
}

fn open_named(dir: &Path) -> io::Result<(File, PathBuf)> {
    match create_new(dir, "body") {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            std::fs::DirBuilder::new().mode(0o700).create(dir)?;
            create_new(dir, "body")
        }
        other => other,
    }
}

/// A file that was not there before, for its owner only.
fn create_new(dir: &Path, prefix: &str) -> io::Result<(File, PathBuf)> {
    let path = dir.join(format!("{prefix}-{}-{:016x}", std::process::id(), random()));
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    let fd = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)?;
    Ok((File::from(fd), path))
}

/// An unlinked file, or one with a name; its bytes count against the spool until it is dropped.
#[derive(Debug)]
pub struct SpoolFile {
    file: Arc<File>,
    spool: Arc<Spool>,
    length: u64,
    name: Option<Arc<Name>>,
}

impl SpoolFile {
    /// Appends bytes, off the I/O thread.
    pub async fn append(&mut self, bytes: Bytes) -> Result<()> {
        let length = bytes.len() as u64;
        self.spool.reserve(length)?;
        self.length += length;
        let file = self.file.clone();
        let written = tokio::task::spawn_blocking(move || (&*file).write_all(&bytes)).await;
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => {
                self.length -= length;
                self.spool.used.fetch_sub(length, Ordering::Relaxed);
                let cause = format!("cannot write to spool_dir {}: {e}", self.spool.dir.display());
                Err(Error::new(Kind::SpoolFull, cause))
            }
            Err(_) => Err(Error::new(Kind::Internal, "the gateway is stopping")),
        }
    }

    /// Bytes in the file.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Its name, if it has one.
    pub fn path(&self) -> Option<&Path> {
        self.name.as_ref().map(|name| name.path.as_path())
    }

    /// The open file; read it by position.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }
}

impl SpoolFile {
    /// The same bytes for another request; they count once more.
    #[must_use]
    pub fn share(&self) -> Self {
        self.spool.used.fetch_add(self.length, Ordering::Relaxed);
        Self { file: self.file.clone(), spool: self.spool.clone(), length: self.length, name: self.name.clone() }
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        self.spool.used.fetch_sub(self.length, Ordering::Relaxed);
    }
}

/// A body read whole.
#[derive(Debug)]
pub enum Buffered {
    /// In memory.
    Memory(Bytes),
    /// In a file.
    File(SpoolFile),
}

impl Buffered {
    /// Bytes of the body.
    pub fn length(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(file) => file.length(),
        }
    }
}

/// Reads a request body into a file with a name, which `stays` when the request is over.
pub async fn into_file(body: &mut RequestBody, mut file: SpoolFile, stays: bool) -> Result<()> {
    if let RequestBody::Stream(source) = body {
        let mut buf = BytesMut::new();
        let mut held = file.spool.hold();
        while let Some(chunk) = next_chunk(source.as_mut()).await? {
            buf.extend_from_slice(&chunk);
            if buf.len() >= WRITE_SIZE {
                held.set(0)?;
                file.append(std::mem::take(&mut buf).freeze()).await?;
            }
            held.set(buf.capacity())?;
        }
        drop(held);
        if !buf.is_empty() {
            file.append(buf.freeze()).await?;
        }
    }
    if let Some(name) = &file.name {
        name.stays.store(stays, Ordering::Relaxed);
    }
    *body = RequestBody::Buffered(Buffered::File(file));
    Ok(())
}

/// Reads a request body whole: up to `memory` bytes stay in memory, more go to a file of `spool`.
pub async fn buffer(body: &mut RequestBody, memory: u64, spool: &Arc<Spool>) -> Result<()> {
    let RequestBody::Stream(source) = body else { return Ok(()) };
    match collect(source.as_mut(), memory, 0, spool).await? {
        Collected::Whole(buffered) => *body = RequestBody::Buffered(buffered),
        Collected::Part(part) => return Err(part.why),
    }
    Ok(())
}

/// A body that was read, or as much of it as was wanted or there was room for.
pub(super) enum Collected {
    Whole(Buffered),
    Part(Start),
}

/// The start of a body.
pub(super) struct Start {
    pub file: Option<SpoolFile>,
    /// What follows it.
    pub memory: Bytes,
    /// Why it is not whole.
    pub why: Error,
}

pub(super) fn above(most: u64) -> Error {
    Error::new(Kind::BodyTooLarge, format!("the body has more than {most} bytes (request_buffering_max)"))
}

/// Reads a body, but no more than about `most` bytes of it (0: any number).
pub(super) async fn collect(source: &mut dyn Source, memory: u64, most: u64, spool: &Arc<Spool>) -> Result<Collected> {
    let whole = |bytes| Ok(Collected::Whole(Buffered::Memory(bytes)));
    let part = |file, memory, why| Ok(Collected::Part(Start { file, memory, why }));
    let Some(first) = next_chunk(source).await? else { return whole(Bytes::new()) };
    if source.length() == Some(0) && first.len() as u64 <= memory {
        return whole(first);
    }
    let expected = source.length().map_or(0, |rest| rest.min(memory)) as usize;
    let mut held = spool.hold();
    if let Err(why) = held.set(first.len() + expected) {
        return part(None, first, why);
    }
    let mut buf = BytesMut::with_capacity(first.len() + expected);
    buf.extend_from_slice(&first);
    let mut file: Option<SpoolFile> = None;
    while let Some(chunk) = next_chunk(source).await? {
        buf.extend_from_slice(&chunk);
        if most != 0 && file.as_ref().map_or(0, SpoolFile::length) + buf.len() as u64 > most {
            return part(file, buf.freeze(), above(most));
        }
        if file.is_none() && buf.len() as u64 > memory {
            match spool.create() {
                Ok(made) => file = Some(made),
                Err(why) => return part(file, buf.freeze(), why),
            }
        }
        if let Some(to) = file.as_mut().filter(|_| buf.len() >= WRITE_SIZE) {
            held.set(0)?;
            let piece = std::mem::take(&mut buf).freeze();
            if let Err(why) = to.append(piece.clone()).await {
                return part(file, piece, why);
            }
        }
        if let Err(why) = held.set(buf.capacity()) {
            return part(file, buf.freeze(), why);
        }
    }
    drop(held);
    let Some(mut file) = file else { return whole(buf.freeze()) };
    let last = buf.freeze();
    if !last.is_empty() {
        if let Err(why) = file.append(last.clone()).await {
            return part(Some(file), last, why);
        }
    }
    Ok(Collected::Whole(Buffered::File(file)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Pieces, block_on};
    use std::task::{Context, Poll};

    fn pieces(n: usize, size: usize) -> RequestBody {
        RequestBody::Stream(Box::new(Pieces::of(vec![Bytes::from(vec![7u8; size]); n])))
    }

    #[test]
    fn small_bodies_stay_in_memory() {
        let spool = Spool::new(std::env::temp_dir(), 1 << 20);
        let mut body = pieces(3, 10);
        block_on(buffer(&mut body, 64, &spool)).unwrap();
        assert!(matches!(&body, RequestBody::Buffered(Buffered::Memory(b)) if b.len() == 30));
        assert_eq!(spool.used(), 0);
    }

    #[test]
    fn large_bodies_spill_and_give_their_room_back() {
        let spool = Spool::new(std::env::temp_dir(), 1 << 22);
        let mut body = pieces(30, 50_000);
        block_on(buffer(&mut body, 64, &spool)).unwrap();
        let RequestBody::Buffered(Buffered::File(file)) = &body else { unreachable!() };
        assert_eq!((file.length(), file.file().metadata().unwrap().len()), (1_500_000, 1_500_000));
        assert_eq!(spool.used(), 1_500_000);
        drop(body);
        assert_eq!(spool.used(), 0);
    }

    #[test]
    fn a_full_spool_is_507_and_leaks_nothing() {
        let spool = Spool::new(std::env::temp_dir(), 1_000_000);
        let mut body = pieces(30, 50_000);
        let error = block_on(buffer(&mut body, 64, &spool)).unwrap_err();
        assert_eq!(error.kind.status(), 507);
        drop(body);
        assert_eq!(spool.used(), 0);
    }

    #[test]
    fn bytes_in_memory_count_while_the_rest_is_missing() {
        let spool = Spool::new(std::env::temp_dir(), 1 << 20);
        let waiting = |spool: &Arc<Spool>| {
            let mut body = RequestBody::Stream(Box::new(Stalled(Some(Bytes::from(vec![7u8; 60_000])))));
            let spool = spool.clone();
            Box::pin(async move { buffer(&mut body, 64 << 10, &spool).await })
        };
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut all: Vec<_> = (0..18).map(|_| waiting(&spool)).collect();
        let refused = all.iter_mut().filter_map(|f| match f.as_mut().poll(&mut cx) {
            Poll::Ready(result) => Some(result.unwrap_err().kind.status()),
            Poll::Pending => None,
        });
        assert_eq!(refused.collect::<Vec<_>>(), [507]);
        assert!(spool.used() >= 17 * 60_000);
        drop(all);
        assert_eq!(spool.used(), 0);
    }

    /// Gives one piece, and then nothing.
    struct Stalled(Option<Bytes>);

    impl Source for Stalled {
        fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
            self.0.take().map_or(Poll::Pending, |bytes| Poll::Ready(Ok(Some(bytes))))
        }
        fn length(&self) -> Option<u64> {
            None
        }
    }

    #[test]
    fn a_file_with_a_name_stays_only_where_it_is_to() {
        let dir = std::env::temp_dir().join(format!("buchner-bodies-{}", std::process::id()));
        let spool = Spool::new(std::env::temp_dir(), 1 << 22);
        for stays in [true, false] {
            let mut body = pieces(3, 200_000);
            block_on(into_file(&mut body, spool.create_named(Some(&dir)).unwrap(), stays)).unwrap();
            let RequestBody::Buffered(Buffered::File(file)) = &body else { unreachable!() };
            let path = file.path().unwrap().to_owned();
            assert_eq!(std::fs::metadata(&path).unwrap().len(), 600_000);
            let copy = file.share();
            drop(body);
            assert!(path.exists());
            drop(copy);
            assert_eq!(path.exists(), stays);
        }
        let given_up = spool.create_named(Some(&dir)).unwrap();
        let path = given_up.path().unwrap().to_owned();
        drop(given_up);
        assert!(!path.exists());
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_missing_spool_dir_is_507_with_its_name() {
        let spool = Spool::new("/nonexistent/spool", 1 << 22);
        let error = block_on(buffer(&mut pieces(3, 50_000), 64, &spool)).unwrap_err();
        assert_eq!(error.kind.status(), 507);
        assert!(error.cause.contains("/nonexistent/spool"));
    }
}
