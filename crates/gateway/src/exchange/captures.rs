//! What the last successful match with groups left behind.
use bytes::Bytes;

/// What the last successful match with groups left behind: `$1` to `$9`.
#[derive(Debug, Default)]
pub struct Captures {
    pub(crate) subject: Bytes,
    pub(crate) groups: Vec<(u32, u32)>,
}

impl Captures {
    /// The last expression has a group `n`.
    pub fn has(&self, n: u8) -> bool {
        usize::from(n) < self.groups.len()
    }

    /// Group `n`; empty if it took no part in the match or there was none.
    pub fn get(&self, n: u8) -> &[u8] {
        let (start, end) = self.groups.get(usize::from(n)).copied().unwrap_or((0, 0));
        &self.subject[start as usize..end as usize]
    }
}
