//! A pool of app workers as all I/O threads share it: which slots are free, and who waits for one.
//!
//! Laws: a slot is granted with its count raised, and every grant is either used or given back ([`Grant`] does so when it is
//! dropped). Who frees a slot serves the queue first. The lock is held for a few instructions, never across I/O.
mod alone;

pub use alone::Alone;

use super::config::AppPool;
use super::culprits::Culprits;
use crate::tables::Ids;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// A slot is handed requests ahead of time while those it has are less work than this, by its recent service time.
pub const SHORT: Duration = Duration::from_millis(5);

/// Requests the recent service time is an average over: more than are handed over ahead of time, since answers that arrive
/// together count as one long request and several that took no time.
const AVERAGED: u64 = 32;

/// One slot of one worker.
struct Slot {
    worker: u64,
    /// Requests it was given and has not answered.
    busy: u32,
    /// Recent service time in microseconds, a moving average.
    recent_us: u64,
    /// Threads that have its socket; it takes requests once all have.
    linked: u32,
    threads: u32,
    /// Requests it may hold at a time, the running one included.
    depth: u32,
    /// It runs a request that may send more over its socket (a streamed body), so no other may come behind.
    bound: bool,
    /// Its socket ended.
    dead: bool,
    retiring: bool,
    /// Its worker is kept for one request.
    alone: bool,
}

impl Slot {
    fn open(&self) -> bool {
        self.linked == self.threads && !self.dead && !self.retiring && !self.alone
    }

    fn takes_ahead(&self) -> bool {
        let work = u128::from(self.recent_us) * u128::from(self.busy);
        self.open() && !self.bound && self.busy < self.depth && work < SHORT.as_micros()
    }
}

/// One worker process.
#[derive(Default)]
struct Worker {
    slots: Vec<u64>,
}

#[derive(Default)]
struct Inner {
    config: AppPool,
    workers: Ids<Worker>,
    slots: Ids<Slot>,
    /// Idle slots, the one used last at the end: its caches are warm.
    idle: Vec<u64>,
    queue: VecDeque<Waiting>,
    /// Why workers ended, as the supervisor knows it.
    causes: VecDeque<(u64, String)>,
}

/// A request without a slot.
struct Waiting {
    /// Only an idle slot will do.
    bound: bool,
    grant: oneshot::Sender<Grant>,
}

/// A pool.
#[derive(Default)]
pub struct Pool {
    /// Requests that killed workers.
    pub culprits: Culprits,
    inner: Mutex<Inner>,
    /// Slots that may be busy for as long as a client takes to send a large body.
    large: AtomicUsize,
}

/// The right to keep a slot busy with a body that is not read ahead.
pub struct LargePermit {
    pool: Arc<Pool>,
}

impl Drop for LargePermit {
    fn drop(&mut self) {
        self.pool.large.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place on a slot.
pub struct Grant {
    pool: Option<Arc<Pool>>,
    /// The slot.
    pub slot: u64,
    /// The slot is busy with another request: this one is only offered.
    pub ahead: bool,
}

impl Grant {
    /// The place is taken: [`Pool::release`] gives it back when the answer is there.
    pub fn used(mut self) {
        self.pool = None;
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.release(self.slot, None);
        }
    }
}

/// What came of asking for a slot.
pub enum Asked {
    /// Here it is.
    Granted(Grant),
    /// Wait here, at most so long.
    Queued(oneshot::Receiver<Grant>, Duration),
    /// The queue is full.
    Full(u32),
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A permit for one more body that is not read ahead: half of the slots, one at least, may have one.
    pub fn large_permit(self: &Arc<Self>) -> Option<LargePermit> {
        let most = (self.lock().slots.len() / 2).max(1);
        let more = |now| (now < most).then_some(now + 1);
        let taken = self.large.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.is_ok().then(|| LargePermit { pool: self.clone() })
    }

    /// Sets queue and look-ahead.
    pub fn configure(&self, config: &AppPool) {
        self.lock().config = config.clone();
    }

