//! Sessions that are kept here, for clients without tickets. Policies with caches of one size share one, as servers of nginx
//! share a zone; a session is found under the listener and the policy that it was made under, for so long as the policy says.
use aws_lc_rs::digest;
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Bytes of the time that stands before a session.
const TIME: usize = 8;

/// The caches in use, by the number of sessions.
static CACHES: LazyLock<Mutex<HashMap<u32, Weak<ServerSessionMemoryCache>>>> = LazyLock::new(Mutex::default);
/// Sessions are as old as they are on this clock.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The cache of one listener and policy.
#[derive(Debug)]
pub struct Sessions {
    cache: Arc<ServerSessionMemoryCache>,
    binding: [u8; 32],
    lifetime: Duration,
}

impl Sessions {
    /// Sessions that are found where `binding` is the same, `size` of them at most.
    pub fn new(size: u32, binding: &[u8], lifetime: Duration) -> Self {
        let mut caches = CACHES.lock().unwrap_or_else(PoisonError::into_inner);
        caches.retain(|_, cache| cache.strong_count() > 0);
        let known = caches.get(&size).and_then(Weak::upgrade);
        let cache = known.unwrap_or_else(|| {
            let made = ServerSessionMemoryCache::new(size as usize);
            caches.insert(size, Arc::downgrade(&made));
            made
        });
        let mut sum = [0; 32];
        sum.copy_from_slice(digest::digest(&digest::SHA256, binding).as_ref());
        Self { cache, binding: sum, lifetime }
    }

    fn key(&self, id: &[u8]) -> Vec<u8> {
        [&self.binding[..], id].concat()
    }

    fn put_at(&self, id: &[u8], session: &[u8], now: Duration) -> bool {
        let made = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.cache.put(self.key(id), [&made.to_be_bytes()[..], session].concat())
    }

    /// The session in what was kept, unless it is too old.
    fn fresh_at(&self, kept: &[u8], now: Duration) -> Option<Vec<u8>> {
        let (made, session) = kept.split_first_chunk::<TIME>()?;
        let age = now.saturating_sub(Duration::from_millis(u64::from_be_bytes(*made)));
        (age <= self.lifetime).then(|| session.to_vec())
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, id: Vec<u8>, session: Vec<u8>) -> bool {
        self.put_at(&id, &session, START.elapsed())
    }

    fn get(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.fresh_at(&self.cache.get(&self.key(id))?, START.elapsed())
    }

    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.fresh_at(&self.cache.take(&self.key(id))?, START.elapsed())
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn a_session_is_found_where_it_was_made_and_until_it_is_old() {
        let sessions = Sessions::new(50, b"here", SOON);
        assert!(sessions.put_at(b"id", b"session", Duration::ZERO));
        let kept = sessions.cache.get(&sessions.key(b"id")).unwrap();
        assert_eq!(sessions.fresh_at(&kept, SOON).unwrap(), b"session");
        assert!(sessions.fresh_at(&kept, SOON + Duration::from_millis(1)).is_none());
        assert!(sessions.put(b"id".to_vec(), b"session".to_vec()));
        assert!(Sessions::new(50, b"there", SOON).get(b"id").is_none());
        assert_eq!(Sessions::new(50, b"here", SOON).get(b"id").unwrap(), b"session");
        assert_eq!(sessions.take(b"id").unwrap(), b"session");
        assert!(sessions.get(b"id").is_none());
    }

    #[test]
    fn policies_with_caches_of_one_size_share_it() {
        let (one, other) = (Sessions::new(51, b"a", SOON), Sessions::new(51, b"b", SOON));
        assert!(Arc::ptr_eq(&one.cache, &other.cache));
        assert!(!Arc::ptr_eq(&one.cache, &Sessions::new(52, b"a", SOON).cache));
    }
}
