//! Requests that kill workers: remembered for a while, so that a client kills two at most by one endpoint.
//!
//! A death may be a neighbour's doing, because threads share a process. So a request whose worker died is tried again *on
//! trial*: one at a time in a pool, once no further worker dies, alone in a worker. If that dies as well, the client is refused
//! at this endpoint for [`FORGET`]. An endpoint alone would be too little to go by: whoever finds a fatal query could close `/` to all.
//! Others who send the very same request are put on trial, too, until one survives.
//!
//! A worker can die right after a response: in a destructor, in a thread that the request left behind. If a slot then ran nothing
//! else, its latest request is suspected as well, and its trial lasts until [`AFTER`] its response.
use super::call::{Call, Waiter};
use super::pool::{Alone, Grant, Pool};
use crate::error::{Error, Kind, Result};
use crate::exchange::Exchange;
use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A death is remembered so long.
const FORGET: Duration = Duration::from_secs(60);
/// Deaths that one request, or one client at one endpoint, may cause.
const MOST_DEATHS: u8 = 2;
/// Entries that are kept; each has cost a worker.
const MOST_ENTRIES: usize = 1024;
/// Workers of recent trials that are remembered.
const MOST_TRIALS: usize = 64;
/// Requests that may wait for their trial.
const MOST_WAITING: usize = 100;
/// A trial holds others up no longer before its response.
const TRIAL: Duration = Duration::from_millis(250);
/// A worker that dies so soon after a response may have died of that request.
pub const AFTER: Duration = Duration::from_millis(250);
/// Several workers that are killed from outside die within this time of each other.
const SETTLE: Duration = Duration::from_millis(150);
/// Time for that, and for a worker to be there after a trial.
const SETTLED_BY: Duration = Duration::from_secs(2);
/// Time for a worker to be there for a trial.
const WORKER_BY: Duration = Duration::from_secs(5);
/// Time it has to finish what it had.
const DRAINED_BY: Duration = Duration::from_millis(500);
/// Between two looks at a state.
const LOOK: Duration = Duration::from_millis(10);

/// What a request is recognised by.
#[derive(Clone, Copy, Debug)]
struct Keys {
    /// The client at this endpoint.
    client: u64,
    /// The exact request, whoever sends it.
    target: u64,
}

/// What is known of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Free,
    Suspect,
    Culprit,
}

/// What is held against a client or a request.
#[derive(Clone, Copy, Debug)]
struct Entry {
    deaths: u8,
    /// When the last was.
    at: Instant,
    /// One came after the response.
    after: bool,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<u64, Entry>,
    /// The latest trial on each worker: a request that was on trial there before has stood it.
    trials: VecDeque<(u64, u64)>,
    /// Trials so far.
    count: u64,
    last_death: Option<Instant>,
}

/// What a pool knows of requests that killed its workers.
#[derive(Debug)]
pub struct Culprits {
    /// Entries there are: nothing is looked up while there are none.
    known: AtomicUsize,
    waiting: AtomicUsize,
    state: Mutex<State>,
    hasher: RandomState,
    trial: Arc<Semaphore>,
}

impl Default for Culprits {
    fn default() -> Self {
        Self {
            known: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            state: Mutex::default(),
            hasher: RandomState::new(),
            trial: Arc::new(Semaphore::new(1)),
        }
    }
}

impl Culprits {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keys(&self, client: Option<IpAddr>, method: &str, path: &[u8], target: &[u8]) -> Keys {
        // A network of v6 addresses is one client's.
        let client = client.map(|ip| match ip {
            IpAddr::V4(ip) => u64::from(u32::from(ip)),
            IpAddr::V6(ip) => (u128::from(ip) >> 64) as u64,
        });
        Keys {
            client: self.hasher.hash_one((client, method, path)),
            target: self.hasher.hash_one((method, path, target)),
        }
    }

    fn keys_of(&self, ex: &Exchange) -> Keys {
        let request = &ex.request;
        self.keys(ex.client.addr.ip(), request.method.as_str(), &request.path, &request.target)
    }

