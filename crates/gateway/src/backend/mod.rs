//! Content handlers: each turns a request into a response. `content.rs` lists them.
pub mod app;
pub mod empty_gif;
pub mod files;
pub mod fixed;
pub mod outcome;
pub mod proxy;
pub mod stub_status;
