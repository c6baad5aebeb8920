//! What an upstream sent that its protocol doesn't allow.
use crate::h1::{H1Error, H1ErrorKind};
use std::borrow::Cow;
use std::fmt;

/// Bytes of an upstream that can't be read. The connection is of no use afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What is wrong, in words; printable, whatever was received.
    pub message: Cow<'static, str>,
    /// The connection ended inside of a message.
    pub is_truncated: bool,
}

impl Malformed {
    /// Bytes that are wrong.
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self { message: message.into(), is_truncated: false }
    }

    /// The connection ended too early.
    pub fn truncated(message: impl Into<Cow<'static, str>>) -> Self {
        Self { message: message.into(), is_truncated: true }
    }
}

impl From<H1Error> for Malformed {
    fn from(error: H1Error) -> Self {
        Self { is_truncated: error.kind == H1ErrorKind::Truncated, message: error.message }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Malformed {}
