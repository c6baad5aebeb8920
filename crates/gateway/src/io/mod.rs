//! Sockets as the data plane uses them: shared, non-blocking, each with one deadline.
pub mod bufs;
pub mod challenges;
pub mod deadlines;
pub mod local;
pub mod scarcity;
pub mod shared;
pub mod sock;
pub mod stream;
pub mod tls;
