//! By the client's address, as nginx's `ip_hash` (`ngx_http_upstream_ip_hash_module`).
use super::round_robin::RoundRobin;
use super::shares::Shares;
use super::{Balancer, By, Choice};
use crate::upstream::config::UpstreamServer;

/// Clients of a network get to the same server.
#[derive(Debug)]
pub struct IpHash {
    shares: Shares,
    turns: RoundRobin,
}

impl Balancer for IpHash {
    fn new(servers: &[UpstreamServer], backup: bool) -> Self {
        Self { shares: Shares::new(servers, backup), turns: RoundRobin::new(servers, backup) }
    }

    fn by(&self) -> By {
        By::Address
    }

    fn pick(&self, choice: &Choice<'_>) -> Option<usize> {
        // nginx's constants; each further hash goes on from the one before.
        let hash = |hash: u64| choice.key.iter().fold(hash, |hash, byte| (hash * 113 + u64::from(*byte)) % 6271);
        let numbers = std::iter::successors(Some(hash(89)), |last| Some(hash(*last)));
        self.shares.first(choice, numbers).or_else(|| self.turns.pick(choice))
    }
}
