//! The data plane: `listen → tls → http → route → filter → upstream → backend`.
//!
//! The modules stand on floors, from the ground up. A module imports from its own floor and from those below it;
//! `tests/test_architecture.py` knows the floors and refuses an import upwards.

// Ground: errors, units, text, time, addresses, hash tables, the one place with `unsafe`.
pub mod clock;
pub mod error;
pub mod kinds;
pub mod net;
mod outbox;
pub mod random;
pub mod reserve;
pub mod rooms;
pub mod sys;
pub mod tables;
pub mod text;
pub mod units;

// Sockets and bodies: what every connection and every message is made of.
pub mod body;
pub mod io;
pub mod observe;

// The exchange and what may be asked of it: one request on its way, its variables.
pub mod exchange;
pub mod gateway;
pub mod regex;
pub mod scope;
pub mod settings;
pub mod vars;

// Rooms: each has its own settings, variables and limits.
pub mod accel;
pub mod access;
pub mod backend;
pub mod error_page;
pub mod filter;
pub mod mirror;
pub mod page;
pub mod rewrite;
pub mod route;
pub mod subrequest;
pub mod upstream;
pub mod variables;

// The line: the configuration, the plan it compiles to, the phases.
pub mod config;
pub mod modules;
pub mod pipeline;
pub mod plan;

// Doors: HTTP and the sockets it comes from.
pub mod http;
pub mod listen;

#[cfg(test)]
mod testing;

// Threads and the process.
pub mod control;
pub mod thread;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
