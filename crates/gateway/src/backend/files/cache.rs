//! The open-file cache of one I/O thread (nginx: `open_file_cache`).
//!
//! Two generations: what is used moves to the young one; when that is full, or has been the young one long enough, the old one
//! is dropped and the young one takes its place. So what wasn't used for one to two periods is closed, at no cost per entry.
//! Laws: a path's entry is believed for [`FRESH_MS`], then the path is resolved again; paths that don't exist are not
//! remembered; memory and descriptors stay within fixed bounds.
use crate::backend::files::representation::Representation;
use crate::backend::files::resolve;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// How long an entry is used without a look at the file system.
pub const FRESH_MS: u64 = 1_000;
/// Age at which a generation becomes the old one.
const PERIOD_MS: u64 = 10_000;
/// Entries of a generation.
const ENTRIES: usize = 512;
/// Bytes of small files a generation keeps in memory.
const MEMORY_BYTES: usize = 4 << 20;

/// A file and its precompressed siblings.
pub struct Entry {
    /// The file itself; `None`: there are only siblings of it.
    pub plain: Option<Rc<Representation>>,
    /// Its siblings, in the route's order of preference.
    pub variants: Vec<Rc<Representation>>,
    checked: u64,
}

impl Entry {
    /// An entry resolved at `now`, in milliseconds on the thread's clock.
    pub fn new(plain: Option<Rc<Representation>>, variants: Vec<Rc<Representation>>, now: u64) -> Self {
        Self { plain, variants, checked: now }
    }

    /// It need not be resolved again yet.
    pub fn is_fresh(&self, now: u64, fresh_ms: u64) -> bool {
        now.saturating_sub(self.checked) < fresh_ms
    }

    fn all(&self) -> impl Iterator<Item = &Rc<Representation>> {
        self.plain.iter().chain(&self.variants)
    }

    fn memory(&self) -> usize {
        self.all().map(|representation| representation.memory()).sum()
    }

    fn descriptors(&self) -> usize {
        self.all().map(|representation| representation.descriptors()).sum()
    }
}

#[derive(Default)]
struct Generation {
    entries: HashMap<Box<[u8]>, Rc<Entry>>,
    memory: usize,
    descriptors: usize,
}

impl Generation {
    fn insert(&mut self, key: Box<[u8]>, entry: Rc<Entry>) {
        self.memory += entry.memory();
        self.descriptors += entry.descriptors();
        if let Some(before) = self.entries.insert(key, entry) {
            self.forget(&before);
        }
    }

    fn remove(&mut self, key: &[u8]) -> Option<(Box<[u8]>, Rc<Entry>)> {
        let (key, entry) = self.entries.remove_entry(key)?;
        self.forget(&entry);
        Some((key, entry))
    }

    fn forget(&mut self, entry: &Entry) {
        self.memory -= entry.memory();
        self.descriptors -= entry.descriptors();
    }
}

/// Open files of one I/O thread, by route and path.
pub struct Cache {
    young: Generation,
    old: Generation,
    since: u64,
    /// Descriptors of a generation.
    descriptors: usize,
    roots: HashMap<u64, (u64, Rc<OwnedFd>)>,
    key: Vec<u8>,
    warned: u64,
}

impl Default for Cache {
    fn default() -> Self {
        // Clients and upstreams need descriptors too, and other threads have caches of their own.
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Self {
            young: Generation::default(),
            old: Generation::default(),
            since: 0,
            descriptors: (limit / 64).clamp(8, ENTRIES as u64) as usize,
            roots: HashMap::new(),
            key: Vec::new(),
            warned: 0,
        }
    }
}

impl Cache {
    /// The entry of a path below the root of the route `id`, if there is one; look at its age.
    pub fn get(&mut self, id: u64, path: &[u8], now: u64) -> Option<Rc<Entry>> {
        self.sweep(now);
        self.key.clear();
        self.key.extend_from_slice(&id.to_ne_bytes());
        self.key.extend_from_slice(path);
        if let Some(entry) = self.young.entries.get(&*self.key) {
            return Some(entry.clone());
        }
        let (key, entry) = self.old.remove(&self.key)?;
        self.young.insert(key, entry.clone());
        Some(entry)
    }

    /// Keeps an entry.
    pub fn put(&mut self, id: u64, path: &[u8], entry: Rc<Entry>, now: u64) {
        let full = self.young.entries.len() >= ENTRIES
            || self.young.memory + entry.memory() > MEMORY_BYTES
            || self.young.descriptors + entry.descriptors() > self.descriptors;
        if full {
            self.turn(now);
        }
        self.young.insert(key(id, path), entry);
    }

    /// Forgets a path that is no file any more.
    pub fn remove(&mut self, id: u64, path: &[u8]) {
        let key = key(id, path);
        self.young.remove(&key);
        self.old.remove(&key);
    }

    /// The root of the route `id`, open; opened again when `fresh_ms` are over, for it may have been replaced by another directory.
    pub fn root(&mut self, id: u64, path: &[u8], now: u64, fresh_ms: u64) -> Result<Rc<OwnedFd>, Errno> {
        if let Some((opened, root)) = self.roots.get(&id) {
            if now.saturating_sub(*opened) < fresh_ms {
                return Ok(root.clone());
            }
        }
        self.roots.remove(&id);
        let root = Rc::new(resolve::open_root(path)?);
        self.roots.insert(id, (now, root.clone()));
        Ok(root)
    }

