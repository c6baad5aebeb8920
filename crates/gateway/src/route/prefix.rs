//! A radix tree of byte strings: the longest stored prefix of a path, in time that depends on the path alone.

/// Prefixes and the numbers they stand for.
#[derive(Debug, Default)]
pub struct PrefixTree {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    label: Box<[u8]>,
    value: Option<u32>,
    // Sorted by the first byte of their labels, which differ.
    children: Vec<Node>,
}

impl PrefixTree {
    /// Stores a prefix; the first of two equal ones stays.
    pub fn insert(&mut self, prefix: &[u8], value: u32) {
        self.root.insert(prefix, value);
    }

    /// No prefix is stored.
    pub fn is_empty(&self) -> bool {
        self.root.value.is_none() && self.root.children.is_empty()
    }

    /// The number of the longest stored prefix of `path`.
    pub fn longest(&self, path: &[u8]) -> Option<u32> {
        let mut node = &self.root;
        let mut rest = path;
        let mut found = node.value;
        while let Some(first) = rest.first() {
            let Ok(at) = node.children.binary_search_by_key(first, Node::first) else { break };
            node = &node.children[at];
            let Some(after) = rest.strip_prefix(&*node.label) else { break };
            rest = after;
            found = node.value.or(found);
        }
        found
    }
}

impl Node {
    fn first(&self) -> u8 {
        self.label.first().copied().unwrap_or(0)
    }

    fn insert(&mut self, key: &[u8], value: u32) {
        let Some(first) = key.first() else {
            self.value.get_or_insert(value);
            return;
        };
        match self.children.binary_search_by_key(first, Self::first) {
            Err(at) => {
                let leaf = Self { label: key.into(), value: Some(value), children: Vec::new() };
                self.children.insert(at, leaf);
            }
            Ok(at) => {
                let child = &mut self.children[at];
                let common = child.label.iter().zip(key).take_while(|(a, b)| a == b).count();
                if common < child.label.len() {
                    child.split(common);
                }
                child.insert(&key[common..], value);
            }
        }
    }

    /// Cuts the label after `at` bytes; what followed becomes the only child.
    fn split(&mut self, at: usize) {
        let (head, tail) = self.label.split_at(at);
        let (head, tail): (Box<[u8]>, Box<[u8]>) = (head.into(), tail.into());
        let lower = Self { label: tail, value: self.value.take(), children: std::mem::take(&mut self.children) };
        self.label = head;
        self.children.push(lower);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_search_over_all_prefixes() {
        let words =
            ["/", "/a", "/ab", "/abc/", "/abd", "/b/c/d", "/b/c", "", "/\u{e9}", "/api/v1/", "/api/v2/", "/api/"];
        for skip in 0..words.len() {
            let stored: Vec<_> = words.iter().enumerate().filter(|(i, _)| *i != skip).collect();
            let mut tree = PrefixTree::default();
            for (i, word) in &stored {
                tree.insert(word.as_bytes(), *i as u32);
            }
            for path in ["", "/", "/abc", "/abc/x", "/abdx", "/b/c/d/e", "/b/c/x", "/api/v1/x", "/api/v3", "/é/x", "x"]
            {
                let longest = stored.iter().filter(|(_, w)| path.starts_with(**w)).max_by_key(|(_, w)| w.len());
                assert_eq!(tree.longest(path.as_bytes()), longest.map(|(i, _)| *i as u32), "{path}");
            }
        }
    }

    #[test]
    fn the_first_of_two_equal_prefixes_stays() {
        let mut tree = PrefixTree::default();
        tree.insert(b"/a", 1);
        tree.insert(b"/a", 2);
        assert_eq!(tree.longest(b"/a"), Some(1));
    }
}
