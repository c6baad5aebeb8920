//! Client addresses and networks (`@ipMatch`).
use super::read_lines;
use std::net::IpAddr;
use std::path::Path;

/// Networks, as ranges that are sorted and don't overlap: a look-up is a binary search.
#[derive(Debug)]
pub(super) struct Addresses {
    v4: Vec<(u128, u128)>,
    v6: Vec<(u128, u128)>,
}

impl Addresses {
    /// Addresses and networks (`192.0.2.0/24`, `2001:db8::/32`), separated by commas.
    pub(super) fn list(argument: &str) -> Result<Self, String> {
        let items = argument.split(',').map(str::trim).filter(|item| !item.is_empty());
        Self::new(&items.map(network).collect::<Result<Vec<_>, _>>()?)
    }

    /// The same, from files with one on a line.
    pub(super) fn files(argument: &str, base: &Path) -> Result<Self, String> {
        let mut networks = Vec::new();
        read_lines(argument, base, |line| {
            networks.push(network(line)?);
            Ok(())
        })?;
        Self::new(&networks)
    }

    fn new(networks: &[(bool, u128, u128)]) -> Result<Self, String> {
        if networks.is_empty() {
            return Err("has no address".into());
        }
        let family = |v6: bool| {
            let ranges = networks.iter().filter(|(is_v6, ..)| *is_v6 == v6).map(|(_, first, last)| (*first, *last));
            merge(ranges.collect())
        };
        Ok(Self { v4: family(false), v6: family(true) })
    }

    /// Whether the text is an address in one of the networks.
    pub(super) fn contain(&self, input: &[u8]) -> bool {
        let Some(address) = std::str::from_utf8(input).ok().and_then(|text| text.trim().parse::<IpAddr>().ok()) else {
            return false;
        };
        let (v6, number) = bits(address);
        let ranges = if v6 { &self.v6 } else { &self.v4 };
        let after = ranges.partition_point(|(first, _)| *first <= number);
        after.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|(_, last)| number <= *last)
    }
}

fn bits(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(address) => (false, u32::from(address).into()),
        IpAddr::V6(address) => (true, address.into()),
    }
}

fn merge(mut ranges: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1 => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// Family, first and last address of a network. Bits beyond the prefix are ignored, as ModSecurity does.
fn network(text: &str) -> Result<(bool, u128, u128), String> {
    let wrong = || format!("{text} is no address or network");
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let (v6, number) = bits(address.trim().parse().map_err(|_| wrong())?);
    let width = if v6 { 128 } else { 32 };
    let prefix: u32 = prefix.map_or(Ok(width), |prefix| prefix.trim().parse().map_err(|_| wrong()))?;
    if prefix > width {
        return Err(wrong());
    }
    let rest = width - prefix;
    let hosts = 1_u128.checked_shl(rest).map_or(u128::MAX, |size| size - 1);
    Ok((v6, number & !hosts, number | hosts))
}
