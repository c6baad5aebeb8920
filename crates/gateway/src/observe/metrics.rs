//! Counters. Each I/O thread has its own, so counting is one uncontended store; a reader adds them up.
use std::sync::atomic::{AtomicU64, Ordering};

/// A counter or gauge with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; returns the value before. Only its own thread may call this.
    pub fn add(&self, n: u64) -> u64 {
        let value = self.0.load(Ordering::Relaxed);
        self.0.store(value + n, Ordering::Relaxed);
        value
    }

    /// Takes away from a gauge.
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).saturating_sub(n), Ordering::Relaxed);
    }

    /// Counts one up until the guard is dropped.
    pub fn hold(&self) -> Held<'_> {
        self.add(1);
        Held(self)
    }

    /// Sets a gauge.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One that is counted for as long as this lives.
pub struct Held<'c>(&'c Counter);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.sub(1);
    }
}

/// The counters of one I/O thread.
#[derive(Debug, Default)]
pub struct ThreadMetrics {
    /// Open client connections.
    pub connections: Counter,
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections closed at once (limit per address).
    pub refused: Counter,
    /// Accepts that failed for want of descriptors or memory.
    pub accept_pauses: Counter,
    /// Heads that were refused (400, 408, 414, 431, …).
    pub bad_heads: Counter,
    /// Connections whose head is being read.
    pub reading: Counter,
    /// Connections whose request is being answered.
    pub writing: Counter,
    /// Requests that began.
    pub begun: Counter,
    /// Requests by class of status: 1xx to 5xx.
    pub by_class: [Counter; 5],
}

impl ThreadMetrics {
    /// Counts an answered request.
    pub fn request(&self, status: u16) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.by_class[class].add(1);
    }

    /// Requests answered.
    pub fn requests(&self) -> u64 {
        self.by_class.iter().map(Counter::get).sum()
    }
}
