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
        let (patterns, owners): (Vec<_>, Vec<_>) = self.patterns.into_iter().unzip();
        let search = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(&patterns)
            .map_err(|error| error.to_string())?;
        let owners = owners.into_iter().map(Vec::into_boxed_slice).collect();
        Ok(Prefilter { search, owners, width: usize::from(self.owners).div_ceil(64) })
    }
}

/// The literals of all operators.
#[derive(Debug)]
pub struct Prefilter {
    search: AhoCorasick,
    owners: Box<[Box<[u16]>]>,
    width: usize,
}

/// What the search found in the values of one transaction.
#[derive(Debug, Default)]
pub struct Found {
    row_of: Vec<u32>,
    rows: Vec<u64>,
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
        let index = value as usize;
        if self.row_of.len() <= index {
            self.row_of.resize(memory.len().max(index + 1), NONE);
        }
        if self.row_of[index] == NONE {
            self.row_of[index] = (self.rows.len() / filter.width) as u32;
            let start = self.rows.len();
            self.rows.resize(start + filter.width, 0);
            let row = &mut self.rows[start..];
            for found in filter.search.find_overlapping_iter(memory.get(value)) {
                for owner in &*filter.owners[found.pattern().as_usize()] {
                    row[usize::from(*owner) / 64] |= 1 << (owner % 64);
                }
            }
        }
        let row = self.row_of[index] as usize * filter.width;
        self.rows[row + usize::from(owner) / 64] & 1 << (owner % 64) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_possible_with_one_of_its_literals() {
        let mut builder = Builder::default();
        let a = builder.add(&[Box::from(*b"select"), Box::from(*b"union")]);
        let b = builder.add(&[Box::from(*b"lect")]);
        let filter = builder.build().unwrap();
        let (mut memory, mut found) = (Memory::default(), Found::default());
        let value = memory.add(b"SELECT");
        assert!(found.possible(&filter, &memory, value, a) && found.possible(&filter, &memory, value, b));
        let value = memory.add(b"lecture");
        assert!(!found.possible(&filter, &memory, value, a) && found.possible(&filter, &memory, value, b));
    }
}
