//! What the supervisor says of workers (docs/control-protocol.md), on the control thread.
use super::config;
use super::link::Place;
use super::pool::Pool;
use super::threads::ThreadCommand;
use crate::io::local::Local;
use crate::io::shared::{Post, Shared};
use crate::sys::{SharedWords, WORDS};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The app pools, as all threads share them.
#[derive(Default)]
pub struct Pools {
    by_name: Mutex<BTreeMap<String, Arc<Pool>>>,
    /// The pool of each worker.
    workers: Mutex<HashMap<u64, Arc<Pool>>>,
    threads: Mutex<Vec<Post>>,
    next_slot: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pools {
    /// A new plan has these pools.
    pub fn configure(&self, apps: &BTreeMap<String, config::AppPool>) {
        for (name, config) in apps {
            self.pool(name).configure(config);
        }
    }

    /// The pool of a name.
    pub fn pool(&self, name: &str) -> Arc<Pool> {
        lock(&self.by_name).entry(name.to_owned()).or_default().clone()
    }

    /// For `buchner status`.
    pub fn status(&self) -> Value {
        let pools = lock(&self.by_name);
        Value::Object(pools.iter().map(|(name, pool)| (name.clone(), pool.status())).collect::<Map<_, _>>())
    }

    fn of(&self, worker: u64) -> Option<Arc<Pool>> {
        lock(&self.workers).get(&worker).cloned()
    }

    /// Forgets a worker everywhere.
    fn forget(&self, worker: u64) {
        let Some(pool) = lock(&self.workers).remove(&worker) else { return };
        let slots = pool.forget(worker);
        for thread in lock(&self.threads).iter() {
            let slots = slots.clone();
            thread(Box::new(move |local| super::threads::obey(local, ThreadCommand::Drop(slots))));
        }
    }

    fn add(&self, threads: &[Post], message: &Value, fds: Vec<OwnedFd>) -> Result<(), String> {
        let name = message["pool"].as_str().ok_or("no pool")?;
        let worker = message["worker"].as_u64().ok_or("no worker id")?;
        if message["truncated"].as_bool() == Some(true) {
            return Err("no descriptors are left for its sockets (open_files)".to_owned());
        }
        let first = message["first_slot"].as_u64().unwrap_or(0) as usize;
        let mut fds = fds.into_iter();
        let claim = fds.next().ok_or("no claim memfd")?;
        let claims = Arc::new(SharedWords::map(&claim).map_err(|e| e.to_string())?);
        let socks: Vec<OwnedFd> = fds.collect();
        let count = socks.len() / threads.len().max(1);
        if count == 0 || socks.len() != count * threads.len() {
            return Err(format!("{} sockets for {} I/O threads", socks.len(), threads.len()));
        }
        *lock(&self.threads) = threads.to_vec();
        let pool = self.pool(name);
        lock(&self.workers).insert(worker, pool.clone());
        let total = (message["slots"].as_u64().unwrap_or(0) as usize).max(first + count) * threads.len();
        let words = (WORDS / total.max(1)).min(64) as u32;
        let base = self.next_slot.fetch_add(count as u64, Ordering::Relaxed);
        pool.add(worker, base..base + count as u64, threads.len() as u32, words);
        let name: Arc<str> = name.into();
        for (at, sock) in socks.into_iter().enumerate() {
            let (index, thread) = (at / threads.len(), at % threads.len());
            let word = ((first + index) * threads.len() + thread) as u32 * words;
            let place = Place {
                pool: pool.clone(),
                name: name.clone(),
                slot: base + index as u64,
                worker,
                index: (first + index) as u32,
                words: (word, words),
            };
            let command = ThreadCommand::Add { place, sock: sock.into(), claims: claims.clone() };
            if !threads[thread](Box::new(move |local| super::threads::obey(local, command))) {
                return Err("an I/O thread has ended".to_owned());
            }
        }
        Ok(())
    }
}

/// The app pools of the process.
pub fn pools(shared: &Shared) -> Arc<Pools> {
    shared.rooms.get()
}

/// Carries out a control message about workers, on the control thread. False: not one of ours.
pub fn control(shared: &Arc<Shared>, threads: &[Post], op: &str, message: &Value, fds: Vec<OwnedFd>) -> bool {
    let worker = message["worker"].as_u64().unwrap_or_default();
    match op {
        "worker" => {
            if let Err(error) = pools(shared).add(threads, message, fds) {
                lost(shared, worker, &format!("the gateway cannot use it: {error}"));
            }
        }
        "retire" => match pools(shared).of(worker) {
            Some(pool) if !pool.retire(worker) => {}
            _ => finish(shared, worker),
        },
        "gone" => {
            if let Some(pool) = pools(shared).of(worker) {
                pool.gone(worker, message["cause"].as_str().unwrap_or("ended"));
            }
            pools(shared).forget(worker);
        }
        _ => return false,
    }
    true
}

fn finish(shared: &Arc<Shared>, worker: u64) {
    pools(shared).forget(worker);
    shared.supervisor.tell(&json!({"op": "retired", "worker": worker}));
}

/// A worker can't be used any more: the supervisor replaces it, whatever the cause.
pub(crate) fn lost(shared: &Shared, worker: u64, cause: &str) {
    shared.supervisor.tell(&json!({"op": "lost", "worker": worker, "cause": cause}));
}

/// The last ordinary request of a retiring worker is answered.
pub(crate) fn retired(thread: &Rc<Local>, worker: u64) {
    finish(&thread.shared, worker);
}
