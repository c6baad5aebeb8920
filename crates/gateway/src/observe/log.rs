//! Logs are written by one thread of their own; I/O threads only fill buffers.
#[cfg(test)]
pub mod testing;

use crate::clock::zone;
use crate::observe::backlog::Backlog;
use crate::observe::level::Level;
use crate::observe::syslog::{Sender as SyslogSender, Syslog};
use crate::text::printable;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// An I/O thread's buffer goes to the writer at this size.
pub const BUFFER_BYTES: usize = 64 << 10;
/// Longest wait for the last lines to be written.
const SYNC: Duration = Duration::from_secs(2);
/// Files with names of their own that one thread collects lines for, until the next flush.
const MAX_NAMED: usize = 1024;

/// Where lines of an access log go.
#[derive(Debug, PartialEq, Eq)]
pub enum Sink {
    /// Standard output.
    Stdout,
    /// A file.
    File {
        /// Its name.
        path: String,
        /// Level it is compressed with; 0: it is not.
        gzip: u32,
    },
    /// Syslog.
    Syslog(Syslog),
}

/// Where lines of an access log go, and how many are collected first.
#[derive(Debug, PartialEq, Eq)]
pub struct Target {
    /// Where they go.
    pub sink: Sink,
    /// Bytes that are collected.
    pub buffer: usize,
    /// Milliseconds they may wait for more, beyond the second that all may.
    pub flush_ms: u64,
}

enum Message {
    Access(Arc<Target>, Vec<u8>),
    /// Lines for a file that is opened for them alone.
    Named(Box<[u8]>, Vec<u8>),
    Error(String),
    /// A line for an error log of its own.
    ErrorTo(Arc<Sink>, Level, String),
    Reopen,
    Sync(Sender<()>),
}

/// A handle to the log writer.
#[derive(Clone)]
pub struct LogWriter {
    messages: Sender<Message>,
    backlog: Arc<Backlog>,
    /// The least serious messages that are kept.
    level: Arc<AtomicU8>,
}

impl LogWriter {
    /// Starts the writer thread.
    pub fn start() -> io::Result<Self> {
        let (messages, inbox) = mpsc::channel();
        let backlog = Arc::new(Backlog::default());
        let theirs = backlog.clone();
        std::thread::Builder::new().name("log".into()).spawn(move || write_all(&inbox, &theirs))?;
        Ok(Self { messages, backlog, level: Arc::new(AtomicU8::new(Level::default() as u8)) })
    }

    /// Writes a line to the error log, with time and process id.
    pub fn line(&self, text: &str) {
        let line = stamped(text);
        self.lines(line.len(), Message::Error(line));
    }

    /// Messages less serious than this are dropped from now on.
    pub fn set_level(&self, level: Level) {
        self.level.store(level as u8, Ordering::Relaxed);
    }

    fn keeps(&self, level: Level) -> bool {
        level as u8 >= self.level.load(Ordering::Relaxed)
    }

    /// Writes a message to the error log.
    fn say(&self, level: Level, text: &str) {
        if self.keeps(level) {
            self.line(&format!("[{}] {text}", level.name()));
        }
    }

    /// Writes a message to an error log of its own.
    fn say_to(&self, sink: &Arc<Sink>, level: Level, text: &str) {
        let line = stamped(&format!("[{}] {text}", level.name()));
        self.lines(line.len(), Message::ErrorTo(sink.clone(), level, line));
    }

    /// Hands lines to the writer, unless too many wait already.
    fn lines(&self, bytes: usize, message: Message) {
        if self.backlog.take(bytes) {
            let _ = self.messages.send(message);
        }
    }

    /// Closes the files and opens them by name again (after a rotation).
    pub fn reopen(&self) {
        let _ = self.messages.send(Message::Reopen);
    }

    /// Waits until everything sent so far is written, or nobody takes it.
    pub fn sync(&self) {
        let (done, wait) = mpsc::channel();
        if self.messages.send(Message::Sync(done)).is_ok() {
            let _ = wait.recv_timeout(SYNC);
        }
    }
}

/// A line of the error log: one, whatever is in the text.
fn stamped(text: &str) -> String {
    let text = printable(text);
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    format!("{} [{}] {text}\n", zone::local(seconds).strftime("%Y/%m/%d %H:%M:%S"), std::process::id())
}

/// Writes a line to the error log, on the log's thread.
fn error_line(text: &str) {
    let _ = io::stderr().lock().write_all(stamped(text).as_bytes());
}

/// What the writer has open.
#[derive(Default)]
struct Open {
    files: HashMap<String, LogFile>,
    syslogs: Vec<(Syslog, SyslogSender)>,
    /// Something could not be sent to syslog, which was told.
    told: bool,
}

