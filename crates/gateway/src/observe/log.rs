//! Logs are written by one thread of their own; I/O threads only fill buffers.
use crate::clock::Civil;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{SystemTime, UNIX_EPOCH};

/// An I/O thread's buffer goes to the writer at this size, or once a second.
const BUFFER_BYTES: usize = 64 << 10;

enum Message {
    Access(Arc<str>, Vec<u8>),
    Error(String),
    Reopen,
    Sync(Sender<()>),
}

/// A handle to the log writer.
#[derive(Clone)]
pub struct LogWriter {
    messages: Sender<Message>,
}

impl LogWriter {
    /// Starts the writer thread.
    pub fn start() -> io::Result<Self> {
        let (messages, inbox) = mpsc::channel();
        std::thread::Builder::new().name("log".into()).spawn(move || write_all(&inbox))?;
        Ok(Self { messages })
    }

    /// Writes a line to the error log, with time and process id.
    pub fn line(&self, text: &str) {
        let _ = self.messages.send(Message::Error(stamped(text)));
    }

    /// Closes the files and opens them by name again (after a rotation).
    pub fn reopen(&self) {
        let _ = self.messages.send(Message::Reopen);
    }

    /// Waits until everything sent so far is written.
    pub fn sync(&self) {
        let (done, wait) = mpsc::channel();
        if self.messages.send(Message::Sync(done)).is_ok() {
            let _ = wait.recv();
        }
    }
}

/// A line of the error log.
fn stamped(text: &str) -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let t = Civil::of(seconds);
    format!(
        "{:04}/{:02}/{:02} {:02}:{:02}:{:02} [{}] {text}\n",
        t.year,
        t.month,
        t.day,
        t.hour,
        t.minute,
        t.second,
        std::process::id()
    )
}

/// Writes a line to the error log, on the log's thread.
fn error_line(text: &str) {
    let _ = io::stderr().lock().write_all(stamped(text).as_bytes());
}

fn write_all(inbox: &Receiver<Message>) {
    let mut files: HashMap<Arc<str>, LogFile> = HashMap::new();
    while let Ok(message) = inbox.recv() {
        match message {
            Message::Access(path, bytes) if &*path == "-" => {
                let _ = io::stdout().lock().write_all(&bytes);
                let _ = io::stdout().lock().flush();
            }
            Message::Access(path, bytes) => files.entry(path.clone()).or_default().append(&path, &bytes),
            Message::Error(line) => {
                let _ = io::stderr().lock().write_all(line.as_bytes());
            }
            Message::Reopen => files.clear(),
            Message::Sync(done) => {
                let _ = done.send(());
            }
        }
    }
}

/// An access log's file. One that cannot be written is tried again each time; what was to go there meanwhile is lost.
#[derive(Default)]
struct LogFile {
    file: Option<File>,
    failing: bool,
}

impl LogFile {
    fn append(&mut self, path: &str, bytes: &[u8]) {
        match (self.write(path, bytes), self.failing) {
            (Ok(()), false) | (Err(_), true) => return,
            (Ok(()), true) => error_line(&format!("[notice] access log {path} is written again")),
            (Err(error), false) => {
                error_line(&format!("[error] cannot write to access log {path}: {error}; its lines are lost"));
            }
        }
        self.failing = !self.failing;
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => OpenOptions::new().append(true).create(true).open(path)?,
        };
        file.write_all(bytes)?;
        self.file = Some(file);
        Ok(())
    }
}

/// An I/O thread's end of the logs.
pub struct ThreadLog {
    writer: LogWriter,
    buffers: RefCell<Vec<(Arc<str>, Vec<u8>)>>,
}

impl ThreadLog {
    /// A thread's log.
    pub fn new(writer: LogWriter) -> Self {
        Self { writer, buffers: RefCell::default() }
    }

    /// Lets `write` append a line for the access log at `path`.
    pub fn access(&self, path: &Arc<str>, write: impl FnOnce(&mut Vec<u8>)) {
        let mut buffers = self.buffers.borrow_mut();
        let known = buffers.iter().position(|(known, _)| Arc::ptr_eq(known, path) || known == path);
        let at = known.unwrap_or(buffers.len());
        if known.is_none() {
            buffers.push((path.clone(), Vec::with_capacity(BUFFER_BYTES)));
        }
        let buffer = &mut buffers[at].1;
        write(buffer);
        if buffer.len() >= BUFFER_BYTES {
            let full = std::mem::replace(buffer, Vec::with_capacity(BUFFER_BYTES + 1024));
            let _ = self.writer.messages.send(Message::Access(path.clone(), full));
        }
    }

    /// Hands everything to the writer.
    pub fn flush(&self) {
        for (path, buffer) in self.buffers.borrow_mut().iter_mut().filter(|(_, buffer)| !buffer.is_empty()) {
            let _ = self.writer.messages.send(Message::Access(path.clone(), std::mem::take(buffer)));
        }
    }

    /// Something failed that someone should look at.
    pub fn error(&self, text: &str) {
        self.writer.line(&format!("[error] {text}"));
    }

    /// Something is wrong and was dealt with.
    pub fn warn(&self, text: &str) {
        self.writer.line(&format!("[warn] {text}"));
    }

    /// Something worth knowing happened.
    pub fn notice(&self, text: &str) {
        self.writer.line(&format!("[notice] {text}"));
    }
}
