//! The less busy of two drawn servers, as nginx's `random two least_conn`: nearly as good as the least busy of all, and it costs
//! the same however many there are. Of two that are equally busy the first is taken, which keeps the weights; nginx takes the
//! second.
use super::round_robin::RoundRobin;
use super::shares::{Shares, TRIES};
use super::{Balancer, Choice};
use crate::upstream::config::UpstreamServer;

/// Draws two servers by weight.
#[derive(Debug)]
pub struct RandomTwo {
    shares: Shares,
    turns: RoundRobin,
}

impl Balancer for RandomTwo {
    fn new(servers: &[UpstreamServer], backup: bool) -> Self {
        Self { shares: Shares::new(servers, backup), turns: RoundRobin::new(servers, backup) }
    }

    fn pick(&self, choice: &Choice<'_>) -> Option<usize> {
        let mut first = None;
        let drawn = std::iter::repeat_with(|| self.shares.of((choice.random)()));
        for server in drawn.take(TRIES + 1).map_while(|drawn| drawn) {
            match first {
                _ if !choice.open(server) => {}
                None => first = Some(server),
                Some(first) if first == server => {}
                Some(first) => {
                    return Some(if choice.servers[first].busier_than(&choice.servers[server]) {
                        server
                    } else {
                        first
                    });
                }
            }
        }
        self.turns.pick(choice)
    }
}
