//! Balancers: which server of a group is asked. A new one is one file and one line in [`BALANCERS`].
pub mod round_robin;

use super::Server;
use crate::upstream::config::UpstreamServer;
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
    /// An open server, or `None` if there is none.
    fn pick(&self, choice: &Choice<'_>) -> Option<usize>;
}

type Make = fn(&[UpstreamServer]) -> Box<dyn Balancer>;

/// The balancers by name.
const BALANCERS: &[(&str, Make)] = &[("round_robin", |servers| Box::new(round_robin::RoundRobin::new(servers)))];

/// Makes a balancer by its name.
pub fn compile(kind: &str, servers: &[UpstreamServer]) -> Result<Box<dyn Balancer>, String> {
    let found = BALANCERS.iter().find(|(name, _)| *name == kind);
    let known = || BALANCERS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let (_, make) = found.ok_or_else(|| format!("balance: unknown balancer {kind:?} (known: {})", known()))?;
    Ok(make(servers))
}
