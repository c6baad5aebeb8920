//! From name and path to a server and a route, at a cost that does not grow with their number.
pub mod names;
pub mod prefix;

pub use names::NameTable;
pub use prefix::PrefixTree;
use std::collections::HashMap;

/// The routes of one server.
#[derive(Debug, Default)]
pub struct RouteTable {
    exact: HashMap<Box<[u8]>, u32>,
    prefixes: PrefixTree,
    named: HashMap<Box<str>, u32>,
}

impl RouteTable {
    /// Adds a route; the first of two equal ones stays.
    pub fn insert(&mut self, path: &str, exact: bool, index: u32) {
        if path.starts_with('@') {
            self.named.entry(path.into()).or_insert(index);
        } else if exact {
            self.exact.entry(path.as_bytes().into()).or_insert(index);
        } else {
            self.prefixes.insert(path.as_bytes(), index);
        }
    }

    /// The route of a normalised path: exact first, then the longest prefix (nginx's `location`).
    pub fn find(&self, path: &[u8]) -> Option<u32> {
        if !self.exact.is_empty() {
            if let Some(index) = self.exact.get(path) {
                return Some(*index);
            }
        }
        self.prefixes.longest(path)
    }

    /// A named route (`@app`).
    pub fn named(&self, name: &str) -> Option<u32> {
        self.named.get(name).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_wins_over_the_longest_prefix() {
        let mut table = RouteTable::default();
        table.insert("/", false, 0);
        table.insert("/static/", false, 1);
        table.insert("/static/a", true, 2);
        table.insert("@app", false, 3);
        let found: Vec<_> = ["/", "/x", "/static", "/static/", "/static/a", "/static/ab"]
            .iter()
            .map(|path| table.find(path.as_bytes()).unwrap())
            .collect();
        assert_eq!(found, [0, 0, 0, 1, 2, 1]);
        assert_eq!((table.named("@app"), table.named("@b")), (Some(3), None));
        assert_eq!(RouteTable::default().find(b"/"), None);
    }
}