fn write_all(inbox: &Receiver<Message>, backlog: &Backlog) {
    let mut open = Open::default();
    while let Ok(message) = inbox.recv() {
        let mut bytes_written = 0;
        match message {
            Message::Access(target, bytes) => {
                open.write(&target.sink, &bytes);
                bytes_written = bytes.len();
            }
            Message::Named(name, bytes) => {
                let path = Path::new(OsStr::from_bytes(&name));
                let written = append(path).and_then(|mut file| file.write_all(&bytes));
                if let Err(e) = written {
                    error_line(&format!("[error] cannot write to access log {}: {e}", path.display()));
                }
                bytes_written = bytes.len();
            }
            Message::Error(line) => {
                let _ = io::stderr().lock().write_all(line.as_bytes());
                bytes_written = line.len();
            }
            Message::ErrorTo(sink, level, line) => {
                open.write_error(&sink, level, line.as_bytes());
                bytes_written = line.len();
            }
            Message::Reopen => open = Open::default(),
            Message::Sync(done) => {
                let _ = done.send(());
            }
        }
        if let Some(lost) = backlog.written(bytes_written) {
            error_line(&format!(
                "[error] {lost} bytes of log lines are lost: they were not taken as fast as they came"
            ));
        }
    }
}

impl Open {
    fn write(&mut self, sink: &Sink, bytes: &[u8]) {
        match sink {
            Sink::Stdout => {
                let _ = io::stdout().lock().write_all(bytes);
                let _ = io::stdout().lock().flush();
            }
            Sink::File { path, gzip } => self.write_file(path, *gzip, bytes),
            Sink::Syslog(syslog) => self.send(syslog, bytes, None),
        }
    }

    fn write_error(&mut self, sink: &Sink, level: Level, line: &[u8]) {
        match sink {
            // The line's own time and level are the head of the datagram.
            Sink::Syslog(syslog) => self.send(syslog, line, Some(level.severity())),
            sink => self.write(sink, line),
        }
    }

    fn write_file(&mut self, path: &str, gzip: u32, bytes: &[u8]) {
        if !self.files.contains_key(path) {
            self.files.insert(path.to_owned(), LogFile::default());
        }
        let Some(file) = self.files.get_mut(path) else { return };
        if gzip > 0 { file.append(path, &compressed(bytes, gzip)) } else { file.append(path, bytes) }
    }

    fn send(&mut self, syslog: &Syslog, line: &[u8], severity: Option<usize>) {
        let known = self.syslogs.iter().position(|(known, _)| known == syslog);
        let at = known.unwrap_or(self.syslogs.len());
        if known.is_none() {
            self.syslogs.push((syslog.clone(), SyslogSender::new(syslog.clone())));
        }
        match self.syslogs[at].1.send(line, severity) {
            Ok(()) => self.told = false,
            Err(e) if !self.told => {
                self.told = true;
                error_line(&format!("[error] cannot send a log to syslog: {e}"));
            }
            Err(_) => {}
        }
    }
}

/// A log's file. One that cannot be written is tried again each time; what was to go there meanwhile is lost.
#[derive(Default)]
struct LogFile {
    file: Option<File>,
    failing: bool,
}

impl LogFile {
    fn append(&mut self, path: &str, bytes: &[u8]) {
        match (self.write(path, bytes), self.failing) {
            (Ok(()), false) | (Err(_), true) => return,
            (Ok(()), true) => error_line(&format!("[notice] the log {path} is written again")),
            (Err(error), false) => {
                error_line(&format!("[error] cannot write to the log {path}: {error}; its lines are lost"));
            }
        }
        self.failing = !self.failing;
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => append(Path::new(path))?,
        };
        file.write_all(bytes)?;
        self.file = Some(file);
        Ok(())
    }
}

/// A gzip member of its own, so that a file can be read up to the last one.
fn compressed(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::new(level));
    // Into memory: it cannot fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Lines that an I/O thread collects.
struct Buffer {
    target: Arc<Target>,
    lines: Vec<u8>,
    /// When the first of them came.
    since: u64,
}

/// An I/O thread's end of the logs.
pub struct ThreadLog {
    writer: LogWriter,
    buffers: RefCell<Vec<Buffer>>,
    named: RefCell<HashMap<Box<[u8]>, Vec<u8>>>,
    /// Somebody is going to hand over the lines that are not collected.
    awaited: Cell<bool>,
    pace: Pace,
}

/// How often lines are handed over at once. Each time wakes the writer, so under load they go in batches.
struct Pace {
    left: Cell<u64>,
    since: Cell<u64>,
}

impl Pace {
    /// Times in a row.
    const MOST: u64 = 32;
    /// Milliseconds after which there is one more.
    const MS: u64 = 5;

    /// Whether it may be now, in the thread's time in milliseconds.
    fn allows(&self, now: u64) -> bool {
        let more = now.saturating_sub(self.since.get()) / Self::MS;
        if more > 0 {
            self.since.set(now);
        }
        let left = (self.left.get() + more).min(Self::MOST);
        self.left.set(left.saturating_sub(1));
        left > 0
    }
}

impl ThreadLog {
    /// A thread's log.
    pub fn new(writer: LogWriter) -> Self {
        let pace = Pace { left: Cell::new(Pace::MOST), since: Cell::new(0) };
        Self { writer, buffers: RefCell::default(), named: RefCell::default(), awaited: Cell::new(false), pace }
    }

