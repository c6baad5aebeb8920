//! A variable whose value depends on an address (nginx: geo).
//!
//! Networks and ranges become one sorted list of disjoint intervals, so that a request costs a binary search whatever their
//! number. A longer prefix lies over a shorter one, a later range over an earlier one.
use crate::access::realip::RealIp;
use crate::exchange::Exchange;
use crate::net::networks::{Networks, parse_address, parse_network};
use crate::net::peer::Peer;
use crate::scope::{Definition, Found};
use crate::vars::{Names, Sent, Template};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};

/// A value by an address.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Geo")]
pub struct Config {
    /// The address, a text with variables. Default: the client's.
    pub source: Option<String>,
    /// Values by network (`10.0.0.0/8`, `2001:db8::/32`) or by range (`10.0.0.1-10.0.0.9`). The longest network wins, the later range.
    pub networks: Vec<(String, String)>,
    /// Value of other addresses. Default: empty.
    pub default: String,
    /// Networks of proxies, whose X-Forwarded-For is believed. Default: none.
    pub proxies: Vec<String>,
    /// Of several addresses in X-Forwarded-For the last that is no proxy's counts, instead of the last. Default: false.
    pub proxy_recursive: bool,
    /// The value is looked for anew each time it is used. Default: false, it is kept for the request.
    pub volatile: bool,
}

/// Compiled networks.
pub struct Geo {
    source: Option<Template>,
    v4: Intervals,
    v6: Intervals,
    proxies: Option<RealIp>,
    results: Vec<Template>,
    pub(super) volatile: bool,
}

/// Where intervals begin, and their results.
#[derive(Debug, Default)]
struct Intervals(Vec<(u128, u32)>);

/// Intervals while they are painted over one another.
#[derive(Default)]
struct Painted(BTreeMap<u128, u32>);

impl Painted {
    fn at(&self, point: u128) -> u32 {
        self.0.range(..=point).next_back().map_or(0, |(_, result)| *result)
    }

    fn paint(&mut self, first: u128, last: u128, result: u32) {
        if let Some(behind) = last.checked_add(1) {
            let after = self.at(behind);
            self.0.insert(behind, after);
        }
        let covered: Vec<u128> = self.0.range(first..=last).map(|(start, _)| *start).collect();
        for start in covered {
            self.0.remove(&start);
        }
        self.0.insert(first, result);
    }

    fn finish(self) -> Intervals {
        let mut list: Vec<(u128, u32)> = self.0.into_iter().collect();
        list.dedup_by_key(|(_, result)| *result);
        Intervals(list)
    }
}

impl Intervals {
    fn find(&self, point: u128) -> u32 {
        let after = self.0.partition_point(|(start, _)| *start <= point);
        after.checked_sub(1).map_or(0, |at| self.0[at].1)
    }
}

impl Geo {
    /// Compiles networks.
    pub fn compile(config: &Config, names: &Names) -> Result<Self, String> {
        let source = config.source.as_deref().map(|source| Template::compile(source, names)).transpose();
        let mut results = vec![Template::text(&config.default)];
        let mut known: HashMap<&str, u32> = HashMap::from([(config.default.as_str(), 0)]);
        let mut items = Vec::with_capacity(config.networks.len());
        for (network, value) in &config.networks {
            let result = *known.entry(value).or_insert_with(|| {
                results.push(Template::text(value));
                results.len() as u32 - 1
            });
            let (v4, first, last) = bounds(network)?;
            items.push((v4, first, last, result));
        }
        // Ranges keep their order; of networks the longer ones, which are smaller, come last.
        if !config.networks.iter().any(|(network, _)| network.contains('-')) {
            items.sort_by_key(|(_, first, last, _)| std::cmp::Reverse(last - first));
        }
        let (mut v4, mut v6) = (Painted::default(), Painted::default());
        for (is_v4, first, last, result) in items {
            if is_v4 { &mut v4 } else { &mut v6 }.paint(first, last, result);
        }
        let proxies = match config.proxies.as_slice() {
            [] => None,
            list => Some(RealIp::forwarded_for(Networks::parse(list)?, config.proxy_recursive)),
        };
        let source = source.map_err(|e| format!("source: {e}"))?;
        Ok(Self { source, v4: v4.finish(), v6: v6.finish(), proxies, results, volatile: config.volatile })
    }
}

