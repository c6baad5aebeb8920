//! Events for the supervisor, which wait here when it does not read: an I/O thread must not wait for it.
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// From so many waiting events on, a worker's are kept once a kind. There are as many more as workers, then.
const MANY: usize = 256;

/// The events that wait to be sent.
#[derive(Default)]
pub struct Outbox {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Value>,
    sending: bool,
    /// Nobody reads any more.
    ended: bool,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event.
    pub fn put(&self, event: &Value) {
        let mut state = self.lock();
        let same = |known: &Value| known["op"] == event["op"] && known["worker"] == event["worker"];
        if state.ended || (state.waiting.len() >= MANY && state.waiting.iter().any(same)) {
            return;
        }
        state.waiting.push_back(event.clone());
        self.changed.notify_all();
    }

    /// Hands each event to `send`, in order, until that says that nobody reads.
    pub fn each(&self, mut send: impl FnMut(&Value) -> bool) {
        let mut state = self.lock();
        while !state.ended {
            let Some(event) = state.waiting.pop_front() else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.sending = true;
            drop(state);
            let sent = send(&event);
            state = self.lock();
            state.sending = false;
            state.ended = !sent;
            self.changed.notify_all();
        }
        state.waiting.clear();
    }

    /// Waits until everything is sent, or nobody reads, or the time has passed.
    pub fn flush(&self, longest: Duration) {
        let busy = |state: &mut State| !state.ended && (state.sending || !state.waiting.is_empty());
        drop(self.changed.wait_timeout_while(self.lock(), longest, busy));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Arc;
    use std::sync::mpsc;

    #[test]
    fn putting_does_not_wait_for_sending_and_the_rest_is_bounded() {
        let outbox = Arc::new(Outbox::default());
        let (permit, permits) = mpsc::channel::<()>();
        let theirs = outbox.clone();
        let sender = std::thread::spawn(move || {
            let mut sent = Vec::new();
            theirs.each(|event| {
                let goes_on = permits.recv().is_ok();
                sent.push(event.clone());
                goes_on
            });
            sent
        });
        for number in 0..10_000 {
            outbox.put(&json!({"op": "stuck", "worker": number % 3, "number": number}));
        }
        outbox.put(&json!({"op": "drained"}));
        outbox.flush(Duration::from_millis(10));
        let waiting = outbox.lock().waiting.len();
        assert!((MANY..=MANY + 4).contains(&waiting), "{waiting}");
        for _ in 0..=waiting {
            permit.send(()).unwrap();
        }
        outbox.flush(Duration::from_secs(20));
        drop(permit);
        outbox.put(&json!({"op": "one more, at which sending fails"}));
        let sent = sender.join().unwrap();
        assert_eq!(sent[sent.len() - 2]["op"], "drained");
        assert_eq!(sent[0]["number"], 0);
        outbox.put(&json!({"op": "late"}));
        assert!(outbox.lock().waiting.is_empty());
        outbox.flush(Duration::from_secs(20));
    }
}