    /// Closes everything.
    pub fn clear(&mut self) {
        self.young = Generation::default();
        self.old = Generation::default();
        self.roots.clear();
    }

    /// Closes what wasn't used lately. Called now and then, so that an idle thread holds nothing open.
    pub fn sweep(&mut self, now: u64) {
        if now.saturating_sub(self.since) >= PERIOD_MS {
            self.turn(now);
            self.roots.retain(|_, (opened, _)| now.saturating_sub(*opened) < PERIOD_MS);
        }
    }

    /// A warning about files is due: at most one in [`FRESH_MS`], whatever clients ask for.
    pub fn may_warn(&mut self, now: u64) -> bool {
        let due = self.warned == 0 || now.saturating_sub(self.warned) >= FRESH_MS;
        if due {
            self.warned = now;
        }
        due
    }

    fn turn(&mut self, now: u64) {
        self.old = std::mem::take(&mut self.young);
        self.since = now;
    }
}

fn key(id: u64, path: &[u8]) -> Box<[u8]> {
    [&id.to_ne_bytes()[..], path].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::files::representation::Traits;
    use crate::backend::files::resolve::Found;
    use crate::backend::files::testing::TempDir;

    fn entry(temp: &TempDir, size: usize) -> Rc<Entry> {
        temp.write("file", &vec![b'x'; size]);
        let path = temp.path().join("file");
        let Ok(Found::File(file, stamp)) = resolve::open_itself(path.as_os_str().as_encoded_bytes()) else {
            unreachable!()
        };
        Rc::new(Entry::new(Some(Rc::new(Representation::new(file, stamp, Traits::default()))), Vec::new(), 1))
    }

    #[test]
    fn routes_do_not_share_entries() {
        let (temp, mut cache) = (TempDir::new(), Cache::default());
        cache.put(1, b"a", entry(&temp, 1), 1);
        assert!(cache.get(1, b"a", 1).is_some());
        assert!(cache.get(2, b"a", 1).is_none() && cache.get(1, b"b", 1).is_none());
        cache.remove(1, b"a");
        assert!(cache.get(1, b"a", 1).is_none());
    }

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let (temp, mut cache) = (TempDir::new(), Cache::default());
        cache.put(1, b"used", entry(&temp, 1), 1);
        cache.put(1, b"idle", entry(&temp, 1), 1);
        for turn in 1..=3 {
            let now = turn * PERIOD_MS + 1;
            assert!(cache.get(1, b"used", now).is_some());
        }
        assert!(cache.get(1, b"idle", 3 * PERIOD_MS + 1).is_none());
        cache.sweep(4 * PERIOD_MS + 1);
        cache.sweep(5 * PERIOD_MS + 1);
        assert_eq!(cache.young.entries.len() + cache.old.entries.len(), 0);
    }

    #[test]
    fn entries_memory_and_descriptors_are_bounded() {
        let temp = TempDir::new();
        let (small, large) = (entry(&temp, 16 << 10), entry(&temp, 17 << 10));
        assert_eq!((small.memory(), small.descriptors()), (16 << 10, 0));
        assert_eq!((large.memory(), large.descriptors()), (0, 1));
        let mut cache = Cache { descriptors: 8, ..Cache::default() };
        for i in 0..2000u32 {
            cache.put(1, &i.to_ne_bytes(), small.clone(), 1);
            cache.put(2, &i.to_ne_bytes(), large.clone(), 1);
            for generation in [&cache.young, &cache.old] {
                assert!(
                    generation.memory <= MEMORY_BYTES
                        && generation.descriptors <= 8
                        && generation.entries.len() <= ENTRIES
                );
            }
        }
        for i in 0..2000u32 {
            cache.put(3, &i.to_ne_bytes(), entry(&temp, 0), 1);
        }
        assert!(cache.young.entries.len() <= ENTRIES && cache.old.entries.len() <= ENTRIES);
        assert_eq!((cache.young.memory, cache.young.descriptors), (0, 0));
    }

    #[test]
    fn a_root_is_opened_again_when_its_time_is_up() {
        let (temp, mut cache) = (TempDir::new(), Cache::default());
        let path = temp.path().as_os_str().as_encoded_bytes();
        let first = cache.root(1, path, 1, FRESH_MS).unwrap();
        assert!(Rc::ptr_eq(&first, &cache.root(1, path, FRESH_MS, FRESH_MS).unwrap()));
        assert!(!Rc::ptr_eq(&first, &cache.root(1, path, FRESH_MS + 1, FRESH_MS).unwrap()));
        assert_eq!(cache.root(2, b"/none", 1, FRESH_MS).unwrap_err(), Errno::NOENT);
    }

    #[test]
    fn freshness_ends() {
        let temp = TempDir::new();
        let entry = entry(&temp, 1);
        assert!(entry.is_fresh(1 + FRESH_MS - 1, FRESH_MS) && !entry.is_fresh(1 + FRESH_MS, FRESH_MS));
        assert!(!entry.is_fresh(1, 0));
    }
}
