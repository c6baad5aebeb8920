//! How much may wait for the writer of the logs: a file or a pipe that takes nothing must not cost memory without end.
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of lines that may wait. What comes then is lost, and counted.
const MOST: usize = 8 << 20;

/// Bytes of lines on their way to the writer, and of those that were given up.
#[derive(Default)]
pub struct Backlog {
    waiting: AtomicUsize,
    lost: AtomicUsize,
}

impl Backlog {
    /// Lines come. False: too many wait already, these are lost.
    pub fn take(&self, bytes: usize) -> bool {
        let fits = self.waiting.fetch_add(bytes, Ordering::Relaxed) <= MOST;
        if !fits {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.lost.fetch_add(bytes, Ordering::Relaxed);
        }
        fits
    }

    /// Lines are written. Returns how many bytes were lost, once there is room again.
    pub fn written(&self, bytes: usize) -> Option<usize> {
        let left = self.waiting.fetch_sub(bytes, Ordering::Relaxed) - bytes;
        let lost = if left <= MOST / 2 { self.lost.swap(0, Ordering::Relaxed) } else { 0 };
        (lost > 0).then_some(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_lost_and_told_when_there_is_room() {
        let backlog = Backlog::default();
        assert!(backlog.take(MOST) && backlog.take(1));
        assert!(!backlog.take(10) && !backlog.take(20));
        assert_eq!(backlog.written(1), None);
        assert_eq!(backlog.written(MOST), Some(30));
        assert!(backlog.take(5));
        assert_eq!(backlog.written(5), None);
    }
}
