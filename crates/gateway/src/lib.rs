//! The data plane: `listen → tls → http → route → filter → upstream → backend`.
pub mod config;
