//! Decisions against nginx's handler, written out anew from its source's arithmetic, on random arrivals with a clock of the test's own.
use super::*;
use crate::limit::bucket::Rate;
use crate::limit::zone::{ConnConfig, ReqConfig};
use crate::units::Size;
use crate::vars::Names;
use std::collections::{BTreeMap, HashMap};

/// nginx's arithmetic with its own types: `ngx_http_limit_req_lookup`, `ngx_http_limit_req_account` and the handler around them.
mod reference {
    use std::collections::HashMap;

    #[derive(Clone, Copy)]
    pub struct Node {
        pub excess: usize,
        pub last: usize,
    }

    #[derive(Clone, Copy)]
    pub struct Limit {
        pub zone: usize,
        pub rate: usize,
        pub burst: usize,
        pub delay: usize,
    }

    #[derive(Debug, PartialEq, Eq)]
    pub enum Outcome {
        Declined,
        Passed,
        Delayed(usize),
        Rejected(usize),
    }

    /// The nodes of all zones, and the order in which they were used, the newest first.
    #[derive(Default)]
    pub struct Nodes {
        tree: HashMap<(usize, u64), Node>,
        queues: HashMap<usize, Vec<u64>>,
    }

    impl Nodes {
        fn find(&mut self, limit: Limit, key: u64) -> Option<&mut Node> {
            let node = self.tree.get_mut(&(limit.zone, key))?;
            let queue = self.queues.entry(limit.zone).or_default();
            queue.retain(|one| *one != key);
            queue.insert(0, key);
            Some(node)
        }

        fn create(&mut self, limit: Limit, key: u64, last: usize, now: usize) {
            // ngx_http_limit_req_expire(ctx, 1)
            for _ in 1..3 {
                let Some(oldest) = self.queues.get(&limit.zone).and_then(|queue| queue.last().copied()) else { break };
                let node = self.tree[&(limit.zone, oldest)];
                let ms = (now.wrapping_sub(node.last) as isize).abs();
                if ms < 60000 || (node.excess as isize - (limit.rate * ms as usize / 1000) as isize) > 0 {
                    break;
                }
                self.tree.remove(&(limit.zone, oldest));
                self.queues.get_mut(&limit.zone).unwrap().pop();
            }
            self.tree.insert((limit.zone, key), Node { excess: 0, last });
            self.queues.entry(limit.zone).or_default().insert(0, key);
        }
    }

    fn excess(node: Node, rate: usize, now: usize) -> (isize, isize) {
        let mut ms = now.wrapping_sub(node.last) as isize;
        if ms < -60000 {
            ms = 1;
        } else if ms < 0 {
            ms = 0;
        }
        let excess = node.excess.wrapping_sub(rate.wrapping_mul(ms as usize) / 1000).wrapping_add(1000) as isize;
        (excess.max(0), ms)
    }

