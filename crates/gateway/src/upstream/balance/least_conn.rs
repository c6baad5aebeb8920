//! The server that is busy with the fewest requests for its weight, as nginx's `least_conn`; among equals smooth weighted round
//! robin decides. Costs a look at each server.
use super::{Balancer, Choice};
use crate::upstream::config::UpstreamServer;
use std::sync::atomic::{AtomicI64, Ordering};

/// What each server has gained in the turns among equals.
#[derive(Debug)]
pub struct LeastConn {
    gained: Vec<AtomicI64>,
}

impl LeastConn {
    /// The one of these whose turn it is.
    fn turn(&self, choice: &Choice<'_>, equals: impl Iterator<Item = usize>) -> Option<usize> {
        let (mut best, mut total): (Option<(usize, i64)>, i64) = (None, 0);
        for server in equals {
            let weight = i64::from(choice.servers[server].config.weight);
            let gained = self.gained[server].fetch_add(weight, Ordering::Relaxed) + weight;
            total += weight;
            if best.is_none_or(|(_, most)| gained > most) {
                best = Some((server, gained));
            }
        }
        let (best, _) = best?;
        self.gained[best].fetch_sub(total, Ordering::Relaxed);
        Some(best)
    }
}

impl Balancer for LeastConn {
    fn new(servers: &[UpstreamServer], _backup: bool) -> Self {
        Self { gained: servers.iter().map(|_| AtomicI64::new(0)).collect() }
    }

    fn pick(&self, choice: &Choice<'_>) -> Option<usize> {
        let open = || (0..choice.servers.len()).filter(|server| choice.open(*server));
        let (mut least, mut many) = (open().next()?, false);
        for server in open().skip(1) {
            if choice.servers[least].busier_than(&choice.servers[server]) {
                (least, many) = (server, false);
            } else {
                many |= !choice.servers[server].busier_than(&choice.servers[least]);
            }
        }
        if !many {
            return Some(least);
        }
        let equal = |server: &usize| !choice.servers[*server].busier_than(&choice.servers[least]);
        self.turn(choice, open().filter(|server| *server >= least).filter(equal))
    }
}
