//! The attempts of one request: which peer is asked, and whether another one is when it fails.
//!
//! Each server is tried once; of one that is a name each address is. Without I/O: the caller asks, and says what came of it.
use super::pool::{Members, Peer};
use super::resolve::Found;
use crate::backend::proxy::next::Next;
use crate::error::{Error, Side};
use std::rc::Rc;

/// What to do next.
pub enum Step {
    /// Ask this peer.
    Ask(Rc<Peer>),
    /// Look up the name of this server, and call [`Attempts::found`] or [`Attempts::not_found`].
    LookUp(usize),
    /// There is nobody to ask: all are down, busy, unavailable or were tried.
    Nobody,
}

/// What a failure leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Another attempt may be made.
    pub again: bool,
    /// The peer has become unavailable.
    pub unavailable: bool,
}

/// The addresses of the server whose turn it is.
struct Round {
    server: usize,
    peers: Rc<[Rc<Peer>]>,
    /// The first that is asked.
    start: usize,
    /// A bit for each that was asked.
    asked: u64,
    /// The one that is being asked.
    current: usize,
    /// The addresses are those of a name.
    named: bool,
}

impl Round {
    fn new(server: usize, peers: Rc<[Rc<Peer>]>, start: usize, named: bool) -> Self {
        Self { server, peers, start, asked: 0, current: 0, named }
    }

    fn next(&mut self, now: u64) -> Option<Rc<Peer>> {
        let count = self.peers.len();
        let order = (0..count).map(|i| (self.start + i) % count);
        let mut left = order.filter(|i| self.asked & (1 << i) == 0);
        let first = left.clone().next()?;
        let available = left.find(|i| !self.named || self.peers[*i].health.available(now));
        // The server was chosen, so one of its addresses is asked in any case.
        self.current = available.or((self.asked == 0).then_some(first))?;
        self.asked |= 1 << self.current;
        Some(self.peers[self.current].clone())
    }

    fn is_over(&self) -> bool {
        self.asked.count_ones() as usize >= self.peers.len()
    }
}

/// The attempts of one request.
pub struct Attempts {
    members: Rc<Members>,
    next: Next,
    /// What the balancer chooses by.
    key: Vec<u8>,
    /// When the first was made, in milliseconds on the thread's clock.
    began: u64,
    /// The request may be sent twice.
    repeatable: bool,
    made: u32,
    /// Servers that are done with.
    tried: Vec<usize>,
    round: Option<Round>,
    /// Another peer may be asked after the present one.
    more: bool,
}

impl Attempts {
    /// None so far. `key`: what the balancer chooses by; `repeatable`: the request may be sent twice, and its body is at hand.
    pub fn new(members: Rc<Members>, next: Next, key: Vec<u8>, began: u64, repeatable: bool) -> Self {
        Self { members, next, key, began, repeatable, made: 0, tried: Vec::new(), round: None, more: false }
    }

    /// How many were made.
    pub fn made(&self) -> u32 {
        self.made
    }

    /// What to do next.
    pub fn step(&mut self, now: u64) -> Step {
        loop {
            if let Some(peer) = self.round.as_mut().and_then(|round| round.next(now)) {
                return self.ask(peer, now);
            }
            if let Some(round) = self.round.take() {
                self.tried.push(round.server);
            }
            let picked = self.members.group.pick(&self.key, &self.tried, now);
            let Some(server) = picked else { return Step::Nobody };
            let Some(peers) = self.members.peers(server) else { return Step::LookUp(server) };
            self.round = Some(Round::new(server, peers, 0, false));
        }
    }

    /// The addresses of a server's name.
    pub fn found(&mut self, server: usize, found: &Found) {
        let (peers, start) = self.members.found(server, found);
        self.round = Some(Round::new(server, peers, start, true));
    }

