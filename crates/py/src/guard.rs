//! Answers that are kept back to leave with the next one ([`crate::conn::Conn::hold`]): when the next request takes its
//! time, a thread without the GIL sends them.
use crate::link::Link;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::Thread;
use std::time::Duration;

/// Time between two looks while answers are being kept back.
const TICK: Duration = Duration::from_millis(1);
/// Looks without any before the thread sleeps until it is woken.
const QUIET: u32 = 20;

/// The thread and what it looks after.
#[derive(Default)]
pub struct Guard {
    links: Mutex<Vec<Weak<Link>>>,
    thread: OnceLock<Option<Thread>>,
    /// An answer was kept back since the last look.
    armed: AtomicBool,
    /// The thread waits to be woken.
    asleep: AtomicBool,
}

impl Guard {
    /// Looks after one more slot's thread.
    pub fn watch(&self, link: &Arc<Link>) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|link| link.strong_count() > 0);
        links.push(Arc::downgrade(link));
    }

    /// An answer is about to be kept back. False: nobody would look after it.
    pub fn arm(self: &Arc<Self>) -> bool {
        if self.armed.load(Ordering::Relaxed) {
            return true;
        }
        let Some(thread) = self.thread.get_or_init(|| self.start()) else { return false };
        self.armed.store(true, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) {
            thread.unpark();
        }
        true
    }

    fn start(self: &Arc<Self>) -> Option<Thread> {
        let guard = self.clone();
        let spawned = std::thread::Builder::new().name("guard".into()).spawn(move || guard.run());
        spawned.map(|handle| handle.thread().clone()).ok()
    }

    fn run(&self) {
        loop {
            self.asleep.store(true, Ordering::SeqCst);
            while !self.armed.load(Ordering::SeqCst) {
                std::thread::park();
            }
            self.asleep.store(false, Ordering::SeqCst);
            let mut quiet = 0;
            while quiet < QUIET {
                std::thread::sleep(TICK);
                quiet = if self.armed.swap(false, Ordering::SeqCst) | self.look() { 0 } else { quiet + 1 };
            }
        }
    }

    fn look(&self) -> bool {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.iter().filter_map(Weak::upgrade).fold(false, |any, link| any | link.send_overdue())
    }
}
