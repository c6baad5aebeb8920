//! By a key on a ring of points (ketama), as nginx's `hash … consistent` and as Cache::Memcached::Fast.
use super::crc::Crc;
use super::round_robin::RoundRobin;
use super::shares::TRIES;
use super::{Balancer, By, Choice};
use crate::upstream::config::UpstreamServer;

/// Points of a server, times its weight.
const POINTS: u64 = 160;
/// Points of a group, to which the weights are scaled down: it bounds the memory (16 bytes each).
const MAX_POINTS: u64 = 4 << 20;

/// The ring: a key belongs to the server of the first point at or after its hash.
#[derive(Debug)]
pub struct ConsistentHash {
    points: Vec<(u32, u32)>,
    turns: RoundRobin,
}

/// The host and the port that a server's points are made of: digits after the last colon are a port.
fn host_and_port(address: &str) -> (&str, &str) {
    if let Some(path) = address.strip_prefix("unix:") {
        return (path, "");
    }
    let split = address.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    split.unwrap_or((address, ""))
}

impl Balancer for ConsistentHash {
    fn new(servers: &[UpstreamServer], backup: bool) -> Self {
        let members = || servers.iter().enumerate().filter(|(_, server)| server.backup == backup);
        let wanted: u64 = members().map(|(_, server)| u64::from(server.weight) * POINTS).sum();
        let scale = wanted.div_ceil(MAX_POINTS).max(1);
        let mut points = Vec::new();
        for (index, server) in members() {
            let (host, port) = host_and_port(&server.address);
            let base = Crc::new().with(host.as_bytes()).with(b"\0").with(port.as_bytes());
            let mut last = 0u32;
            for _ in 0..(u64::from(server.weight) * POINTS).div_ceil(scale) {
                last = base.with(&last.to_le_bytes()).sum();
                points.push((last, index as u32));
            }
        }
        points.sort_by_key(|(hash, _)| *hash);
        points.dedup_by_key(|(hash, _)| *hash);
        Self { points, turns: RoundRobin::new(servers, backup) }
    }

    fn by(&self) -> By {
        By::Key
    }

    fn pick(&self, choice: &Choice<'_>) -> Option<usize> {
        if choice.key.is_empty() {
            return self.turns.pick(choice);
        }
        let hash = Crc::new().with(choice.key).sum();
        let first = self.points.partition_point(|(point, _)| *point < hash);
        let (before, after) = self.points.split_at(first);
        let mut ring = after.iter().chain(before).map(|(_, server)| *server as usize).take(TRIES + 1);
        ring.find(|server| choice.open(*server)).or_else(|| self.turns.pick(choice))
    }
}
