//! Connections per client address, counted over all threads.
use crate::net::peer::Peer;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

type Counts = Arc<Mutex<HashMap<IpAddr, u32>>>;

/// The counts. Only addresses with connections are kept, and only while a limit is set.
#[derive(Debug, Default)]
pub struct Places {
    counts: Counts,
}

/// A connection's place among those of its address; given back on drop.
#[derive(Debug, Default)]
pub struct Place {
    held: Option<(Counts, IpAddr)>,
}

impl Places {
    /// Takes a place for a connection of `peer`; `None` when `most` (0: any number) are taken. An IPv6 client is its /64.
    pub fn take(&self, peer: &Peer, most: u32) -> Option<Place> {
        let Some(ip) = peer.ip().map(network).filter(|_| most != 0) else { return Some(Place { held: None }) };
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(ip).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place { held: Some((self.counts.clone(), ip)) })
    }
}

fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        IpAddr::V4(_) => ip,
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((counts, ip)) = self.held.take() else { return };
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_per_address_and_given_back() {
        let places = Places::default();
        let peer = |text: &str| Peer::Ip(text.parse().unwrap());
        let first = places.take(&peer("1.1.1.1:1"), 1);
        assert!(first.is_some() && places.take(&peer("1.1.1.1:2"), 1).is_none());
        assert!(places.take(&peer("2.2.2.2:1"), 1).is_some());
        drop(first);
        assert!(places.take(&peer("1.1.1.1:3"), 1).is_some());
        let _v6 = places.take(&peer("[2001:db8::1]:1"), 1);
        assert!(places.take(&peer("[2001:db8::2]:1"), 1).is_none());
        assert!(places.counts.lock().unwrap().len() == 1 && places.take(&Peer::Unix, 1).is_some());
    }
}
