//! One search per value tells which operators can match it.
//!
//! Most expressions need one of a few literals; a value without them is not given to the expression.

use std::collections::HashMap;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use crate::memory::{Memory, NONE, ValueId};

/// The literals while rules are compiled.
#[derive(Debug, Default)]
pub struct Builder {
    patterns: HashMap<Box<[u8]>, Vec<u16>>,
    owners: u16,
}

impl Builder {
    /// Adds the literals of an operator; the number is that of its bit.
    pub fn add(&mut self, literals: &[Box<[u8]>]) -> u16 {
        let owner = self.owners;
        self.owners += 1;
        for literal in literals {
            self.patterns.entry(literal.clone()).or_default().push(owner);
        }
        owner
    }

    /// The search.
    pub fn build(self) -> Result<Prefilter, String> {
        let width = usize::from(self.owners).div_ceil(64);
        let (short, long): (Vec<_>, Vec<_>) = self.patterns.into_iter().partition(|(pattern, _)| pattern.len() == 1);
        let mut bytes = vec![0; 256 * width];
        for (pattern, owners) in &short {
            for byte in [pattern[0].to_ascii_lowercase(), pattern[0].to_ascii_uppercase()] {
                for owner in owners {
                    set(&mut bytes[usize::from(byte) * width..], *owner);
                }
            }
        }
        let (patterns, owners): (Vec<_>, Vec<_>) = long.into_iter().unzip();
        let search = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(&patterns)
            .map_err(|error| error.to_string())?;
        let owners = owners.into_iter().map(Vec::into_boxed_slice).collect();
        Ok(Prefilter { search, owners, bytes: bytes.into(), width })
    }
}

/// The literals of all operators.
#[derive(Debug)]
pub struct Prefilter {
    search: AhoCorasick,
    owners: Box<[Box<[u16]>]>,
    /// The operators that a byte alone makes possible, `width` words for each byte.
    bytes: Box<[u64]>,
    width: usize,
}

/// What the search found in the values of one transaction.
#[derive(Debug, Default)]
pub struct Found {
    row_of: Vec<u32>,
    rows: Vec<u64>,
    /// Of a list of values and a pipeline: the generation of the list and what any of its values has.
    unions: Vec<(u32, Box<[u64]>)>,
}

impl Found {
    /// Forgets it.
    pub fn clear(&mut self) {
        self.row_of.clear();
        self.rows.clear();
        self.rows.shrink_to(16_384);
    }

    /// Whether the operator with that bit can match the value.
    pub fn possible(&mut self, filter: &Prefilter, memory: &Memory, value: ValueId, owner: u16) -> bool {
        let row = self.row(filter, memory, value);
        has(&self.rows[row..], owner)
    }

    /// Whether the operator can match one of the values of a union; `None` if the union is not of that generation.
    pub fn possible_in(&self, union: u32, generation: u32, owner: u16) -> Option<bool> {
        let (known, bits) = self.unions.get(union as usize)?;
        (*known == generation).then(|| has(bits, owner))
    }

    /// Begins a union; values are joined to it.
    pub fn begin(&mut self, filter: &Prefilter, union: u32, generation: u32) {
        let index = union as usize;
        if self.unions.len() <= index {
            self.unions.resize_with(index + 1, Default::default);
        }
        let (known, bits) = &mut self.unions[index];
        *known = generation;
        if bits.len() == filter.width {
            bits.fill(0);
        } else {
            *bits = vec![0; filter.width].into();
        }
    }

    /// Joins a value to a union.
    pub fn join(&mut self, filter: &Prefilter, memory: &Memory, union: u32, value: ValueId) {
        let row = self.row(filter, memory, value);
        let bits = &mut self.unions[union as usize].1;
        bits.iter_mut().zip(&self.rows[row..]).for_each(|(word, more)| *word |= more);
    }

    fn row(&mut self, filter: &Prefilter, memory: &Memory, value: ValueId) -> usize {
        let index = value as usize;
        if self.row_of.len() <= index {
            self.row_of.resize(memory.len().max(index + 1), NONE);
        }
        if self.row_of[index] == NONE {
            let start = self.rows.len();
            self.row_of[index] = start as u32;
            self.rows.resize(start + filter.width, 0);
            let row = &mut self.rows[start..];
            let mut seen = [0_u64; 4];
            for byte in memory.get(value) {
                seen[usize::from(*byte) / 64] |= 1 << (byte % 64);
            }
            for (word, mut left) in seen.into_iter().enumerate() {
                while left != 0 {
                    let byte = word * 64 + left.trailing_zeros() as usize;
                    left &= left - 1;
                    let bits = &filter.bytes[byte * filter.width..][..filter.width];
                    row.iter_mut().zip(bits).for_each(|(word, more)| *word |= more);
                }
            }
            for found in filter.search.find_overlapping_iter(memory.get(value)) {
                for owner in &*filter.owners[found.pattern().as_usize()] {
                    set(row, *owner);
                }
            }
        }
        self.row_of[index] as usize
    }
}

fn set(bits: &mut [u64], owner: u16) {
    bits[usize::from(owner) / 64] |= 1 << (owner % 64);
}

fn has(bits: &[u64], owner: u16) -> bool {
    bits[usize::from(owner) / 64] & 1 << (owner % 64) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_possible_with_one_of_its_literals() {
        let mut builder = Builder::default();
        let a = builder.add(&[Box::from(*b"select"), Box::from(*b"union")]);
        let b = builder.add(&[Box::from(*b"lect")]);
        let c = builder.add(&[Box::from(*b"z")]);
        let filter = builder.build().unwrap();
        let (mut memory, mut found) = (Memory::default(), Found::default());
        let value = memory.add(b"Z");
        assert!(found.possible(&filter, &memory, value, c) && !found.possible(&filter, &memory, value, a));
        let value = memory.add(b"SELECT");
        assert!(found.possible(&filter, &memory, value, a) && found.possible(&filter, &memory, value, b));
        found.begin(&filter, 3, 7);
        assert_eq!((found.possible_in(3, 7, a), found.possible_in(3, 8, a)), (Some(false), None));
        found.join(&filter, &memory, 3, value);
        assert_eq!((found.possible_in(3, 7, a), found.possible_in(2, 7, a)), (Some(true), None));
        let value = memory.add(b"lecture");
        assert!(!found.possible(&filter, &memory, value, a) && found.possible(&filter, &memory, value, b));
    }
}
