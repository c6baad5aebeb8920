//! HTTP towards the client: every version ends as one [`crate::exchange::Request`] and one [`crate::exchange::Response`].
pub mod body;
pub mod bufs;
pub mod busy;
pub mod departure;
pub mod forwarded;
pub mod h1;
pub mod h1_write;
pub mod interim;
pub mod io;
pub mod linger;
pub mod old_browser;
pub mod pace;
pub mod page;
pub mod refuse;
pub mod request;
pub mod tunnel;
