//! By a key, as nginx's `hash` without `consistent` and as Cache::Memcached.
use super::crc::Crc;
use super::round_robin::RoundRobin;
use super::shares::Shares;
use super::{Balancer, By, Choice};
use crate::upstream::config::UpstreamServer;

/// Requests with the same key get to the same server; those without one take turns.
#[derive(Debug)]
pub struct Hash {
    shares: Shares,
    turns: RoundRobin,
}

impl Balancer for Hash {
    fn new(servers: &[UpstreamServer], backup: bool) -> Self {
        Self { shares: Shares::new(servers, backup), turns: RoundRobin::new(servers, backup) }
    }

    fn by(&self) -> By {
        By::Key
    }

    fn pick(&self, choice: &Choice<'_>) -> Option<usize> {
        if choice.key.is_empty() {
            return self.turns.pick(choice);
        }
        let mut sum = 0;
        let numbers = (0..).map(|again: u64| {
            let crc = if again == 0 { Crc::new() } else { Crc::new().with(again.to_string().as_bytes()) };
            sum += u64::from((crc.with(choice.key).sum() >> 16) & 0x7fff);
            sum
        });
        self.shares.first(choice, numbers).or_else(|| self.turns.pick(choice))
    }
}