    /// A server's name could not be looked up, which counts as an attempt.
    pub fn not_found(&mut self, server: usize, failure: &Error, now: u64) -> Verdict {
        self.made += 1;
        self.tried.push(server);
        self.more = self.may_go_on(now);
        let unavailable = self.members.group.servers[server].health.failed(now);
        Verdict { again: self.more && self.next.after(failure.kind), unavailable }
    }

    fn ask(&mut self, peer: Rc<Peer>, now: u64) -> Step {
        self.made += 1;
        self.more = self.may_go_on(now);
        peer.server().health.picked(now);
        peer.health.picked(now);
        Step::Ask(peer)
    }

    fn late(&self, now: u64) -> bool {
        self.next.timeout_ms != 0 && now.saturating_sub(self.began) >= self.next.timeout_ms
    }

    fn may_go_on(&self, now: u64) -> bool {
        let done = self.tried.len() + usize::from(self.round.is_some());
        let left = self.round.as_ref().is_some_and(|round| !round.is_over()) || done < self.members.group.up();
        left && (self.next.tries == 0 || self.made < self.next.tries) && !self.late(now)
    }

    /// Another peer may be asked instead of passing the present one's response on.
    pub fn may_pass_over(&self) -> bool {
        self.more && self.repeatable
    }

    /// The peer's response is passed on.
    pub fn passed(&self) {
        let Some(round) = &self.round else { return };
        round.peers[round.current].health.succeeded();
        if round.named {
            self.members.group.servers[round.server].health.succeeded();
        }
    }

    /// The peer responded with a status that leads to another one. Returns whether it has become unavailable.
    pub fn passed_over(&self, status: u16, now: u64) -> bool {
        // These say nothing bad about the server.
        !matches!(status, 403 | 404) && self.fail(now)
    }

    /// The peer failed.
    pub fn failed(&self, failure: &Error, now: u64) -> Verdict {
        let unavailable = failure.kind.side() == Side::Upstream && self.fail(now);
        let safe = failure.kind.nothing_sent() || self.repeatable;
        Verdict { again: safe && self.more && !self.late(now) && self.next.after(failure.kind), unavailable }
    }