    /// Asks for a place on a slot. `bound`: the request can't be taken back, so only an idle slot will do. `front`: it has
    /// waited before.
    pub fn ask(self: &Arc<Self>, bound: bool, front: bool) -> Asked {
        let mut inner = self.lock();
        if let Some(slot) = inner.take_idle(bound) {
            return Asked::Granted(Grant { pool: Some(self.clone()), slot, ahead: false });
        }
        if !bound && !front && inner.queue.is_empty() {
            if let Some(slot) = inner.take_ahead() {
                return Asked::Granted(Grant { pool: Some(self.clone()), slot, ahead: true });
            }
        }
        if inner.queue.len() >= inner.config.queue as usize && !front {
            inner.queue.retain(|waiting| !waiting.grant.is_closed());
            if inner.queue.len() >= inner.config.queue as usize {
                return Asked::Full(inner.config.queue);
            }
        }
        let (sender, receiver) = oneshot::channel();
        let entry = Waiting { bound, grant: sender };
        if front {
            inner.queue.push_front(entry);
        } else {
            inner.queue.push_back(entry);
        }
        Asked::Queued(receiver, Duration::from_millis(inner.config.queue_timeout.0))
    }

    /// A request of `slot` is over; `took` is how long it ran, where it ran. Returns the worker when it was told to retire and
    /// is idle now.
    pub fn release(self: &Arc<Self>, slot: u64, took: Option<Duration>) -> Option<u64> {
        let mut inner = self.lock();
        let state = inner.slots.get_mut(&slot)?;
        state.busy = state.busy.saturating_sub(1);
        state.bound &= state.busy > 0;
        if let Some(took) = took {
            let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX / AVERAGED);
            state.recent_us = (state.recent_us * (AVERAGED - 1) + took) / AVERAGED;
        }
        let (worker, retiring) = (state.worker, state.retiring);
        if state.busy == 0 && state.open() {
            inner.idle.push(slot);
        }
        self.serve_queue(&mut inner);
        (retiring && inner.settled(worker)).then_some(worker)
    }

    /// Gives free places to those who wait.
    fn serve_queue(self: &Arc<Self>, inner: &mut Inner) {
        while let Some(bound) = inner.queue.front().map(|waiting| waiting.bound) {
            let idle = inner.take_idle(bound);
            let ahead = idle.is_none();
            let Some(slot) = idle.or_else(|| if bound { None } else { inner.take_ahead() }) else { return };
            let Some(waiting) = inner.queue.pop_front() else { return };
            let grant = Grant { pool: Some(self.clone()), slot, ahead };
            if let Err(mut grant) = waiting.grant.send(grant) {
                // Whoever waited is gone. Not dropped here: that would come back for the lock.
                grant.pool = None;
                if let Some(state) = inner.slots.get_mut(&slot) {
                    state.busy -= 1;
                    state.bound &= state.busy > 0;
                }
                if !ahead {
                    inner.idle.push(slot);
                }
            }
        }
    }

    /// A worker with these slots is coming; each is open once `threads` threads have its socket.
    pub fn add(&self, worker: u64, slots: impl Iterator<Item = u64>, threads: u32, words: u32) {
        let mut inner = self.lock();
        let depth = inner.config.look_ahead.clamp(1, words.max(1));
        for slot in slots {
            inner.workers.entry(worker).or_default().slots.push(slot);
            let state = Slot {
                worker,
                busy: 0,
                recent_us: 0,
                linked: 0,
                threads,
                depth,
                bound: false,
                dead: false,
                retiring: false,
                alone: false,
            };
            inner.slots.insert(slot, state);
        }
    }

    /// A thread has the socket of `slot`.
    pub fn linked(self: &Arc<Self>, slot: u64) {
        let mut inner = self.lock();
        let Some(state) = inner.slots.get_mut(&slot) else { return };
        state.linked += 1;
        if state.open() && state.busy == 0 {
            inner.idle.push(slot);
            self.serve_queue(&mut inner);
        }
    }

    /// The socket of `slot` ended: its worker is gone. True when that is news: it was neither retiring nor given up.
    pub fn ended(&self, slot: u64) -> bool {
        let mut inner = self.lock();
        let Some((worker, known)) = inner.slots.get(&slot).map(|slot| (slot.worker, slot.dead || slot.retiring)) else {
            return false;
        };
        for state in inner.slots.values_mut().filter(|state| state.worker == worker) {
            state.dead = true;
        }
        inner.forget_idle();
        !known
    }

