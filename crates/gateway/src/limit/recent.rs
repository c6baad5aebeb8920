//! Buckets by key, of which the one that was used longest ago gives way when there is no room.
use crate::limit::bucket::{Bucket, Rate};
use crate::limit::table::Fingerprint;

const NONE: u32 = u32::MAX;
/// Entries that are looked at for being empty when one is added (nginx has the same number).
const SWEEP: usize = 2;

/// A key's bucket, in the chain of its hash and in the order of use.
#[derive(Debug)]
struct Entry {
    key: Fingerprint,
    bucket: Bucket,
    newer: u32,
    older: u32,
    chain: u32,
}

/// Buckets by key. Takes about 52 bytes a key.
#[derive(Debug)]
pub struct Recent {
    entries: Vec<Entry>,
    heads: Vec<u32>,
    free: Vec<u32>,
    newest: u32,
    oldest: u32,
    capacity: usize,
}

impl Recent {
    /// Room for so many keys; memory is taken as they come.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(1, NONE as usize - 1);
        Self { entries: Vec::new(), heads: vec![NONE; 16], free: Vec::new(), newest: NONE, oldest: NONE, capacity }
    }

    /// Keys there are.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// The bucket of a key, which becomes the newest.
    pub fn get(&mut self, key: &Fingerprint) -> Option<&mut Bucket> {
        let index = self.index(key)?;
        self.unlink(index);
        self.push_newest(index);
        Some(&mut self.entries[index as usize].bucket)
    }

    /// Puts the bucket of a key, which is there or is added.
    pub fn set(&mut self, key: Fingerprint, bucket: Bucket, rate: Rate, now: u64) {
        match self.index(&key) {
            Some(index) => self.entries[index as usize].bucket = bucket,
            None => self.add(key, bucket, rate, now),
        }
    }

    /// Adds a key that is not there. Two of the oldest go if they are empty, and the oldest in any case if there is no room.
    pub fn add(&mut self, key: Fingerprint, bucket: Bucket, rate: Rate, now: u64) {
        if self.len() == self.capacity {
            self.evict();
        }
        for _ in 0..SWEEP {
            if self.oldest == NONE || !self.entries[self.oldest as usize].bucket.is_empty(rate, now) {
                break;
            }
            self.evict();
        }
        let entry = Entry { key, bucket, newer: NONE, older: NONE, chain: NONE };
        let index = if let Some(index) = self.free.pop() {
            self.entries[index as usize] = entry;
            index
        } else {
            self.grow();
            self.entries.push(entry);
            self.entries.len() as u32 - 1
        };
        let slot = self.slot(&key);
        self.entries[index as usize].chain = std::mem::replace(&mut self.heads[slot], index);
        self.push_newest(index);
    }

    fn slot(&self, key: &Fingerprint) -> usize {
        key[1] as usize & (self.heads.len() - 1)
    }

    fn index(&self, key: &Fingerprint) -> Option<u32> {
        let mut index = self.heads[self.slot(key)];
        while index != NONE {
            let entry = &self.entries[index as usize];
            if entry.key == *key {
                return Some(index);
            }
            index = entry.chain;
        }
        None
    }

    /// Makes room for one more entry: by an eighth, so that a full table has little beside its entries.
    fn grow(&mut self) {
        if self.entries.len() == self.entries.capacity() {
            let more = (self.entries.len() / 8).max(16).min(self.capacity - self.entries.len());
            self.entries.reserve_exact(more);
        }
        if self.entries.len() < self.heads.len() {
            return;
        }
        let mut heads = std::mem::take(&mut self.heads);
        let size = heads.len() * 2;
        heads.clear();
        heads.resize(size, NONE);
        self.heads = heads;
        let mut index = self.newest;
        while index != NONE {
            let (key, older) = (self.entries[index as usize].key, self.entries[index as usize].older);
            let slot = self.slot(&key);
            self.entries[index as usize].chain = std::mem::replace(&mut self.heads[slot], index);
            index = older;
        }
    }

    fn evict(&mut self) {
        if self.oldest != NONE {
            self.drop_entry(self.oldest);
        }
    }

    fn drop_entry(&mut self, index: u32) {
        let slot = self.slot(&self.entries[index as usize].key);
        let next = self.entries[index as usize].chain;
        if self.heads[slot] == index {
            self.heads[slot] = next;
        } else {
            let mut at = self.heads[slot];
            while at != NONE && self.entries[at as usize].chain != index {
                at = self.entries[at as usize].chain;
            }
            if at != NONE {
                self.entries[at as usize].chain = next;
            }
        }
        self.unlink(index);
        self.free.push(index);
    }

    fn unlink(&mut self, index: u32) {
        let (newer, older) = (self.entries[index as usize].newer, self.entries[index as usize].older);
        match newer {
            NONE => self.newest = older,
            newer => self.entries[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.entries[older as usize].newer = newer,
        }
    }

    fn push_newest(&mut self, index: u32) {
        let before = std::mem::replace(&mut self.newest, index);
        self.entries[index as usize].newer = NONE;
        self.entries[index as usize].older = before;
        match before {
            NONE => self.oldest = index,
            before => self.entries[before as usize].newer = index,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Recent {
        fn peek(&self, key: &Fingerprint) -> Option<Bucket> {
            Some(self.entries[self.index(key)? as usize].bucket)
        }
    }

    const RATE: Rate = Rate { milli: 1000, period: 1 };

    fn key(number: u64) -> Fingerprint {
        [number, number.wrapping_mul(0x9e37_79b9_7f4a_7c15)]
    }

    #[test]
    fn the_one_that_was_used_longest_ago_gives_way() {
        let mut recent = Recent::new(3);
        let full = Bucket { excess: 9000, last: 1 };
        for number in 0..3 {
            recent.add(key(number), full, RATE, 1);
        }
        assert!(recent.get(&key(0)).is_some());
        recent.add(key(3), full, RATE, 1);
        let there: Vec<_> = (0..4).map(|number| recent.peek(&key(number)).is_some()).collect();
        assert_eq!((there, recent.len()), (vec![true, false, true, true], 3));
    }

    #[test]
    fn empty_buckets_go_when_one_is_added() {
        let mut recent = Recent::new(100);
        for number in 0..3 {
            recent.add(key(number), Bucket { excess: 1000, last: 1 }, RATE, 1);
        }
        recent.add(key(3), Bucket { excess: 0, last: 59_000 }, RATE, 59_000);
        assert_eq!(recent.len(), 4);
        recent.add(key(4), Bucket { excess: 0, last: 61_000 }, RATE, 61_000);
        assert_eq!((recent.len(), recent.peek(&key(2)).is_some()), (3, true));
    }

    #[test]
    fn a_million_keys_stay_below_100_mb() {
        let mut recent = Recent::new(1 << 20);
        for number in 0..1 << 21 {
            recent.add(key(number), Bucket { excess: 5000, last: 1 }, RATE, 1);
        }
        let bytes =
            recent.entries.capacity() * size_of::<Entry>() + (recent.heads.capacity() + recent.free.capacity()) * 4;
        assert_eq!(recent.len(), 1 << 20);
        assert!(bytes <= 100_000_000, "{bytes}");
        let found = (0..1 << 21).filter(|number| recent.peek(&key(*number)).is_some()).count();
        assert_eq!((found, recent.peek(&key(0))), (1 << 20, None));
    }
}