impl Definition for Geo {
    fn find(&self, ex: &Exchange, sent: Sent<'_>) -> Found {
        let mut peer = match &self.source {
            None => Some(ex.client.addr),
            Some(source) => parse_address(&source.value(ex, sent)),
        };
        if let (Some(proxies), Some(known)) = (&self.proxies, peer) {
            peer = proxies.find(known, &ex.request.headers).or(peer);
        }
        // What is no address counts as one that no client has.
        let ip = peer.as_ref().and_then(Peer::ip).unwrap_or(IpAddr::V4(Ipv4Addr::BROADCAST));
        Found::Result(match ip {
            IpAddr::V4(ip) => self.v4.find(u128::from(u32::from(ip))),
            IpAddr::V6(ip) => self.v6.find(u128::from(ip)),
        })
    }

    fn result(&self, number: u32) -> Option<&Template> {
        self.results.get(number as usize)
    }

    fn volatile(&self) -> bool {
        self.volatile
    }
}

/// First and last address of a network or range, and whether it is IPv4.
fn bounds(text: &str) -> Result<(bool, u128, u128), String> {
    let number = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    };
    if let Some((first, last)) = text.split_once('-') {
        let parse = |end: &str| {
            end.trim().parse::<IpAddr>().map_err(|_| format!("{end:?} in the range {text:?} is not an address"))
        };
        let (first, last) = (parse(first)?, parse(last)?);
        if first.is_ipv4() != last.is_ipv4() || number(first) > number(last) {
            return Err(format!("{text:?} is not a range: its first address comes first"));
        }
        return Ok((first.is_ipv4(), number(first), number(last)));
    }
    let network = parse_network(text)?;
    Ok((network.addr().is_ipv4(), number(network.network()), number(network.broadcast())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geo(networks: &[(&str, &str)]) -> Geo {
        let networks = networks.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Geo::compile(&Config { networks, default: "none".into(), ..Config::default() }, &Names::default()).unwrap()
    }

    fn find<'g>(geo: &'g Geo, ip: &str) -> &'g str {
        let number = match ip.parse::<IpAddr>().unwrap() {
            IpAddr::V4(ip) => geo.v4.find(u128::from(u32::from(ip))),
            IpAddr::V6(ip) => geo.v6.find(u128::from(ip)),
        };
        std::str::from_utf8(geo.result(number).unwrap().as_text().unwrap()).unwrap()
    }

    #[test]
    fn the_longest_network_wins_whatever_its_place() {
        let geo = geo(&[
            ("10.1.2.3/32", "host"),
            ("10.1.0.0/16", "net"),
            ("10.0.0.0/8", "big"),
            ("10.1.255.0/24", "end"),
            ("2001:db8::/32", "six"),
            ("2001:db8:1::/48", "inner"),
            ("::/0", "all six"),
        ]);
        for (ip, value) in [
            ("10.1.2.3", "host"),
            ("10.1.2.4", "net"),
            ("10.1.2.2", "net"),
            ("10.1.255.255", "end"),
            ("10.2.0.0", "big"),
            ("10.255.255.255", "big"),
            ("11.0.0.0", "none"),
            ("9.255.255.255", "none"),
            ("255.255.255.255", "none"),
            ("2001:db8::1", "six"),
            ("2001:db8:1::1", "inner"),
            ("2001:db8:2::", "six"),
            ("ffff::", "all six"),
        ] {
            assert_eq!(find(&geo, ip), value, "{ip}");
        }
    }

    #[test]
    fn later_ranges_lie_over_earlier_ones() {
        let geo = geo(&[
            ("10.0.0.0-10.0.0.255", "a"),
            ("10.0.0.10-10.0.0.20", "b"),
            ("10.0.0.15-10.0.1.5", "c"),
            ("255.255.255.255-255.255.255.255", "last"),
        ]);
        for (ip, value) in [
            ("10.0.0.9", "a"),
            ("10.0.0.10", "b"),
            ("10.0.0.14", "b"),
            ("10.0.0.15", "c"),
            ("10.0.1.5", "c"),
            ("10.0.1.6", "none"),
            ("255.255.255.255", "last"),
        ] {
            assert_eq!(find(&geo, ip), value, "{ip}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["10.0.0.9-10.0.0.1", "10.0.0.1-::1", "x", "10.0.0.1-x"] {
            assert!(bounds(text).is_err(), "{text}");
        }
        assert_eq!(bounds("10.0.0.1-x").unwrap_err(), r#""x" in the range "10.0.0.1-x" is not an address"#);
    }
}