    /// Its worker, whose sockets ended, died: it was not told to end.
    pub fn is_lost(&self, slot: u64, worker: u64) -> bool {
        let inner = self.lock();
        let told = || inner.causes.iter().any(|(gone, _)| *gone == worker);
        inner.slots.get(&slot).map_or_else(told, |slot| !slot.retiring)
    }

    /// Gives the worker no new request. True when it is idle already.
    pub fn retire(&self, worker: u64) -> bool {
        let mut inner = self.lock();
        for state in inner.slots.values_mut().filter(|state| state.worker == worker) {
            state.retiring = true;
        }
        inner.forget_idle();
        inner.settled(worker)
    }

    /// The worker has ended; `cause` in words.
    pub fn gone(&self, worker: u64, cause: &str) {
        let mut inner = self.lock();
        inner.causes.push_back((worker, cause.to_owned()));
        if inner.causes.len() > 64 {
            inner.causes.pop_front();
        }
    }

    /// How long a request may wait.
    pub fn queue_timeout(&self) -> Duration {
        Duration::from_millis(self.lock().config.queue_timeout.0)
    }

    /// True when some slot takes requests.
    pub fn has_open(&self) -> bool {
        self.lock().slots.values().any(Slot::open)
    }

    /// True when there is no worker.
    pub fn is_empty(&self) -> bool {
        self.lock().workers.is_empty()
    }

    /// Why a worker ended, once the supervisor has said so.
    pub fn cause(&self, worker: u64) -> Option<String> {
        self.lock().causes.iter().find(|(id, _)| *id == worker).map(|(_, cause)| cause.clone())
    }

    /// Forgets a worker; returns its slots.
    pub fn forget(&self, worker: u64) -> Vec<u64> {
        let mut inner = self.lock();
        let slots = inner.workers.remove(&worker).map(|worker| worker.slots).unwrap_or_default();
        for slot in &slots {
            inner.slots.remove(slot);
        }
        inner.idle.retain(|slot| !slots.contains(slot));
        slots
    }

    /// For `buchner status`.
    pub fn status(&self) -> Value {
        let inner = self.lock();
        let open = inner.slots.values().filter(|slot| slot.open()).count();
        json!({
            "workers": inner.workers.len(), "slots": open, "idle": inner.idle.len(),
            "busy": inner.slots.values().filter(|slot| slot.busy > 0).count(), "queued": inner.queue.len(),
        })
    }
}

impl Inner {
    fn take_idle(&mut self, bound: bool) -> Option<u64> {
        while let Some(slot) = self.idle.pop() {
            if let Some(state) = self.slots.get_mut(&slot).filter(|state| state.open() && state.busy == 0) {
                state.busy = 1;
                state.bound = bound;
                return Some(slot);
            }
        }
        None
    }

    fn take_ahead(&mut self) -> Option<u64> {
        let best = self.slots.iter_mut().filter(|(_, slot)| slot.takes_ahead()).min_by_key(|(_, slot)| slot.busy);
        best.map(|(id, slot)| {
            slot.busy += 1;
            *id
        })
    }

    fn forget_idle(&mut self) {
        let slots = &self.slots;
        self.idle.retain(|slot| slots.get(slot).is_some_and(Slot::open));
    }

