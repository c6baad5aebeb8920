//! Settings that several rooms obey.
pub mod buffering;
pub mod connection;
pub mod http2;
pub mod limits;
pub mod old_browser;
pub mod redirects;
