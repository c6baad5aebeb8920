//! Transformations in sequence; every outcome is computed once per value.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::memory::{Memory, NONE, ValueId};
use crate::transform::{Transform, UnicodeMap};

/// The number of a sequence.
pub type Node = u16;

/// All sequences as a tree: a sequence is a shorter one and a last step.
#[derive(Debug, Default)]
pub struct Pipelines {
    nodes: Vec<(Node, Transform)>,
    known: HashMap<(Node, Transform), Node>,
    pub unicode: Option<UnicodeMap>,
}

impl Pipelines {
    /// The sequence's number; 0 is the empty one.
    pub fn node(&mut self, steps: &[Transform]) -> Node {
        steps.iter().fold(0, |before, step| {
            *self.known.entry((before, *step)).or_insert_with(|| {
                self.nodes.push((before, *step));
                self.nodes.len() as Node
            })
        })
    }
}

/// The outcomes of one transaction.
#[derive(Debug, Default)]
pub struct Outcomes {
    row_of: Vec<u32>,
    rows: Vec<ValueId>,
}

impl Outcomes {
    /// Forgets them.
    pub fn clear(&mut self) {
        self.row_of.clear();
        self.rows.clear();
        self.rows.shrink_to(65_536);
    }

    /// The value after the sequence; the value itself if nothing changes.
    pub fn of(&mut self, lines: &Pipelines, memory: &mut Memory, value: ValueId, node: Node) -> ValueId {
        if node == 0 {
            return value;
        }
        let cell = self.cell(lines.nodes.len(), value) + usize::from(node) - 1;
        if self.rows[cell] != NONE {
            return self.rows[cell];
        }
        let (before, step) = lines.nodes[usize::from(node) - 1];
        let before = self.of(lines, memory, value, before);
        let input = memory.get(before);
        let output = match &lines.unicode {
            Some(map) => step.apply_with(input, Some(map)),
            None => step.apply(input),
        };
        let after = match output {
            Cow::Borrowed(output) if output.len() == input.len() => before,
            output if *output == *input => before,
            output => {
                let output = output.into_owned();
                memory.add(&output)
            }
        };
        self.rows[cell] = after;
        after
    }

    fn cell(&mut self, width: usize, value: ValueId) -> usize {
        let index = value as usize;
        if self.row_of.len() <= index {
            self.row_of.resize(index + 16, NONE);
        }
        if self.row_of[index] == NONE {
            self.row_of[index] = (self.rows.len() / width) as u32;
            self.rows.resize(self.rows.len() + width, NONE);
        }
        self.row_of[index] as usize * width
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_shared_and_unchanged_values_keep_their_number() {
        let mut lines = Pipelines::default();
        let node = lines.node(&[Transform::UrlDecode, Transform::Lowercase]);
        assert_eq!(lines.node(&[Transform::UrlDecode, Transform::Lowercase]), node);
        let (mut memory, mut outcomes) = (Memory::default(), Outcomes::default());
        let (plain, coded) = (memory.add(b"abc"), memory.add(b"%41B"));
        assert_eq!(outcomes.of(&lines, &mut memory, plain, node), plain);
        let decoded = outcomes.of(&lines, &mut memory, coded, node);
        assert_eq!(memory.get(decoded), b"ab");
        assert_eq!(outcomes.of(&lines, &mut memory, coded, node), decoded);
    }
}
