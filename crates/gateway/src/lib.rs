//! The data plane: `listen → tls → http → route → filter → upstream → backend`.
//!
//! The modules stand on floors, from the ground up. A module imports from its own floor and from those below it;
//! `tests/test_architecture.py` knows the floors and refuses an import upwards.
//! Public is what `crates/py` needs, so that the compiler sees code that nothing uses; and `io`, of which some (deadlines of streams) only tests use.

// Ground: errors, units, text, time, addresses, hash tables, the one place with `unsafe`.
mod clock;
mod error;
mod kinds;
mod net;
mod outbox;
mod random;
mod reserve;
mod rooms;
pub mod sys;
mod tables;
pub mod text;
mod units;

// Sockets and bodies: what every connection and every message is made of.
mod body;
pub mod io;
mod observe;

// The exchange and what may be asked of it: one request on its way, its variables.
mod exchange;
mod gateway;
pub mod regex;
mod scope;
mod settings;
mod vars;

// Rooms: each has its own settings, variables and limits.
mod accel;
mod access;
pub mod backend;
mod error_page;
mod filter;
mod limit;
mod mirror;
mod page;
mod rewrite;
mod route;
mod subrequest;
mod tls;
mod upstream;
mod variables;
mod waf;

// The line: the configuration, the plan it compiles to, the phases.
pub mod config;
pub mod modules;
mod pipeline;
pub mod plan;

// Doors: HTTP and the sockets it comes from.
mod http;
mod listen;

#[cfg(test)]
mod testing;

// Threads and the process.
pub mod control;
mod thread;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
