//! State by key, in parts that have a lock each, so that two threads seldom want the same one.
//!
//! A key is kept as 128 bits of two SipHashes with secrets of this process: what it costs does not depend on its length, and
//! nobody can choose two keys that are one here.
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Parts of a table that is large enough.
const PARTS: usize = 64;
/// A part has room for this many keys at least: the oldest is evicted by part, and a small table is evicted as a whole.
const LEAST: usize = 2048;

/// A key, as it is kept.
pub type Fingerprint = [u64; 2];

/// Values of a table's parts. Each is on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Part<T>(Mutex<T>);

/// A table in parts.
#[derive(Debug)]
pub struct Table<T> {
    parts: Box<[Part<T>]>,
    secrets: [RandomState; 2],
}

impl<T> Table<T> {
    /// A table of `capacity` keys; `make` makes a part by its share of them.
    pub fn new(capacity: usize, make: impl Fn(usize) -> T) -> Self {
        let count = (capacity / LEAST).clamp(1, PARTS);
        // A power of two, so that a part is found by bits of the fingerprint.
        let count = 1 << count.ilog2();
        let share = capacity.div_ceil(count).max(1);
        let parts = (0..count).map(|_| Part(Mutex::new(make(share)))).collect();
        Self { parts, secrets: [RandomState::new(), RandomState::new()] }
    }

    /// The key as it is kept, and the part it belongs to.
    pub fn find(&self, key: &[u8]) -> (Fingerprint, MutexGuard<'_, T>) {
        let fingerprint = [self.secrets[0].hash_one(key), self.secrets[1].hash_one(key)];
        (fingerprint, self.part(&fingerprint))
    }

    /// The part of a key.
    pub fn part(&self, fingerprint: &Fingerprint) -> MutexGuard<'_, T> {
        let part = (fingerprint[0] >> 32) as usize & (self.parts.len() - 1);
        self.parts[part].0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
