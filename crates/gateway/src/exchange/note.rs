//! What servers did for one request, for variables and logs (nginx: the `$upstream_` variables).
use buchner_wire::headers::Headers;
use bytes::Bytes;
use std::any::Any;
use std::cell::{Cell, OnceCell};
use std::rc::Rc;

/// What an upstream or app did: the last try, and those before it.
#[derive(Clone, Default)]
pub struct UpstreamNote {
    /// Name of the server or worker that was asked last.
    pub address: Option<Rc<str>>,
    /// Status it answered, or that its failure has; 0 none.
    pub status: u16,
    /// Milliseconds until its head, or until it failed.
    pub header_ms: u64,
    /// Milliseconds until it was connected; absent where it never was.
    pub connect_ms: Option<u64>,
    /// The head of an answer came.
    pub answered: bool,
    /// How often any was tried.
    pub tries: u32,
    /// Start of the last try, on the thread's clock in milliseconds.
    pub began: u64,
    /// Bytes of the body, where it came with its head.
    pub length: u64,
    /// Bytes of the request's head and body that were sent.
    pub sent: u64,
    /// Bytes of the answer's head.
    pub head_bytes: u64,
    /// What is known of a body that came piece by piece.
    pub streamed: Option<Rc<Streamed>>,
    /// Fields of the answer as they came, where a variable wants them.
    pub headers: Option<Headers>,
    /// The charset it wants its answer in (X-Accel-Charset).
    pub charset: Option<Bytes>,
    /// Where the request was sent, where the URL has variables.
    pub target: Option<Rc<dyn Any>>,
    /// Tries before the last.
    pub past: Vec<Try>,
    /// The last try was made for another route than the one before.
    pub rerouted: bool,
    /// The head of its answer is being made into the client's: what is counted at the end is not known yet.
    pub passing: bool,
    /// Bytes of the body that came with the head.
    pub preread: u64,
}

/// A body that came piece by piece.
#[derive(Debug, Default)]
pub struct Streamed {
    /// Its bytes so far.
    pub length: Cell<u64>,
    /// When it was over, on the thread's clock in milliseconds; 0 while it is not.
    pub ended: Cell<u64>,
    /// The fields that came behind it.
    pub trailers: OnceCell<Headers>,
}

/// One try.
#[derive(Clone, Debug, Default)]
pub struct Try {
    /// Name of the server.
    pub address: Option<Rc<str>>,
    /// Status it answered, or that its failure has; 0 none.
    pub status: u16,
    /// Milliseconds until its head.
    pub header_ms: Option<u64>,
    /// Milliseconds until it was connected.
    pub connect_ms: Option<u64>,
    /// Milliseconds until all was over.
    pub response_ms: Option<u64>,
    /// Bytes of its body.
    pub length: u64,
    /// Bytes sent to it.
    pub sent: u64,
    /// Bytes that came from it.
    pub received: u64,
    /// It was made for another route than the one before.
    pub rerouted: bool,
}

impl UpstreamNote {
    /// Name of the server or worker that was asked last; empty when none was.
    pub fn address(&self) -> &str {
        self.address.as_deref().unwrap_or_default()
    }

    /// A server is tried; `rerouted`: for another route than the one before.
    pub fn begin(&mut self, now: u64, rerouted: bool) {
        if self.tries > 0 {
            let past = self.last(now);
            self.past.push(past);
            let (tries, target) = (self.tries, self.target.take());
            let past = std::mem::take(&mut self.past);
            *self = Self { tries, target, past, ..Self::default() };
        }
        self.rerouted = rerouted;
        self.tries += 1;
        self.began = now;
    }

    /// The last try as it stands.
    pub fn last(&self, now: u64) -> Try {
        let streamed = self.streamed.as_deref();
        let length = streamed.map_or(self.length, |body| body.length.get());
        let (head, total) = (self.head_bytes + self.preread, self.head_bytes + length);
        let response_ms = match streamed.map(|body| body.ended.get()) {
            None => self.header_ms,
            Some(0) => now.saturating_sub(self.began),
            Some(ended) => ended.saturating_sub(self.began),
        };
        Try {
            address: self.address.clone(),
            status: self.status,
            header_ms: self.answered.then_some(self.header_ms),
            connect_ms: self.connect_ms,
            response_ms: (!self.passing).then_some(response_ms),
            length: if self.passing { 0 } else { length },
            sent: if self.passing { 0 } else { self.sent },
            received: if self.passing { head } else { total },
            rerouted: self.rerouted,
        }
    }

    /// Appends one value of each try as nginx does: `, ` between servers, ` : ` between routes.
    pub fn write_each(&self, now: u64, out: &mut Vec<u8>, mut write: impl FnMut(&Try, &mut Vec<u8>)) {
        if self.tries == 0 {
            return;
        }
        let last = self.last(now);
        for (i, each) in self.past.iter().chain([&last]).enumerate() {
            if i > 0 {
                out.extend_from_slice(if each.rerouted { b" : " } else { b", " });
            }
            write(each, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(note: &UpstreamNote) -> String {
        let mut out = Vec::new();
        note.write_each(9, &mut out, |each, out| {
            out.extend_from_slice(each.address.as_deref().unwrap_or_default().as_bytes());
        });
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_try_has_its_place() {
        let mut note = UpstreamNote::default();
        assert_eq!(addresses(&note), "");
        for (name, rerouted) in [("a", false), ("b", false), ("c", true)] {
            note.begin(1, rerouted);
            note.address = Some(name.into());
        }
        assert_eq!(addresses(&note), "a, b : c");
        assert_eq!(note.tries, 3);
    }
}