    pub fn handle(nodes: &mut Nodes, limits: &[Limit], keys: &[Option<u64>], now: usize) -> Outcome {
        let (mut found, mut last_excess, mut rc) = (vec![], 0, "declined");
        let mut n = 0;
        let mut at = 0;
        while n < limits.len() {
            at = n;
            let limit = limits[n];
            let Some(key) = keys[n] else {
                n += 1;
                continue;
            };
            let account = n == limits.len() - 1;
            if let Some(node) = nodes.find(limit, key) {
                let (excess, ms) = excess(*node, limit.rate, now);
                last_excess = excess as usize;
                if last_excess > limit.burst {
                    return Outcome::Rejected(last_excess);
                }
                if account {
                    node.excess = last_excess;
                    node.last = if ms == 0 { node.last } else { now };
                }
            } else {
                last_excess = 0;
                nodes.create(limit, key, if account { now } else { 0 }, now);
            }
            if account {
                rc = "ok";
                break;
            }
            found.push(n);
            rc = "again";
            n += 1;
        }
        if rc == "declined" {
            return Outcome::Declined;
        }
        if rc == "again" {
            last_excess = 0;
        }
        let limit = limits[at];
        let mut max_delay =
            if last_excess <= limit.delay { 0 } else { (last_excess - limit.delay) * 1000 / limit.rate };
        for n in found.into_iter().rev() {
            let limit = limits[n];
            let node = nodes.tree.get_mut(&(limit.zone, keys[n].unwrap())).unwrap();
            let (excess, ms) = excess(*node, limit.rate, now);
            node.last = if ms == 0 { node.last } else { now };
            node.excess = excess as usize;
            if excess as usize > limit.delay {
                max_delay = max_delay.max((excess as usize - limit.delay) * 1000 / limit.rate);
            }
        }
        if max_delay == 0 { Outcome::Passed } else { Outcome::Delayed(max_delay) }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn zones(rates: &[u64]) -> Zones {
    let named = |(i, rate): (usize, &u64)| {
        // Of one part: in what order keys go is by part.
        let config = ReqConfig { key: "$uri".into(), size: Size(32 << 10), rate: *rate, ..ReqConfig::default() };
        (format!("z{i}"), config)
    };
    let req: BTreeMap<_, _> = rates.iter().enumerate().map(named).collect();
    Zones::compile(&req, &BTreeMap::<String, ConnConfig>::new(), &Names::default(), None).unwrap()
}

fn limits(zones: &Zones, limits: &[LimitReq]) -> ReqLimits {
    let compile = |limit: &LimitReq| Limit {
        zone: zones.req[&*limit.zone].clone(),
        burst: u64::from(limit.burst) * 1000,
        delay: if limit.nodelay { u64::MAX } else { u64::from(limit.delay) * 1000 },
    };
    ReqLimits { limits: limits.iter().map(compile).collect(), settings: Settings::default() }
}

fn ask(limits: &ReqLimits, keys: &[Option<u64>], now: u64) -> Decision {
    let keys = limits.limits.iter().zip(keys);
    let keys = keys.map(|(limit, key)| key.map(|key| limit.zone.table.find(&key.to_be_bytes())));
    limits.walk(keys, now, None)
}

fn same(decision: &Decision, reference: &reference::Outcome) -> bool {
    match reference {
        reference::Outcome::Declined => *decision == Decision::default(),
        reference::Outcome::Passed => decision.status == Some("PASSED") && decision.delay == 0,
        reference::Outcome::Delayed(ms) => decision.status == Some("DELAYED") && decision.delay == *ms as u64,
        reference::Outcome::Rejected(excess) => {
            let text = format!("excess: {}.{:03} ", excess / 1000, excess % 1000);
            decision.rejected && decision.told.as_ref().is_some_and(|(_, told)| told.contains(&text))
        }
    }
}

#[test]
fn ten_thousand_random_sequences_are_decided_as_by_nginx() {
    let mut random = Random(0x1234_5678_9abc_def1);
    let mut seen: HashMap<&str, u32> = HashMap::new();
    for sequence in 0..10_000 {
        let count = 1 + random.below(3) as usize;
        // Some as nginx reads 1r/m and 10r/m, some fast.
        let rates: Vec<u64> =
            (0..count).map(|_| [16, 166, 1000, 3000, 50_000, 1_000_000][random.below(6) as usize]).collect();
        let zones = zones(&rates);
        let rules: Vec<_> = (0..count)
            .map(|i| LimitReq {
                zone: format!("z{i}"),
                burst: random.below(5) as u32,
                delay: random.below(4) as u32,
                nodelay: random.below(3) == 0,
            })
            .collect();
        let limits = limits(&zones, &rules);
        let of_nginx = |(i, rule): (usize, &LimitReq)| reference::Limit {
            zone: i,
            rate: rates[i] as usize,
            burst: rule.burst as usize * 1000,
            delay: if rule.nodelay { isize::MAX as usize } else { rule.delay as usize * 1000 },
        };
        let nginx: Vec<_> = rules.iter().enumerate().map(of_nginx).collect();
        let mut nodes = reference::Nodes::default();
        let mut now = 1_000_000 + random.below(1000);
        for _ in 0..20 {
            // Threads' clocks may be a little apart, so it goes back now and then.
            now = match random.below(8) {
                0 => now - random.below(5),
                1 => now,
                2 => now + random.below(100_000),
                _ => now + random.below(1500),
            };
            let keys: Vec<_> = (0..count).map(|_| (random.below(8) != 0).then(|| random.below(3))).collect();
            let (ours, theirs) = (ask(&limits, &keys, now), reference::handle(&mut nodes, &nginx, &keys, now as usize));
            assert!(
                same(&ours, &theirs),
                "sequence {sequence}, {rates:?} {rules:?} {keys:?} at {now}: {ours:?} {theirs:?}"
            );
            *seen.entry(ours.status.unwrap_or("")).or_default() += 1;
        }
    }
    for status in ["", "PASSED", "DELAYED", "REJECTED"] {
        assert!(seen[status] > 1000, "{seen:?}");
    }
}

#[test]
fn a_rate_by_the_day_is_not_rounded() {
    let day = Rate { milli: 100_000, period: 86_400 };
    assert_eq!((day.leaked(864_000), day.time(1000)), (1000, 864_000));
}
