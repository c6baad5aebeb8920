//! Settings that several rooms obey.
pub mod buffering;
pub mod connection;
pub mod limits;
pub mod old_browser;
pub mod redirects;
