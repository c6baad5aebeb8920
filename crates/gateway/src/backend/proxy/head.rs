//! Headers of requests that a configuration sets.
use crate::vars::Template;
use buchner_wire::headers::HeaderId;

/// A header with a value made of variables.
#[derive(Debug)]
pub struct SetHeader {
    /// Its id, `Other` for names not known.
    pub id: HeaderId,
    /// Its name as configured.
    pub name: Box<[u8]>,
    /// Its value; empty: the header is left out.
    pub value: Template,
}
