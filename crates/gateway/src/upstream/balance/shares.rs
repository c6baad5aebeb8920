//! Which server a number falls to, where each has as many numbers as its weight.
use super::Choice;
use crate::upstream::config::UpstreamServer;

/// The servers by weight. Those that are down have their share too, so that others keep theirs.
#[derive(Debug)]
pub struct Shares {
    /// The sum of the weights up to each server.
    ends: Vec<u64>,
}

/// Servers in vain, after which a balancer that draws or hashes asks them in turn (nginx's number).
pub const TRIES: usize = 20;

impl Shares {
    /// Of the backups, or of the others.
    pub fn new(servers: &[UpstreamServer], backup: bool) -> Self {
        let mut total = 0;
        let mut end = |server: &UpstreamServer| {
            total += if server.backup == backup { u64::from(server.weight) } else { 0 };
            total
        };
        Self { ends: servers.iter().map(&mut end).collect() }
    }

    /// The server that has this number, modulo the sum of the weights; `None` without servers.
    pub fn of(&self, number: u64) -> Option<usize> {
        let total = self.ends.last().copied().filter(|total| *total > 0)?;
        let number = number % total;
        Some(self.ends.partition_point(|end| *end <= number))
    }

    /// The first open server that one of the numbers leads to.
    pub fn first(&self, choice: &Choice<'_>, numbers: impl Iterator<Item = u64>) -> Option<usize> {
        numbers.take(TRIES + 1).map_while(|number| self.of(number)).find(|server| choice.open(*server))
    }
}
