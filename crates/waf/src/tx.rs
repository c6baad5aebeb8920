//! The collection TX: names that rules mention have a slot, others are kept by name.

use std::collections::HashMap;
use std::sync::Arc;

use crate::memory::{EMPTY, Memory, ValueId, read_number};

/// A variable of TX.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Tx {
    #[default]
    Absent,
    Number(i64),
    Value(ValueId),
}

impl Tx {
    /// Its number; that of an absent one is 0.
    pub fn number(self, memory: &Memory) -> i64 {
        match self {
            Self::Absent => 0,
            Self::Number(number) => number,
            Self::Value(id) => read_number(memory.get(id)),
        }
    }

    /// Its text.
    pub fn value(self, memory: &mut Memory) -> ValueId {
        match self {
            Self::Absent => EMPTY,
            Self::Number(number) => memory.number(number),
            Self::Value(id) => id,
        }
    }
}

/// The names with a slot. Slots 0 to 9 are the captures.
#[derive(Debug)]
pub struct Names {
    slots: HashMap<Arc<str>, u16>,
    names: Vec<Arc<str>>,
}

impl Default for Names {
    fn default() -> Self {
        let mut names = Self { slots: HashMap::new(), names: Vec::new() };
        for capture in 0..10 {
            names.slot(&capture.to_string());
        }
        names
    }
}

impl Names {
    /// The slot of a name in lower case.
    pub fn slot(&mut self, name: &str) -> u16 {
        if let Some(slot) = self.slots.get(name) {
            return *slot;
        }
        let (slot, name) = (self.names.len() as u16, Arc::<str>::from(name));
        self.names.push(name.clone());
        self.slots.insert(name, slot);
        slot
    }

    /// The slot of a name that has one.
    pub fn find(&self, name: &[u8]) -> Option<u16> {
        self.slots.get(std::str::from_utf8(name).ok()?).copied()
    }

    /// The name of a slot.
    pub fn name(&self, slot: u16) -> &str {
        self.names.get(usize::from(slot)).map_or("", |name| name)
    }

    /// How many slots there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_slot() {
        let mut names = Names::default();
        let slot = names.slot("score");
        assert_eq!((slot, names.slot("score"), names.slot("3")), (10, 10, 3));
        assert_eq!((names.name(slot), names.find(b"score"), names.find(b"x")), ("score", Some(10), None));
    }
}
