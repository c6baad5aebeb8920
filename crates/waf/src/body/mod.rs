//! Body processors: what a request's body, query string and cookies say, as the variables of rules.
//!
//! What was read up to an error is kept beside the error, as ModSecurity does: rules judge both. All are linear in their
//! input, and none nests its own calls as deeply as the input nests.
pub mod cookies;
mod entities;
pub mod json;
pub mod multipart;
pub mod urlencoded;
pub mod xml;

#[cfg(test)]
mod tests;

/// An argument of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Argument {
    /// Its name, decoded.
    pub name: Vec<u8>,
    /// Its value, decoded.
    pub value: Vec<u8>,
}

/// An error of a body processor: sets `REQBODY_ERROR` to 1, and this is `REQBODY_ERROR_MSG`.
pub type Message = String;
