//! A worker that is kept for one request, so that its death has one cause.
use super::{Grant, Pool, Slot};
use std::sync::Arc;

/// A worker that gets no other request until this is dropped.
pub struct Alone {
    pool: Arc<Pool>,
    worker: u64,
}

impl Pool {
    /// Keeps the worker with the fewest requests for one request. `None` when no worker is open.
    pub fn keep_alone(self: &Arc<Self>) -> Option<Alone> {
        let mut inner = self.lock();
        let slots = |worker| inner.slots.values().filter(move |slot| slot.worker == worker);
        let open = inner.workers.keys().copied().filter(|worker| slots(*worker).all(Slot::open));
        let worker = open.min_by_key(|worker| slots(*worker).map(|slot| slot.busy).sum::<u32>())?;
        for slot in inner.slots.values_mut().filter(|slot| slot.worker == worker) {
            slot.alone = true;
        }
        inner.forget_idle();
        Some(Alone { pool: self.clone(), worker })
    }
}

impl Alone {
    /// A place on the worker, once it has finished what it had.
    pub fn grant(&self) -> Option<Grant> {
        let mut inner = self.pool.lock();
        let mut slots: Vec<_> = inner.slots.iter_mut().filter(|(_, slot)| slot.worker == self.worker).collect();
        if slots.iter().any(|(_, slot)| slot.busy > 0 || slot.dead || slot.retiring) {
            return None;
        }
        let (id, slot) = slots.first_mut()?;
        (slot.busy, slot.bound) = (1, true);
        Some(Grant { pool: Some(self.pool.clone()), slot: **id, ahead: false })
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let mut inner = self.pool.lock();
        let mut idle = Vec::new();
        for (id, slot) in inner.slots.iter_mut().filter(|(_, slot)| slot.worker == self.worker) {
            slot.alone = false;
            if slot.open() && slot.busy == 0 {
                idle.push(*id);
            }
        }
        inner.idle.extend(idle);
        self.pool.serve_queue(&mut inner);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{granted, pool, queued};

    #[test]
    fn a_worker_that_is_kept_finishes_what_it_has_and_gets_one_request() {
        let pool = pool(2, 4, 10);
        let (slot, _) = granted(pool.ask(false, false));
        let alone = pool.keep_alone().unwrap();
        assert!(alone.grant().is_none(), "it still has a request");
        assert!(pool.keep_alone().is_none());
        let mut waiting = queued(pool.ask(false, false));
        pool.release(slot, None);
        let grant = alone.grant().unwrap();
        assert!(alone.grant().is_none());
        assert!(waiting.try_recv().is_err());
        drop(grant);
        assert!(waiting.try_recv().is_err());
        drop(alone);
        assert!(waiting.try_recv().is_ok());
        granted(pool.ask(false, false));
    }
}