    /// Lets `write` append a line for an access log; `now` is the thread's time in milliseconds.
    pub fn access(&self, target: &Arc<Target>, now: u64, write: impl FnOnce(&mut Vec<u8>)) {
        let mut buffers = self.buffers.borrow_mut();
        let same = |known: &Buffer| Arc::ptr_eq(&known.target, target) || known.target == *target;
        let known = buffers.iter().position(same);
        let at = known.unwrap_or(buffers.len());
        if known.is_none() {
            let lines = Vec::with_capacity(target.buffer);
            buffers.push(Buffer { target: target.clone(), lines, since: now });
        }
        let buffer = &mut buffers[at];
        if buffer.lines.is_empty() {
            buffer.since = now;
        }
        write(&mut buffer.lines);
        if buffer.lines.len() >= target.buffer {
            let full = std::mem::replace(&mut buffer.lines, Vec::with_capacity(target.buffer + 1024));
            self.writer.lines(full.len(), Message::Access(target.clone(), full));
        }
    }

    /// Lets `write` append a line for the access log of a name that was made for the request.
    pub fn access_named(&self, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        if self.named.borrow().len() >= MAX_NAMED {
            self.flush_named();
        }
        let mut named = self.named.borrow_mut();
        match named.get_mut(name) {
            Some(lines) => write(lines),
            None => write(named.entry(name.into()).or_default()),
        }
    }

    /// Whether lines that are not collected wait for somebody to hand them over; whoever is told so has to.
    pub fn wants_handing_over(&self) -> bool {
        let waiting = |buffer: &Buffer| buffer.target.flush_ms == 0 && !buffer.lines.is_empty();
        let wanted =
            !self.awaited.get() && (self.buffers.borrow().iter().any(waiting) || !self.named.borrow().is_empty());
        self.awaited.set(self.awaited.get() || wanted);
        wanted
    }

    /// Hands over lines that are not collected as soon as the thread has nothing else to do, or in batches under load.
    pub async fn hand_over(&self, now: impl Fn() -> u64) {
        tokio::task::yield_now().await;
        if !self.pace.allows(now()) {
            tokio::time::sleep(Duration::from_millis(Pace::MS)).await;
        }
        self.awaited.set(false);
        self.flush_named();
        self.flush_where(|buffer| buffer.target.flush_ms == 0);
    }

    /// Hands over what has waited long enough; called once a second.
    pub fn flush(&self, now: u64) {
        self.flush_named();
        self.flush_where(|buffer| now.saturating_sub(buffer.since) >= buffer.target.flush_ms);
    }

    /// Hands everything to the writer.
    pub fn flush_all(&self) {
        self.flush_named();
        self.flush_where(|_| true);
    }

    fn flush_where(&self, due: impl Fn(&Buffer) -> bool) {
        let mut buffers = self.buffers.borrow_mut();
        for buffer in buffers.iter_mut().filter(|buffer| !buffer.lines.is_empty() && due(buffer)) {
            // Few lines are copied, so that the next ones need no new memory.
            let few = buffer.lines.len() < buffer.lines.capacity() / 8;
            let lines = if few { buffer.lines.clone() } else { std::mem::take(&mut buffer.lines) };
            buffer.lines.clear();
            self.writer.lines(lines.len(), Message::Access(buffer.target.clone(), lines));
        }
    }

    fn flush_named(&self) {
        for (name, lines) in self.named.borrow_mut().drain() {
            self.writer.lines(lines.len(), Message::Named(name, lines));
        }
    }

    /// Messages of this level are kept.
    pub fn keeps(&self, level: Level) -> bool {
        self.writer.keeps(level)
    }

    /// Writes a message to the log of the process.
    pub fn say(&self, level: Level, text: &str) {
        self.writer.say(level, text);
    }

    /// Writes a message to an error log of its own.
    pub fn say_to(&self, sink: &Arc<Sink>, level: Level, text: &str) {
        self.writer.say_to(sink, level, text);
    }

    /// Something failed that someone should look at.
    pub fn error(&self, text: &str) {
        self.say(Level::Error, text);
    }

    /// Something is wrong and was dealt with.
    pub fn warn(&self, text: &str) {
        self.say(Level::Warn, text);
    }

    /// Something worth knowing happened.
    pub fn notice(&self, text: &str) {
        self.say(Level::Notice, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_at_once_until_there_are_many() {
        let pace = Pace { left: Cell::new(Pace::MOST), since: Cell::new(0) };
        let now = 1000 * Pace::MS;
        for _ in 0..Pace::MOST {
            assert!(pace.allows(now));
        }
        assert!(!pace.allows(now) && !pace.allows(now + Pace::MS - 1));
        assert!(pace.allows(now + Pace::MS) && !pace.allows(now + Pace::MS));
        assert!((0..Pace::MOST).all(|_| pace.allows(now * 2)) && !pace.allows(now * 2));
    }
}
