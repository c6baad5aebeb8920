//! Addresses: the other end of a connection, and sets of networks.
pub mod networks;
pub mod peer;
