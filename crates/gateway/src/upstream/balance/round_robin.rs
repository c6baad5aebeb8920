//! Smooth weighted round robin (nginx's default): a server of weight 5 beside two of weight 1 is not asked five times in a row.
use super::{Balancer, Choice};
use crate::upstream::config::UpstreamServer;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Longest schedule; larger sums of weights are scaled down to it.
const MAX_SCHEDULE: u64 = 16_384;
/// Steps that lead to no open server before it is asked whether there is one at all.
const PATIENCE: usize = 16;

/// The order of servers, computed once; a request costs one step, however many servers there are. It begins where nginx's does.
#[derive(Debug)]
pub struct RoundRobin {
    schedule: Vec<u32>,
    next: AtomicUsize,
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Each step every server gains its weight; the highest is chosen and pays the total.
fn smooth(weights: &[i64]) -> Vec<u32> {
    let total: i64 = weights.iter().sum();
    let mut current = vec![0i64; weights.len()];
    let mut schedule = Vec::with_capacity(total as usize);
    for _ in 0..total {
        let mut best = None;
        for (i, weight) in weights.iter().enumerate().filter(|(_, w)| **w > 0) {
            current[i] += weight;
            if best.is_none_or(|b: usize| current[i] > current[b]) {
                best = Some(i);
            }
        }
        if let Some(best) = best {
            current[best] -= total;
            schedule.push(best as u32);
        }
    }
    schedule
}

/// The weights of the servers that a balancer is of; 0 for the others.
fn weights(servers: &[UpstreamServer], backup: bool) -> Vec<u64> {
    let counts = |server: &UpstreamServer| server.backup == backup && !server.down;
    servers.iter().map(|server| if counts(server) { u64::from(server.weight) } else { 0 }).collect()
}

impl Balancer for RoundRobin {
    /// Computes the schedule.
    fn new(servers: &[UpstreamServer], backup: bool) -> Self {
        let weights = weights(servers, backup);
        let divisor = weights.iter().copied().filter(|w| *w > 0).fold(0, gcd).max(1);
        let total: u64 = weights.iter().sum::<u64>() / divisor;
        let scale = total.div_ceil(MAX_SCHEDULE).max(1);
        let scaled = |w: &u64| if *w == 0 { 0 } else { (w / divisor / scale).max(1) as i64 };
        let schedule = smooth(&weights.iter().map(scaled).collect::<Vec<_>>());
        Self { schedule, next: AtomicUsize::new(0) }
    }

    fn pick(&self, choice: &Choice<'_>) -> Option<usize> {
        for step in 0..self.schedule.len() {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let server = self.schedule[at % self.schedule.len()] as usize;
            if choice.open(server) {
                return Some(server);
            }
            if step == PATIENCE && !(0..choice.servers.len()).any(|server| choice.open(server)) {
                return None;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::Server;

    fn servers(weights: &[u32]) -> Vec<UpstreamServer> {
        let server = |w: &u32| serde_json::from_value(serde_json::json!({"address": "a:1", "weight": w})).unwrap();
        weights.iter().map(server).collect()
    }

    /// What a balancer of these weights picks, one after the other, where some servers were tried.
    fn picks(weights: &[u32], tried: &[usize], count: usize) -> Vec<Option<usize>> {
        let config = servers(weights);
        let balancer = RoundRobin::new(&config, false);
        let servers: Vec<Server> = config.iter().map(|server| Server::new(server).unwrap()).collect();
        let choice = Choice { key: b"", servers: &servers, now: 1, random: || 0, tried, backup: false };
        (0..count).map(|_| balancer.pick(&choice)).collect()
    }

    #[test]
    fn nginx_smooth_sequence_of_5_1_1() {
        assert_eq!(picks(&[5, 1, 1], &[], 7), [0, 0, 1, 0, 2, 0, 0].map(Some));
    }

    #[test]
    fn shares_are_the_weights_and_closed_servers_are_passed_over() {
        assert_eq!(RoundRobin::new(&servers(&[300, 100]), false).schedule.len(), 4);
        assert_eq!(picks(&[300, 100], &[0], 9), [Some(1); 9]);
        assert_eq!(picks(&[300, 100], &[0, 1], 1), [None]);
        assert_eq!(picks(&[0], &[], 1), [None]);
    }

    #[test]
    fn an_open_server_of_small_weight_is_found() {
        assert_eq!(picks(&[400, 399, 1], &[0, 1], 2), [Some(2); 2]);
    }

    #[test]
    fn huge_weights_make_a_bounded_schedule() {
        let balancer = RoundRobin::new(&servers(&[u32::MAX, 7, 1]), false);
        assert!(balancer.schedule.len() as u64 <= MAX_SCHEDULE + 3);
    }
}