    fn fail(&self, now: u64) -> bool {
        let Some(round) = &self.round else { return false };
        let unavailable = round.peers[round.current].health.failed(now);
        if unavailable && round.named && !round.peers.iter().any(|peer| peer.health.available(now)) {
            self.members.group.servers[round.server].health.unavailable(now);
        }
        unavailable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::proxy::config::{NextUpstream, Settings};
    use crate::error::Kind;
    use crate::units::Millis;
    use crate::upstream::Group;
    use crate::upstream::config::{Upstream, UpstreamServer};
    use std::net::IpAddr;
    use std::sync::Arc;

    fn members(addresses: &[&str]) -> Rc<Members> {
        let server = |address: &&str| UpstreamServer { address: (*address).into(), ..UpstreamServer::default() };
        let config = Upstream { server: addresses.iter().map(server).collect(), ..Upstream::default() };
        Rc::new(Members::new(&Arc::new(Group::compile("g", &config).unwrap())))
    }

    fn attempts(members: &Rc<Members>, settings: &Settings, repeatable: bool) -> Attempts {
        Attempts::new(members.clone(), Next::compile(settings), Vec::new(), 0, repeatable)
    }

    /// The name of who is asked next; names are looked up with these addresses.
    fn next(attempts: &mut Attempts, addresses: &[u8], now: u64) -> String {
        loop {
            match attempts.step(now) {
                Step::Ask(peer) => return (*peer.name).to_owned(),
                Step::Nobody => return String::new(),
                Step::LookUp(server) => {
                    let addresses: Rc<[IpAddr]> = addresses.iter().map(|n| IpAddr::from([127, 0, 0, *n])).collect();
                    attempts.found(server, &Found { addresses, ordered: true });
                }
            }
        }
    }

    fn failure(kind: Kind) -> Error {
        Error::new(kind, "")
    }

    #[test]
    fn each_server_is_asked_once() {
        let mut attempts = attempts(&members(&["127.0.0.1:1", "127.0.0.1:2"]), &Settings::default(), true);
        assert_eq!(next(&mut attempts, &[], 1), "127.0.0.1:1");
        assert!(attempts.failed(&failure(Kind::UpstreamConnect), 1).again);
        assert_eq!(next(&mut attempts, &[], 1), "127.0.0.1:2");
        assert!(!attempts.failed(&failure(Kind::UpstreamConnect), 1).again);
        assert_eq!((next(&mut attempts, &[], 1), attempts.made()), (String::new(), 2));
    }

    #[test]
    fn what_was_sent_is_sent_again_only_if_that_is_safe() {
        let members = members(&["127.0.0.1:1", "127.0.0.1:2"]);
        for (repeatable, kind, again) in [
            (true, Kind::UpstreamClosed, true),
            (false, Kind::UpstreamClosed, false),
            (false, Kind::UpstreamConnect, true),
            (true, Kind::UpstreamTimeout, false),
        ] {
            let mut attempts = attempts(&members, &Settings::default(), repeatable);
            next(&mut attempts, &[], 1);
            assert_eq!(attempts.failed(&failure(kind), 1).again, again, "{repeatable} {kind:?}");
        }
    }

    #[test]
    fn every_address_of_a_name_is_a_peer() {
        let members = members(&["name:1", "127.0.0.9:1"]);
        let mut first = attempts(&members, &Settings::default(), true);
        let asked: Vec<_> = (0..4)
            .map(|_| {
                let name = next(&mut first, &[1, 2], 1);
                first.failed(&failure(Kind::UpstreamConnect), 1);
                name
            })
            .collect();
        assert_eq!(asked, ["127.0.0.1:1", "127.0.0.2:1", "127.0.0.9:1", ""]);
        assert!(!members.group.servers[0].available(2), "no address of it is available");
    }

    #[test]
    fn an_address_that_failed_is_passed_over_by_the_next_requests() {
        let members = members(&["name:1"]);
        let ask = |fails: bool| {
            let mut attempts = attempts(&members, &Settings::default(), true);
            let name = next(&mut attempts, &[1, 2], 1);
            if fails {
                attempts.failed(&failure(Kind::UpstreamConnect), 1);
            } else {
                attempts.passed();
            }
            name
        };
        assert_eq!([ask(true), ask(false), ask(false)], ["127.0.0.1:1", "127.0.0.2:1", "127.0.0.2:1"]);
        assert!(members.group.servers[0].available(2));
    }

    #[test]
    fn attempts_end_with_their_number_and_time() {
        let members = members(&["name:1"]);
        let settings = Settings {
            proxy_next_upstream: Some(vec![NextUpstream::Http404]),
            proxy_next_upstream_tries: 2,
            proxy_next_upstream_timeout: Millis(100),
            ..Settings::default()
        };
        let mut number = attempts(&members, &settings, true);
        next(&mut number, &[1, 2, 3], 1);
        assert!(number.may_pass_over() && !number.passed_over(404, 1));
        next(&mut number, &[1, 2, 3], 1);
        assert!(!number.may_pass_over());
        let mut time = attempts(&members, &settings, true);
        next(&mut time, &[1, 2, 3], 100);
        assert!(!time.may_pass_over());
    }

    #[test]
    fn peers_stay_when_the_addresses_of_their_name_change() {
        let members = members(&["name:1"]);
        let found = |last: &[u8]| {
            let addresses: Rc<[IpAddr]> = last.iter().map(|n| IpAddr::from([127, 0, 0, *n])).collect();
            members.found(0, &Found { addresses, ordered: true }).0
        };
        let (before, after) = (found(&[1, 2]), found(&[2, 3]));
        assert!(Rc::ptr_eq(&before[1], &after[0]));
        assert_eq!((before.len(), after.len(), &*after[1].name), (2, 2, "127.0.0.3:1"));
    }
}
