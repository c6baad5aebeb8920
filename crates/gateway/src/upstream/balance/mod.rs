//! Balancers: which server of a group is asked. A new one is one file and one line in [`compile`].
pub mod round_robin;

use crate::config::UpstreamServer;

/// Chooses a server.
pub trait Balancer: Send + Sync {
    /// The index of an open server, or `None` when none is. `cursor` is this thread's place in the group.
    fn pick(&self, cursor: &mut usize, open: &dyn Fn(usize) -> bool) -> Option<usize>;
}

/// The balancers' names.
pub const KINDS: &[&str] = &["round_robin"];

/// Makes a balancer by its name.
pub fn compile(kind: &str, servers: &[UpstreamServer]) -> Result<Box<dyn Balancer>, String> {
    match kind {
        "round_robin" => Ok(Box::new(round_robin::RoundRobin::new(servers))),
        _ => Err(format!("balance: unknown balancer {kind:?} (known: {})", KINDS.join(", "))),
    }
}
