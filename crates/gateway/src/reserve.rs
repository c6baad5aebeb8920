//! Descriptors that clients can't take: without them a gateway full of connections could not be given a new worker.
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors of the reserve, where the limit allows for so many: those of a control packet twice over.
const MOST: u64 = 512;
/// The part of the limit that is kept where it can't be raised: one in so many.
const PART: u64 = 8;

/// The room between the limit that holds while clients are served and the one that holds while the supervisor is heard.
#[derive(Clone, Copy, Debug)]
pub struct Reserve {
    usual: u64,
    open: u64,
    maximum: Option<u64>,
}

impl Reserve {
    /// Sets some descriptors aside: above the limit where it may be raised, else below it.
    pub fn keep() -> Self {
        let limit = getrlimit(Resource::Nofile);
        let Some(current) = limit.current else { return Self { usual: 0, open: 0, maximum: limit.maximum } };
        let most = limit.maximum.unwrap_or(u64::MAX).min(current.saturating_add(MOST));
        let reserve = Self::of(current, most, limit.maximum);
        reserve.set(reserve.usual);
        reserve
    }

    fn of(current: u64, most: u64, maximum: Option<u64>) -> Self {
        let kept = MOST.min(current / PART);
        if most >= current.saturating_add(kept) {
            return Self { usual: current, open: most, maximum };
        }
        Self { usual: current - kept, open: current, maximum }
    }

    fn set(self, current: u64) {
        if self.open > 0 {
            let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum: self.maximum });
        }
    }

    /// Lets the reserve be used as long as the returned value lives. The limit is one for all threads, but they would have
    /// to open hundreds of files in that moment.
    pub fn open(&self) -> Open {
        self.set(self.open);
        Open(*self)
    }
}

/// See [`Reserve::open`].
#[derive(Debug)]
pub struct Open(Reserve);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.set(self.0.usual);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_above_the_limit_where_it_may_be_raised_and_else_a_part_of_it() {
        let reserve = |current, most| {
            let reserve = Reserve::of(current, most, None);
            (reserve.usual, reserve.open)
        };
        assert_eq!(reserve(100, 612), (100, 612));
        assert_eq!(reserve(1024, 1024), (896, 1024));
        assert_eq!(reserve(1 << 20, 1 << 20), ((1 << 20) - 512, 1 << 20));
        assert_eq!(reserve(0, 0), (0, 0));
    }
}