    fn judge(&self, keys: Keys) -> Verdict {
        let mut state = self.lock();
        let now = Instant::now();
        let recent = |at: Instant| now.duration_since(at) < FORGET;
        if !state.last_death.is_some_and(recent) {
            state.entries.clear();
        }
        self.known.store(state.entries.len(), Ordering::Relaxed);
        let deaths = |key| state.entries.get(&key).filter(|entry| recent(entry.at)).map_or(0, |entry| entry.deaths);
        match (deaths(keys.client), deaths(keys.target)) {
            (MOST_DEATHS.., _) => Verdict::Culprit,
            (0, 0) => Verdict::Free,
            _ => Verdict::Suspect,
        }
    }

    /// A worker died while it ran a request or right `after`, which is `certain` to be the cause if it was alone. True when the
    /// request may be tried again.
    fn accuse(&self, keys: Keys, certain: bool, after: bool) -> bool {
        let mut state = self.lock();
        let now = Instant::now();
        if state.entries.len() + 2 > MOST_ENTRIES {
            state.entries.retain(|_, entry| now.duration_since(entry.at) < FORGET);
            while state.entries.len() + 2 > MOST_ENTRIES {
                let oldest = state.entries.iter().min_by_key(|(_, entry)| entry.at).map(|(key, _)| *key);
                oldest.map(|key| state.entries.remove(&key));
            }
        }
        state.last_death = Some(now);
        // The same request has killed a worker on its own before: this client's first is enough.
        let known = state.entries.get(&keys.target).is_some_and(|entry| entry.deaths >= MOST_DEATHS);
        let mut count = |key, by: u8| {
            let entry = state.entries.entry(key).or_insert(Entry { deaths: 0, at: now, after });
            let deaths = if certain { entry.deaths.saturating_add(by) } else { entry.deaths.max(1) };
            *entry = Entry { deaths, at: now, after: entry.after || after };
            deaths
        };
        let deaths = count(keys.client, if known { MOST_DEATHS } else { 1 });
        count(keys.target, 1);
        self.known.store(state.entries.len(), Ordering::Relaxed);
        deaths < MOST_DEATHS
    }

    /// A worker died after the request's head, or right `after` its response: nobody tries it again.
    pub fn died(&self, call: &Call, worker: u64, after: bool) {
        let certain = self.is_latest(call.trial.get(), worker);
        self.accuse(self.keys(call.client, call.method.as_str(), &call.path, &call.target), certain, after);
    }

    /// A worker died after a response to such a request.
    fn kills_after(&self, keys: Keys) -> bool {
        let state = self.lock();
        [keys.client, keys.target].iter().any(|key| state.entries.get(key).is_some_and(|entry| entry.after))
    }

    /// A trial begins on this worker; returns its number.
    fn tries(&self, worker: u64) -> u64 {
        let mut state = self.lock();
        state.trials.retain(|(other, _)| *other != worker);
        if state.trials.len() >= MOST_TRIALS {
            state.trials.pop_front();
        }
        state.count += 1;
        let number = state.count;
        state.trials.push_back((worker, number));
        number
    }

    /// No other request was tried on this worker after trial `number` began there.
    fn is_latest(&self, number: u64, worker: u64) -> bool {
        number != 0 && self.lock().trials.contains(&(worker, number))
    }

    /// The very request that was suspected has harmed nobody.
    fn acquit(&self, keys: Keys) {
        let mut state = self.lock();
        if state.entries.remove(&keys.target).is_some() {
            state.entries.remove(&keys.client);
        }
        self.known.store(state.entries.len(), Ordering::Relaxed);
    }

    /// Waits for the trial before this one.
    async fn turn(&self, limit: Duration) -> Result<OwnedSemaphorePermit> {
        let busy =
            || Error::new(Kind::QueueFull, "requests like this one have killed workers: too many wait to be tried");
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MOST_WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(busy());
        }
        let permit = tokio::time::timeout(limit, self.trial.clone().acquire_owned()).await;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        permit.ok().and_then(std::result::Result::ok).ok_or_else(busy)
    }

    /// Waits until no further worker dies.
    async fn settle(&self) {
        let until = Instant::now() + SETTLED_BY;
        while Instant::now() < until && self.lock().last_death.is_some_and(|at| at.elapsed() < SETTLE) {
            tokio::time::sleep(SETTLE / 3).await;
        }
    }
}

