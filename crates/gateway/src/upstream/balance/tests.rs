//! What the balancers choose. That it is what nginx chooses, tests/upstream/test_nginx_balance.py asks nginx.
use super::*;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Balancers are asked through this, with servers that have some weights.
struct Asked {
    servers: Vec<Server>,
    balancer: Box<dyn Balancer>,
    tried: Vec<usize>,
}

/// Numbers that are spread evenly and always the same.
fn drawn() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed) >> 32
}

impl Asked {
    fn new(balance: Balance, weights: &[u32]) -> Self {
        let server = |(i, weight): (usize, &u32)| UpstreamServer {
            address: format!("127.0.0.1:{}", 8000 + i),
            weight: *weight,
            ..UpstreamServer::default()
        };
        let config: Vec<_> = weights.iter().enumerate().map(server).collect();
        let servers = config.iter().map(|server| Server::new(server).unwrap()).collect();
        Self { servers, balancer: balance.of(&config, false), tried: Vec::new() }
    }

    fn pick(&self, key: &str) -> Option<usize> {
        let choice = Choice {
            key: key.as_bytes(),
            servers: &self.servers,
            now: 1,
            random: drawn,
            tried: &self.tried,
            backup: false,
        };
        self.balancer.pick(&choice)
    }

    fn counts(&self, times: usize) -> Vec<usize> {
        let mut counts = vec![0; self.servers.len()];
        for n in 0..times {
            counts[self.pick(&format!("key{n}")).unwrap()] += 1;
        }
        counts
    }
}

const ALL: [Balance; 7] = [
    Balance::RoundRobin,
    Balance::LeastConn,
    Balance::IpHash,
    Balance::Hash,
    Balance::ConsistentHash,
    Balance::Random,
    Balance::RandomTwo,
];

#[test]
fn the_sum_is_that_of_ieee() {
    assert_eq!(crc::Crc::new().with(b"1234").with(b"56789").sum(), 0xcbf4_3926);
}

#[test]
fn all_choose_open_servers_only() {
    for balance in ALL {
        let mut asked = Asked::new(balance, &[3, 1, 1, 2]);
        asked.tried = vec![0, 1, 3];
        assert!((0..50).all(|n| asked.pick(&format!("{n}")) == Some(2)), "{balance:?}");
        asked.tried.push(2);
        assert_eq!(asked.pick("key"), None, "{balance:?}");
    }
}

#[test]
fn all_give_servers_their_shares() {
    for balance in ALL {
        let counts = Asked::new(balance, &[4, 1]).counts(5000);
        // Half of the pairs that are drawn are decided by load, which is equal here.
        assert!((3500..4500).contains(&counts[0]), "{balance:?} {counts:?}");
    }
}

#[test]
fn when_a_server_leaves_only_its_own_keys_move() {
    for balance in [Balance::Hash, Balance::ConsistentHash] {
        let mut asked = Asked::new(balance, &[1, 3, 2, 1, 1]);
        let keys: HashMap<String, _> =
            (0..10_000).map(|n| format!("key{n}")).map(|k| (k.clone(), asked.pick(&k))).collect();
        asked.tried.push(2);
        let moved = keys.iter().filter(|(key, server)| asked.pick(key) != **server).count();
        assert_eq!(moved, keys.values().filter(|server| **server == Some(2)).count(), "{balance:?}");
    }
    // Taken out of the file, too, where the hash is consistent: the names make the ring.
    let (with, without) = (Asked::new(Balance::ConsistentHash, &[1; 5]), Asked::new(Balance::ConsistentHash, &[1; 4]));
    let stays = |key: &String| with.pick(key) == Some(4) || with.pick(key) == without.pick(key);
    assert!((0..10_000).map(|n| format!("key{n}")).all(|key| stays(&key)));
}

#[test]
fn the_least_busy_for_its_weight_is_chosen_and_equals_take_turns() {
    let asked = Asked::new(Balance::LeastConn, &[2, 1, 1]);
    let mut order = Vec::new();
    for _ in 0..8 {
        let server = asked.pick("").unwrap();
        asked.servers[server].begin();
        order.push(server);
    }
    assert_eq!(order, [0, 1, 2, 0, 2, 0, 1, 0]);
    asked.servers[2].end();
    assert_eq!(asked.pick(""), Some(2));
}

#[test]
fn of_two_drawn_the_less_busy_is_chosen() {
    let asked = Asked::new(Balance::RandomTwo, &[1, 1]);
    asked.servers[0].begin();
    assert!((0..50).all(|_| asked.pick("") == Some(1)));
}

#[test]
fn without_a_key_servers_take_turns() {
    for balance in [Balance::Hash, Balance::ConsistentHash] {
        let asked = Asked::new(balance, &[1, 1, 1]);
        assert_eq!((0..6).map(|_| asked.pick("").unwrap()).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2], "{balance:?}");
    }
}