    fn settled(&self, worker: u64) -> bool {
        self.slots.values().filter(|slot| slot.worker == worker).all(|slot| slot.busy == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn pool(slots: u64, look_ahead: u32, queue: u32) -> Arc<Pool> {
        let pool = Arc::new(Pool::default());
        pool.configure(&AppPool { queue, look_ahead, ..AppPool::default() });
        pool.add(1, 0..slots, 1, 16);
        (0..slots).for_each(|slot| pool.linked(slot));
        pool
    }

    pub(super) fn granted(asked: Asked) -> (u64, bool) {
        let Asked::Granted(grant) = asked else { panic!("not granted") };
        let place = (grant.slot, grant.ahead);
        grant.used();
        place
    }

    pub(super) fn queued(asked: Asked) -> oneshot::Receiver<Grant> {
        let Asked::Queued(receiver, _) = asked else { panic!("not queued") };
        receiver
    }

    #[test]
    fn idle_slots_first_then_ahead_then_the_queue() {
        let pool = pool(2, 2, 10);
        let (first, second) = (granted(pool.ask(false, false)), granted(pool.ask(false, false)));
        assert_ne!(first.0, second.0);
        assert!(!first.1 && !second.1);
        assert!(granted(pool.ask(false, false)).1);
        assert!(granted(pool.ask(false, false)).1);
        let mut waiting = queued(pool.ask(false, false));
        assert!(waiting.try_recv().is_err());
        pool.release(first.0, Some(Duration::from_micros(50)));
        let grant = waiting.try_recv().unwrap();
        assert_eq!((grant.slot, grant.ahead), (first.0, true));
    }

    #[test]
    fn a_bound_request_only_gets_an_idle_slot() {
        let pool = pool(1, 4, 10);
        let (slot, _) = granted(pool.ask(true, false));
        let mut waiting = queued(pool.ask(true, false));
        pool.release(slot, None);
        assert!(!waiting.try_recv().unwrap().ahead);
    }

    #[test]
    fn nothing_is_handed_over_behind_a_bound_request() {
        let pool = pool(1, 4, 10);
        let (slot, _) = granted(pool.ask(true, false));
        let mut waiting = queued(pool.ask(false, false));
        assert!(waiting.try_recv().is_err());
        pool.release(slot, None);
        waiting.try_recv().unwrap().used();
        assert!(granted(pool.ask(false, false)).1, "behind an ordinary one there is room again");
    }

    #[test]
    fn a_slow_slot_gets_nothing_ahead() {
        let pool = pool(1, 4, 10);
        let (slot, _) = granted(pool.ask(false, false));
        pool.release(slot, Some(Duration::from_millis(200)));
        granted(pool.ask(false, false));
        queued(pool.ask(false, false));
    }

    #[test]
    fn a_slot_is_handed_a_few_milliseconds_of_work_at_most() {
        for (took, most) in
            [(Duration::from_micros(100), 16), (Duration::from_micros(1200), 5), (Duration::from_millis(3), 2)]
        {
            let pool = pool(1, 16, 100);
            for _ in 0..10 * AVERAGED {
                let (slot, _) = granted(pool.ask(false, false));
                pool.release(slot, Some(took));
            }
            for _ in 0..most {
                granted(pool.ask(false, false));
            }
            queued(pool.ask(false, false));
        }
    }

    #[test]
    fn a_full_queue_refuses_and_forgets_those_who_left() {
        let pool = pool(1, 1, 1);
        granted(pool.ask(false, false));
        let waiting = queued(pool.ask(false, false));
        assert!(matches!(pool.ask(false, false), Asked::Full(1)));
        drop(waiting);
        queued(pool.ask(false, false));
    }

    #[test]
    fn a_grant_nobody_takes_goes_to_the_next() {
        let pool = pool(1, 1, 10);
        let (slot, _) = granted(pool.ask(false, false));
        let (mut first, second, mut third) =
            (queued(pool.ask(false, false)), queued(pool.ask(false, false)), queued(pool.ask(false, false)));
        drop(second);
        pool.release(slot, None);
        drop(first.try_recv().unwrap());
        assert!(third.try_recv().is_ok());
    }

    #[test]
    fn a_retiring_worker_is_told_when_its_last_request_is_over() {
        let pool = pool(2, 1, 10);
        let (slot, _) = granted(pool.ask(false, false));
        assert!(!pool.retire(1));
        queued(pool.ask(false, false));
        assert_eq!(pool.release(slot, None), Some(1));
        assert_eq!(pool.forget(1).len(), 2);
        assert!(pool.is_empty());
    }

    #[test]
    fn a_worker_that_ended_gets_nothing() {
        let pool = pool(2, 4, 10);
        assert!(pool.ended(0));
        assert!(!pool.ended(1), "a worker is lost once");
        queued(pool.ask(false, false));
    }
}
