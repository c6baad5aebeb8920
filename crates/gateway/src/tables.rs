//! Hash tables for what requests look up. Their keys come from the configuration and from counters, never from clients, so
//! they need no hash that withstands chosen keys.
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Values by bytes of the configuration.
pub type Table<V> = HashMap<Box<[u8]>, V, foldhash::fast::FixedState>;

/// Values by numbers that are given out one after the other.
pub type Ids<V> = HashMap<u64, V, BuildHasherDefault<ById>>;

/// Ids are numbers given out one after the other: they spread as they are.
#[derive(Default)]
pub struct ById(u64);

impl Hasher for ById {
    fn finish(&self) -> u64 {
        // The table looks at the top bits first.
        self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 << 8 | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id;
    }
}
