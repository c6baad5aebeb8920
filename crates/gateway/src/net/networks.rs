//! Sets of networks, and addresses as header fields have them.
use crate::net::peer::Peer;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// A set of networks.
#[derive(Debug, Default)]
pub struct Networks {
    any: bool,
    unix: bool,
    nets: Vec<IpNet>,
}

impl Networks {
    /// Parses `10.0.0.0/8`, `::1`, `unix`, `*`.
    pub fn parse(items: &[String]) -> Result<Self, String> {
        let mut networks = Self::default();
        for item in items {
            match item.trim() {
                "*" => networks.any = true,
                "unix" | "unix:" => networks.unix = true,
                text => networks.nets.push(parse_network(text)?),
            }
        }
        Ok(networks)
    }

    /// No network at all.
    pub fn is_empty(&self) -> bool {
        !self.any && !self.unix && self.nets.is_empty()
    }

    /// The peer is in one of them.
    pub fn contains(&self, peer: &Peer) -> bool {
        if self.any {
            return true;
        }
        match peer.ip() {
            None => self.unix,
            Some(ip) => self.nets.iter().any(|net| net.contains(&ip)),
        }
    }
}

/// A network (`10.0.0.0/8`), or an address as the network of it alone.
pub(crate) fn parse_network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    network.ok_or_else(|| format!("{text:?} is not an address, a network like 10.0.0.0/8, \"unix\" or \"*\""))
}

/// `1.2.3.4`, `1.2.3.4:5`, `::1`, `[::1]`, `[::1]:5`.
pub(crate) fn parse_address(text: &[u8]) -> Option<Peer> {
    let text = text.trim_ascii();
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return Some(Peer::Ip(addr));
    }
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    bare.parse::<IpAddr>().ok().map(|ip| Peer::Ip(SocketAddr::new(ip, 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(items: &[&str]) -> Networks {
        Networks::parse(&items.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn networks_say_what_they_cannot_read() {
        for text in ["10.0.0.0/33", "x", "10.0.0.0/", "::/129"] {
            assert!(parse_network(text).unwrap_err().contains(text));
        }
        assert!(nets(&["0.0.0.0/0"]).contains(&Peer::Ip("8.8.8.8:1".parse().unwrap())));
        assert!(nets(&["10.0.0.0/8"]).contains(&Peer::Ip("[::ffff:10.2.3.4]:1".parse().unwrap())));
    }
}
