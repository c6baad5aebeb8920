//! Balancers: which server of a group is asked. A new one is a file here and a row of `balancers!` below.
mod round_robin;

use super::Server;
use crate::upstream::config::UpstreamServer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::cell::Cell;

/// What a balancer chooses by.
pub struct Choice<'a> {
    /// What requests that belong together have in common; empty without such a thing.
    pub key: &'a [u8],
    /// The servers, with their health and the requests they are busy with.
    pub servers: &'a [Server],
    /// This thread's position in the group.
    pub cursor: &'a Cell<usize>,
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

/// Chooses a server.
pub trait Balancer: Send + Sync {
    /// A balancer of these servers.
    fn new(servers: &[UpstreamServer]) -> Self
    where
        Self: Sized;

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
            pub fn of(self, servers: &[UpstreamServer]) -> Box<dyn Balancer> {
                match self {
                    $(Self::$name => Box::new(<$balancer as Balancer>::new(servers)),)*
                }
            }
        }
    };
}

balancers! {
    /// In turn, by weight.
    #[default]
    RoundRobin = round_robin::RoundRobin,
}
