//! Descriptors run out: which thread's idle connections are closed for new ones. The limit is the process's, so the one that
//! can best be spared may be another thread's than the one that accepts.
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// When descriptors are so scarce that idle connections are closed.
#[derive(Debug)]
pub struct Scarcity {
    /// A connection with this descriptor or a higher one leaves too few for what requests open.
    pub from: u64,
    threads: Mutex<Vec<Arc<Idle>>>,
}

/// What one thread could give up.
#[derive(Debug)]
pub struct Idle {
    /// The rank of its idle connection that can best be spared; the highest number if it has none.
    first: AtomicU64,
    /// It is asked to give up connections of this rank at most.
    asked: AtomicU64,
    wake: Notify,
}

/// No idle connection has this rank.
pub const NONE: u64 = u64::MAX;

impl Scarcity {
    /// Below this limit a sixteenth of the descriptors is kept free, 256 at most.
    pub fn below(limit: Option<u64>) -> Self {
        let from = limit.map_or(u64::MAX, |limit| limit - (limit / 16).min(256));
        Self { from, threads: Mutex::default() }
    }

    /// One more thread.
    pub fn thread(&self) -> Arc<Idle> {
        let idle = Arc::new(Idle { first: AtomicU64::new(NONE), asked: AtomicU64::new(0), wake: Notify::new() });
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(idle.clone());
        idle
    }

    /// Asks another thread for a connection that can better be spared than the caller's, if there is one.
    ///
    /// # Errors
    /// The caller has the one that can best be spared: the rank up to which its connections go before those of the others.
    pub fn ask_other(&self, own: &Arc<Idle>) -> Result<(), u64> {
        let most = own.first.load(Ordering::Relaxed);
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let others = threads.iter().filter(|idle| !Arc::ptr_eq(idle, own));
        let best = others.map(|idle| (idle.first.load(Ordering::Relaxed), idle)).min_by_key(|(first, _)| *first);
        let Some((first, best)) = best else { return Err(NONE) };
        if first >= most {
            return Err(first);
        }
        best.asked.fetch_max(most, Ordering::Relaxed);
        best.wake.notify_one();
        Ok(())
    }
}

impl Idle {
    /// Says what can best be spared now.
    pub fn publish(&self, first: u64) {
        self.first.store(first, Ordering::Relaxed);
    }

    /// Waits until another thread asks; returns the highest rank to give up.
    pub async fn asked(&self) -> u64 {
        self.wake.notified().await;
        self.asked.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_with_the_connection_that_can_best_be_spared_is_asked() {
        let scarcity = Scarcity::below(Some(1024));
        assert_eq!(scarcity.from, 960);
        let threads: Vec<_> = (0..3).map(|_| scarcity.thread()).collect();
        assert_eq!(scarcity.ask_other(&threads[0]), Err(NONE), "nobody has any");
        threads[0].publish(20);
        threads[1].publish(10);
        assert_eq!(scarcity.ask_other(&threads[0]), Ok(()));
        assert_eq!(scarcity.ask_other(&threads[2]), Ok(()));
        assert_eq!(scarcity.ask_other(&threads[1]), Err(20), "its own, but none that is used later than another's");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(threads[1].asked()), NONE);
    }
}
