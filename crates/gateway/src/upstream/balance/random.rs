//! At random, as nginx's `random`.
use super::round_robin::RoundRobin;
use super::shares::Shares;
use super::{Balancer, Choice};
use crate::upstream::config::UpstreamServer;

/// Draws a server by weight.
#[derive(Debug)]
pub struct Random {
    shares: Shares,
    turns: RoundRobin,
}

impl Balancer for Random {
    fn new(servers: &[UpstreamServer], backup: bool) -> Self {
        Self { shares: Shares::new(servers, backup), turns: RoundRobin::new(servers, backup) }
    }

    fn pick(&self, choice: &Choice<'_>) -> Option<usize> {
        let numbers = std::iter::repeat_with(choice.random);
        self.shares.first(choice, numbers).or_else(|| self.turns.pick(choice))
    }
}
