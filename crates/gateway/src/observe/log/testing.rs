//! A log writer without a thread and without files.
use super::{LogWriter, Message};
use crate::observe::backlog::Backlog;
use crate::observe::level::Level;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::mpsc::{self, Receiver};

/// What would have been written.
pub struct Lines {
    inbox: Receiver<Message>,
    access: RefCell<Vec<String>>,
    errors: RefCell<Vec<String>>,
}

impl LogWriter {
    /// A writer whose messages are collected.
    pub fn collecting() -> (Self, Lines) {
        let (messages, inbox) = mpsc::channel();
        let level = Arc::new(AtomicU8::new(Level::default() as u8));
        let lines = Lines { inbox, access: RefCell::default(), errors: RefCell::default() };
        (Self { messages, backlog: Arc::new(Backlog::default()), level }, lines)
    }
}

impl Lines {
    /// Lines of the access logs since the last call; one of a file with a name of its own begins with that.
    pub fn access(&self) -> Vec<String> {
        self.read();
        self.access.take()
    }

    /// Messages of the error logs since the last call, without time and process id.
    pub fn errors(&self) -> Vec<String> {
        self.read();
        self.errors.take()
    }

    fn read(&self) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (mut access, mut errors) = (self.access.borrow_mut(), self.errors.borrow_mut());
        for message in self.inbox.try_iter() {
            match message {
                Message::Access(_, bytes) => access.extend(text(&bytes).lines().map(str::to_owned)),
                Message::Named(name, bytes) => {
                    access.extend(text(&bytes).lines().map(|line| format!("{}: {line}", text(&name))));
                }
                // "date time [pid] [level] text"
                Message::Error(line) | Message::ErrorTo(_, _, line) => {
                    errors.push(line.splitn(4, ' ').last().unwrap_or_default().trim_end().to_owned());
                }
                Message::Reopen | Message::Sync(_) => {}
            }
        }
    }
}
