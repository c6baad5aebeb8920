//! The other end of a connection.
use std::net::{IpAddr, SocketAddr};

/// The other end of a client connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// TCP.
    Ip(SocketAddr),
    /// A Unix socket; clients have no address.
    Unix,
}

impl Peer {
    /// Its IP address, if it has one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            // A v4 client of a dual-stack socket is a v4 client.
            Self::Ip(addr) => Some(addr.ip().to_canonical()),
            Self::Unix => None,
        }
    }

    /// Its port, 0 without one.
    pub fn port(&self) -> u16 {
        match self {
            Self::Ip(addr) => addr.port(),
            Self::Unix => 0,
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(addr) => SocketAddr::new(addr.ip().to_canonical(), addr.port()).fmt(f),
            Self::Unix => f.write_str("unix:"),
        }
    }
}
