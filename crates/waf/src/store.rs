//! Collections that outlive a transaction: GLOBAL, IP, RESOURCE, SESSION and USER.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};

use crate::memory::{read_number, write_number};
use crate::seclang::variable::Variable;

/// A variable of a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persisted {
    /// Its name, in lower case.
    pub name: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// When it is removed, in seconds since 1970.
    pub expires: Option<u64>,
}

/// A change that a transaction made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// The new value.
    Set(Vec<u8>),
    /// Added to the number; counters of concurrent transactions add up.
    Add(i64),
    /// Removed in seconds since 1970.
    Expire(u64),
    /// The variable is removed.
    Remove,
}

/// Keeps collections. It is asked while a request waits, so it must not block.
pub trait Store: Debug + Send + Sync {
    /// The variables of a collection that have not expired.
    fn load(&self, collection: &str, key: &[u8], now: u64) -> Vec<Persisted>;
    /// Applies changes in order; without others the collection is forgotten `timeout` seconds later.
    fn save(&self, collection: &str, key: &[u8], updates: &[(Vec<u8>, Update)], now: u64, timeout: u64);
}

/// A store in memory.
#[derive(Debug)]
pub struct MemoryStore {
    most: usize,
    collections: Mutex<HashMap<(String, Vec<u8>), Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    variables: Vec<Persisted>,
    forget: u64,
}

impl MemoryStore {
    /// A store of at most `most` collections; above that, the ones that are forgotten first make room.
    pub fn new(most: usize) -> Self {
        Self { most, collections: Mutex::default() }
    }
}

impl Store for MemoryStore {
    fn load(&self, collection: &str, key: &[u8], now: u64) -> Vec<Persisted> {
        let kept = self.collections.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.get(&(collection.to_owned(), key.to_vec())) {
            Some(kept) if kept.forget > now => {
                let alive = kept.variables.iter().filter(|one| one.expires.is_none_or(|at| at > now));
                alive.cloned().collect()
            }
            _ => Vec::new(),
        }
    }

    fn save(&self, collection: &str, key: &[u8], updates: &[(Vec<u8>, Update)], now: u64, timeout: u64) {
        let mut all = self.collections.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= self.most {
            all.retain(|_, kept| kept.forget > now);
        }
        if all.len() >= self.most {
            let mut ends: Vec<u64> = all.values().map(|kept| kept.forget).collect();
            ends.sort_unstable();
            let bound = ends[ends.len() / 8];
            all.retain(|_, kept| kept.forget > bound);
        }
        let kept = all.entry((collection.to_owned(), key.to_vec())).or_default();
        if kept.forget <= now {
            kept.variables.clear();
        }
        kept.forget = now + timeout;
        kept.variables.retain(|one| one.expires.is_none_or(|at| at > now));
        for (name, update) in updates {
            apply(&mut kept.variables, name, update);
        }
    }
}

/// Changes a list of variables.
pub(crate) fn apply(variables: &mut Vec<Persisted>, name: &[u8], update: &Update) {
    let at = variables.iter().position(|one| one.name == name);
    if let (Update::Remove, Some(at)) = (update, at) {
        variables.remove(at);
        return;
    }
    let at = match (update, at) {
        (Update::Set(_) | Update::Add(_), None) => {
            variables.push(Persisted { name: name.to_vec(), value: Vec::new(), expires: None });
            variables.len() - 1
        }
        (_, Some(at)) => at,
        _ => return,
    };
    let one = &mut variables[at];
    match update {
        Update::Set(value) => one.value.clone_from(value),
        Update::Add(number) => {
            let sum = read_number(&one.value).saturating_add(*number).max(0);
            one.value.clear();
            write_number(&mut one.value, sum);
        }
        Update::Expire(at) => one.expires = Some(*at),
        Update::Remove => {}
    }
}

/// A collection that `initcol` opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub variable: Variable,
    pub key: Vec<u8>,
    pub variables: Vec<Persisted>,
    pub updates: Vec<(Vec<u8>, Update)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collections_count_expire_and_are_forgotten() {
        let store = MemoryStore::new(2);
        let add = [(b"n".to_vec(), Update::Add(2)), (b"n".to_vec(), Update::Expire(50))];
        store.save("IP", b"a", &add, 10, 100);
        store.save("IP", b"a", &add, 11, 100);
        assert_eq!(
            store.load("IP", b"a", 12),
            [Persisted { name: b"n".into(), value: b"4".into(), expires: Some(50) }]
        );
        assert!(store.load("IP", b"a", 50).is_empty() && store.load("IP", b"b", 12).is_empty());
        store.save("IP", b"a", &[(b"n".to_vec(), Update::Set(b"x".into()))], 60, 100);
        assert_eq!(store.load("IP", b"a", 61)[0].expires, None);
        assert!(store.load("IP", b"a", 160).is_empty());
    }

    #[test]
    fn the_number_of_collections_is_bounded() {
        let store = MemoryStore::new(4);
        for number in 0..100_u8 {
            store.save("IP", &[number], &[(b"n".to_vec(), Update::Add(1))], u64::from(number), 1000);
        }
        assert!(store.collections.lock().unwrap().len() <= 4);
        assert_eq!(store.load("IP", &[99], 100).len(), 1);
    }
}
