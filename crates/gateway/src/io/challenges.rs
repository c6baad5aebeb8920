//! Responses to the challenges of certificate authorities (HTTP-01, RFC 8555 section 8.3): tokens the supervisor sends.
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

/// Tokens of all challenges under way; shared by all threads.
#[derive(Debug, Default)]
pub struct Challenges {
    /// Read for each request; the table only if it is set.
    any: AtomicBool,
    answers: RwLock<HashMap<String, Bytes>>,
}

impl Challenges {
    /// Replaces the whole table; it is in force for all threads when this returns.
    pub fn replace(&self, answers: HashMap<String, Bytes>) {
        let any = !answers.is_empty();
        *self.answers.write().unwrap_or_else(PoisonError::into_inner) = answers;
        self.any.store(any, Ordering::Release);
    }

    /// Whether a challenge is under way.
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// The key authorization of a token.
    pub fn find(&self, token: &[u8]) -> Option<Bytes> {
        let token = std::str::from_utf8(token).ok()?;
        self.answers.read().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }
}
