//! Smooth weighted round robin (nginx's default): a server of weight 5 beside two of weight 1 is not asked five times in a row.
use super::Balancer;
use crate::config::UpstreamServer;

/// Longest schedule; larger sums of weights are scaled down to it.
const MAX_SCHEDULE: u64 = 4096;

/// The order of servers, computed once; a request costs one step.
#[derive(Debug)]
pub struct RoundRobin {
    schedule: Vec<u32>,
}

impl RoundRobin {
    /// Computes the schedule of the servers that are not backups.
    pub fn new(servers: &[UpstreamServer]) -> Self {
        let weight = |server: &UpstreamServer| if server.backup || server.down { 0 } else { u64::from(server.weight) };
        let weights: Vec<u64> = servers.iter().map(weight).collect();
        let divisor = weights.iter().copied().filter(|w| *w > 0).fold(0, gcd).max(1);
        let total: u64 = weights.iter().sum::<u64>() / divisor;
        let scale = total.div_ceil(MAX_SCHEDULE).max(1);
        let scaled = |w: &u64| if *w == 0 { 0 } else { (w / divisor / scale).max(1) as i64 };
        Self { schedule: smooth(&weights.iter().map(scaled).collect::<Vec<_>>()) }
    }
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

impl Balancer for RoundRobin {
    fn pick(&self, cursor: &mut usize, open: &dyn Fn(usize) -> bool) -> Option<usize> {
        for _ in 0..self.schedule.len() {
            let server = self.schedule[*cursor % self.schedule.len()] as usize;
            *cursor = cursor.wrapping_add(1);
            if open(server) {
                return Some(server);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(weights: &[u32]) -> Vec<UpstreamServer> {
        let server = |w: &u32| serde_json::from_value(serde_json::json!({"address": "a:1", "weight": w})).unwrap();
        weights.iter().map(server).collect()
    }

    #[test]
    fn nginx_smooth_sequence_of_5_1_1() {
        let balancer = RoundRobin::new(&servers(&[5, 1, 1]));
        let mut cursor = 0;
        let picks: Vec<_> = (0..7).map(|_| balancer.pick(&mut cursor, &|_| true).unwrap()).collect();
        assert_eq!(picks, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn shares_are_the_weights_and_closed_servers_are_passed_over() {
        let balancer = RoundRobin::new(&servers(&[300, 100]));
        assert_eq!(balancer.schedule.len(), 4);
        let mut cursor = 0;
        assert!((0..9).all(|_| balancer.pick(&mut cursor, &|i| i == 1) == Some(1)));
        assert_eq!(balancer.pick(&mut cursor, &|_| false), None);
        assert_eq!(RoundRobin::new(&servers(&[0])).pick(&mut cursor, &|_| true), None);
    }

    #[test]
    fn huge_weights_make_a_bounded_schedule() {
        let balancer = RoundRobin::new(&servers(&[u32::MAX, 7, 1]));
        assert!(balancer.schedule.len() as u64 <= MAX_SCHEDULE + 3);
    }
}