fn refused() -> Error {
    let seconds = FORGET.as_secs();
    Error::new(Kind::WorkerDied, format!("such requests of this client killed workers; it is refused for {seconds} s"))
}

/// What one request has to do with deaths of workers.
pub struct Case {
    pool: Arc<Pool>,
    deaths: u8,
    on_trial: bool,
    alone: Option<Alone>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Case {
    /// Opens a request's case: nearly always there is nothing against it.
    pub async fn open(pool: &Arc<Pool>, ex: &Exchange) -> Result<Self> {
        let mut case = Self { pool: pool.clone(), deaths: 0, on_trial: false, alone: None, permit: None };
        if case.is_suspect(ex)? {
            case.stand_trial(ex).await?;
        }
        Ok(case)
    }

    /// True when it is to be tried first; an error if its client is refused.
    pub fn is_suspect(&self, ex: &Exchange) -> Result<bool> {
        let culprits = &self.pool.culprits;
        if self.on_trial || culprits.known.load(Ordering::Relaxed) == 0 {
            return Ok(false);
        }
        match culprits.judge(culprits.keys_of(ex)) {
            Verdict::Free => Ok(false),
            Verdict::Suspect => Ok(true),
            Verdict::Culprit => Err(refused()),
        }
    }

    /// Waits for its turn to be tried, if there is still something against it then.
    pub async fn stand_trial(&mut self, ex: &Exchange) -> Result<()> {
        let pool = self.pool.clone();
        let permit = pool.culprits.turn(pool.queue_timeout()).await?;
        if self.is_suspect(ex)? {
            (self.on_trial, self.permit) = (true, Some(permit));
            pool.culprits.settle().await;
        }
        Ok(())
    }

    /// A place on a worker that has no other request, for a trial.
    pub async fn grant(&mut self) -> Option<Grant> {
        self.permit.as_ref()?;
        let began = Instant::now();
        while self.alone.is_none() && began.elapsed() < WORKER_BY {
            self.alone = self.pool.keep_alone();
            if self.alone.is_none() {
                tokio::time::sleep(LOOK).await;
            }
        }
        let kept = Instant::now();
        while kept.elapsed() < DRAINED_BY {
            if let Some(grant) = self.alone.as_ref()?.grant() {
                return Some(grant);
            }
            tokio::time::sleep(LOOK).await;
        }
        self.alone = None;
        None
    }

    /// Waits for what comes of the request.
    pub async fn run<T>(&mut self, waiter: &Waiter, event: impl Future<Output = T>) -> T {
        let mut event: Pin<&mut _> = std::pin::pin!(event);
        if self.on_trial {
            waiter.call.trial.set(self.pool.culprits.tries(waiter.link.place.worker));
            if let Ok(came) = tokio::time::timeout(TRIAL, event.as_mut()).await {
                return came;
            }
            (self.permit, self.alone) = (None, None);
        }
        event.await
    }

    /// The app's whole response is there. If workers died after such a one, the trial goes on for a moment.
    pub fn survived(&mut self, ex: &Exchange, waiter: &Waiter) {
        if !self.on_trial {
            return;
        }
        let (pool, trial) = (self.pool.clone(), (self.permit.take(), self.alone.take()));
        let (call, link) = (waiter.call.clone(), waiter.link.clone());
        let keys = pool.culprits.keys_of(ex);
        let acquit = move || {
            // A death from here on is not certain to be its doing.
            call.trial.set(0);
            pool.culprits.acquit(keys);
        };
        if !self.pool.culprits.kills_after(keys) {
            return acquit();
        }
        tokio::task::spawn_local(async move {
            tokio::time::sleep(AFTER).await;
            if !link.dead.get() {
                acquit();
            }
            drop(trial);
        });
    }

    /// The worker died. True when the request may be tried again, and it is its turn.
    pub async fn died(&mut self, ex: &Exchange, waiter: &Waiter, again: bool) -> Result<bool> {
        let pool = self.pool.clone();
        let culprits = &pool.culprits;
        let keys = culprits.keys_of(ex);
        let certain = culprits.is_latest(waiter.call.trial.get(), waiter.link.place.worker);
        self.alone = None;
        self.deaths += 1;
        let may = culprits.accuse(keys, certain, false);
        if let Some(permit) = self.permit.take() {
            tokio::task::spawn_local(release(pool.clone(), permit));
        }
        if !may || !again || self.deaths >= MOST_DEATHS {
            return Ok(false);
        }
        self.permit = Some(culprits.turn(pool.queue_timeout()).await?);
        // Others of this client may have been tried meanwhile.
        if culprits.judge(keys) == Verdict::Culprit {
            return Err(refused());
        }
        self.on_trial = true;
        culprits.settle().await;
        Ok(true)
    }
}

/// The next trial begins when there is a worker again.
async fn release(pool: Arc<Pool>, permit: OwnedSemaphorePermit) {
    let until = Instant::now() + SETTLED_BY;
    while Instant::now() < until && !pool.has_open() {
        tokio::time::sleep(SETTLE / 3).await;
    }
    drop(permit);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(culprits: &Culprits, client: u8, target: &str) -> Keys {
        let path = target.split('?').next().unwrap();
        culprits.keys(Some(IpAddr::from([10, 0, 0, client])), "GET", path.as_bytes(), target.as_bytes())
    }

    #[test]
    fn a_client_is_refused_at_an_endpoint_after_two_deaths_and_others_are_not() {
        let culprits = Culprits::default();
        let judge = |client, target| culprits.judge(keys(&culprits, client, target));
        assert_eq!(judge(1, "/a?x"), Verdict::Free);
        assert!(culprits.accuse(keys(&culprits, 1, "/a?x"), false, false));
        assert!(
            culprits.accuse(keys(&culprits, 1, "/a?x"), false, false),
            "it may have been a neighbour's doing again"
        );
        assert_eq!(judge(1, "/a?y"), Verdict::Suspect);
        assert_eq!(judge(2, "/a?x"), Verdict::Suspect);
        assert_eq!(judge(2, "/a"), Verdict::Free);
        assert!(!culprits.accuse(keys(&culprits, 1, "/a?x"), true, false));
        assert_eq!(judge(1, "/a?y"), Verdict::Culprit);
        assert_eq!(judge(1, "/b"), Verdict::Free);
        assert_eq!(judge(2, "/a"), Verdict::Free);
        assert!(!culprits.accuse(keys(&culprits, 2, "/a?x"), true, false), "what has killed two is known");
    }

    #[test]
    fn who_survives_is_no_suspect_any_more() {
        let culprits = Culprits::default();
        culprits.accuse(keys(&culprits, 1, "/"), false, false);
        culprits.acquit(keys(&culprits, 1, "/"));
        assert_eq!(culprits.judge(keys(&culprits, 1, "/")), Verdict::Free);
        assert_eq!(culprits.known.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_death_after_a_response_is_known_as_such() {
        let culprits = Culprits::default();
        culprits.accuse(keys(&culprits, 1, "/"), false, false);
        assert!(!culprits.kills_after(keys(&culprits, 1, "/")));
        culprits.accuse(keys(&culprits, 1, "/"), false, true);
        culprits.accuse(keys(&culprits, 1, "/"), false, false);
        assert!(culprits.kills_after(keys(&culprits, 1, "/")) && culprits.kills_after(keys(&culprits, 2, "/")));
        assert!(!culprits.kills_after(keys(&culprits, 2, "/other")));
    }

    #[test]
    fn the_latest_trial_on_a_worker_is_to_blame() {
        let culprits = Culprits::default();
        let (first, other) = (culprits.tries(1), culprits.tries(2));
        assert!(culprits.is_latest(first, 1) && !culprits.is_latest(first, 2) && !culprits.is_latest(0, 1));
        let second = culprits.tries(1);
        assert!(!culprits.is_latest(first, 1) && culprits.is_latest(second, 1) && culprits.is_latest(other, 2));
        for worker in 0..2 * MOST_TRIALS as u64 {
            culprits.tries(worker);
        }
        assert_eq!(culprits.lock().trials.len(), MOST_TRIALS);
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let culprits = Culprits::default();
        for number in 0..2 * MOST_ENTRIES {
            culprits.accuse(keys(&culprits, 1, &format!("/{number}")), true, false);
        }
        assert!(culprits.lock().entries.len() <= MOST_ENTRIES);
    }
}
