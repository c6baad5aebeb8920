//! Passive health: a server that fails `max_fails` times within `fail_timeout` is left alone that long (nginx: `max_fails`).
//!
//! As in nginx, failures add up whatever succeeds between them; only a success after a quiet `fail_timeout` clears them. When
//! the time is over one request finds out: others wait until it has, or for another `fail_timeout`.
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The health of a server, or of one address of its name, as all threads see it. Times are on the threads' clock in
/// milliseconds.
#[derive(Debug)]
pub struct Health {
    /// Failures that make it unavailable; 0: none do.
    max_fails: u32,
    fail_timeout: u64,
    fails: AtomicU32,
    /// The last failure.
    failed: AtomicU64,
    /// The last failure, or the request that finds out whether it has recovered.
    checked: AtomicU64,
}

impl Health {
    /// Of a server that has not failed; `fail_timeout` in milliseconds.
    pub fn new(max_fails: u32, fail_timeout: u64) -> Self {
        Self {
            max_fails,
            fail_timeout,
            fails: AtomicU32::new(0),
            failed: AtomicU64::new(0),
            checked: AtomicU64::new(0),
        }
    }

    fn quiet(&self, now: u64) -> bool {
        now.saturating_sub(self.checked.load(Ordering::Relaxed)) > self.fail_timeout
    }

    /// It may be asked.
    pub fn available(&self, now: u64) -> bool {
        self.max_fails == 0 || self.fails.load(Ordering::Relaxed) < self.max_fails || self.quiet(now)
    }

    /// It is asked.
    pub fn picked(&self, now: u64) {
        if self.fails.load(Ordering::Relaxed) != 0 && self.quiet(now) {
            self.checked.store(now, Ordering::Relaxed);
        }
    }

    /// It responded.
    pub fn succeeded(&self) {
        if self.fails.load(Ordering::Relaxed) != 0
            && self.failed.load(Ordering::Relaxed) < self.checked.load(Ordering::Relaxed)
        {
            self.fails.store(0, Ordering::Relaxed);
        }
    }

    /// It failed. Returns true if that makes it unavailable.
    pub fn failed(&self, now: u64) -> bool {
        if self.max_fails == 0 {
            return false;
        }
        let alone = now.saturating_sub(self.failed.load(Ordering::Relaxed)) > self.fail_timeout;
        if alone && self.fails.load(Ordering::Relaxed) < self.max_fails {
            self.fails.store(0, Ordering::Relaxed);
        }
        self.failed.store(now, Ordering::Relaxed);
        self.checked.store(now, Ordering::Relaxed);
        self.fails.fetch_add(1, Ordering::Relaxed) + 1 >= self.max_fails
    }

    /// It is unavailable from now on, whatever it did before.
    pub fn unavailable(&self, now: u64) {
        self.failed.store(now, Ordering::Relaxed);
        self.checked.store(now, Ordering::Relaxed);
        self.fails.store(self.max_fails, Ordering::Relaxed);
    }

    /// When it was last found failing, to choose among those that all are unavailable.
    pub fn last(&self) -> u64 {
        self.checked.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_count_within_their_time_and_not_in_a_row() {
        let health = Health::new(3, 1000);
        for now in [10_000, 10_400] {
            assert!(!health.failed(now));
            health.picked(now + 1);
            health.succeeded();
        }
        assert!(health.available(10_500));
        assert!(health.failed(10_900));
        assert!(!health.available(11_900) && health.available(11_901));
    }

    #[test]
    fn failures_that_lie_apart_do_not_add_up() {
        let health = Health::new(2, 100);
        assert!(!health.failed(1000));
        assert!(!health.failed(2000));
        assert!(health.failed(2050));
    }

    #[test]
    fn a_success_after_a_quiet_time_clears_them() {
        let health = Health::new(2, 100);
        health.failed(1000);
        health.picked(1101);
        health.succeeded();
        assert!(!health.failed(1102));
    }

    #[test]
    fn one_request_finds_out_whether_it_has_recovered() {
        let health = Health::new(3, 100);
        for now in 1000..1003 {
            health.failed(now);
        }
        assert!(health.available(1103));
        health.picked(1103);
        assert!(!health.available(1104), "the others wait");
        assert!(health.failed(1105) && !health.available(1106), "one failure is enough now");
        health.picked(1300);
        health.succeeded();
        assert!(health.available(1301));
    }

    #[test]
    fn without_a_limit_it_is_always_available() {
        let health = Health::new(0, 100);
        assert!(!health.failed(1000) && health.available(1000));
    }
}
