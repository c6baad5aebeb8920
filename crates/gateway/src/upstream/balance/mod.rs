//! Balancers: which server of a group is asked. A new one is a file here and a row of `balancers!` below.
//!
//! What a balancer remembers is the group's: all threads share it, and it stays over a reload that doesn't change the group (nginx
//! does so with `zone`). It is in atomics; two threads that choose at the same moment may disturb the order, never the counts.
mod consistent_hash;
mod crc;
mod hash;
mod ip_hash;
mod least_conn;
mod random;
mod random_two;
mod round_robin;
mod shares;

use super::Server;
use crate::upstream::config::UpstreamServer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a balancer chooses by.
pub struct Choice<'a> {
    /// What requests that belong together have in common; empty without such a thing.
    pub key: &'a [u8],
    /// The servers, with their health and the requests they are busy with.
    pub servers: &'a [Server],
    /// Milliseconds on the thread's clock.
    pub now: u64,
    /// Makes a random number.
    pub random: fn() -> u64,
    /// Servers this request has tried.
    pub tried: &'a [usize],
    /// Choose among the backup servers.
    pub backup: bool,
}

impl Choice<'_> {
    /// The server may be chosen.
    pub fn open(&self, server: usize) -> bool {
        let known = &self.servers[server];
        known.config.backup == self.backup && known.available(self.now) && !self.tried.contains(&server)
    }
}

/// What requests that belong together have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// Nothing.
    #[default]
    Nothing,
    /// The client's address.
    Address,
    /// The value of the group's `key`.
    Key,
}

/// Chooses a server.
pub trait Balancer: Send + Sync {
    /// A balancer of these servers: of those that are backups, or of those that are none.
    fn new(servers: &[UpstreamServer], backup: bool) -> Self
    where
        Self: Sized;

    /// What [`Choice::key`] has to be.
    fn by(&self) -> By {
        By::Nothing
    }

    /// An open server, or `None` if there is none.
    fn pick(&self, choice: &Choice<'_>) -> Option<usize>;
}

/// Makes of the list of balancers the words a configuration has for them, and what each makes.
macro_rules! balancers {
    ($($(#[$meta:meta])* $name:ident = $balancer:ty,)*) => {
        /// How a server of a group is chosen.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Balance {
            $($(#[$meta])* $name,)*
        }

        impl Balance {
            /// The balancer of these servers.
            pub fn of(self, servers: &[UpstreamServer], backup: bool) -> Box<dyn Balancer> {
                match self {
                    $(Self::$name => Box::new(<$balancer as Balancer>::new(servers, backup)),)*
                }
            }
        }
    };
}

balancers! {
    /// In turn, by weight.
    #[default]
    RoundRobin = round_robin::RoundRobin,
    /// The server that is busy with the fewest requests for its weight; in turn among equals (nginx: `least_conn`).
    LeastConn = least_conn::LeastConn,
    /// By the client's address: the first three octets of IPv4, all of IPv6 (nginx: `ip_hash`).
    IpHash = ip_hash::IpHash,
    /// By the value of `key` (nginx: `hash`).
    Hash = hash::Hash,
    /// By the value of `key`; if a server leaves, only its own keys move (nginx: `hash … consistent`).
    ConsistentHash = consistent_hash::ConsistentHash,
    /// At random, by weight (nginx: `random`).
    Random = random::Random,
    /// Of two at random the one that is busy with fewer requests for its weight (nginx: `random two`).
    RandomTwo = random_two::RandomTwo,
}

#[cfg(test)]
mod tests;
