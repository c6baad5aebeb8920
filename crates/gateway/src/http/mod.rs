//! HTTP towards the client: every version ends as one [`crate::exchange::Request`] and one [`crate::exchange::Response`].
pub mod h1;
pub mod port;
pub mod request;
pub mod service;
