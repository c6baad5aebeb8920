//! The data plane: `listen → tls → http → route → filter → upstream → backend`.
//!
//! [`pipeline`] is the line a request walks; [`exchange`] is what walks it. [`config`] is what the front ends produce, [`plan`] what
//! it compiles to. One I/O thread ([`thread`]) serves a connection from its first byte to its last.
pub mod access;
pub mod backend;
pub mod buffers;
pub mod clock;
pub mod config;
pub mod control;
pub mod error;
pub mod exchange;
pub mod filter;
pub mod http;
pub mod listen;
pub mod mirror;
pub mod observe;
pub mod pipeline;
pub mod plan;
pub mod regex;
pub mod rewrite;
pub mod route;
pub mod subrequest;
pub mod sys;
pub mod tables;
pub mod thread;
pub mod timeouts;
pub mod upstream;
pub mod variables;
pub mod vars;
pub mod zone;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
