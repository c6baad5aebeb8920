//! How the connections of a request are encrypted, and which kept ones it may have.
use crate::upstream::Language;
use crate::upstream::tls::terms::Terms;
use std::rc::Rc;
use std::sync::Arc;

/// How a request's connections to servers are encrypted.
pub struct Secure<'r> {
    /// The terms.
    pub terms: &'r Arc<Terms>,
    /// The server's name.
    pub name: &'r str,
    /// Protocols inside TLS, best first.
    pub alpn: &'static [&'static [u8]],
}

/// What a connection is for: another language, other terms or another name take another connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purpose {
    language: Language,
    /// The number of the policy and the server's name, where it is encrypted.
    secure: Option<Rc<(u64, Box<str>)>>,
}

impl Purpose {
    /// What a request's connections are for.
    pub fn new(language: Language, secure: Option<&Secure<'_>>) -> Self {
        let secure = secure.map(|secure| Rc::new((secure.terms.policy.id, secure.name.into())));
        Self { language, secure }
    }
}
