//! Headers of requests that a configuration sets.
use super::config::HeaderValues;
use crate::vars::{Names, Template};
use buchner_wire::headers::{HeaderId, is_valid_value};
use std::collections::BTreeMap;

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

/// Compiles the headers for upstreams.
pub fn compile(headers: &BTreeMap<String, HeaderValues>, names: &Names) -> std::result::Result<Vec<SetHeader>, String> {
    let compile = |(name, value): (&String, &str)| {
        if !buchner_wire::headers::is_valid_name(name.as_bytes()) {
            return Err(format!("{name:?} is not a header name"));
        }
        if !is_valid_value(value.as_bytes()) {
            return Err(format!("{name}: the value has characters no header may have (CR, LF, NUL)"));
        }
        let id = HeaderId::of(name.as_bytes());
        Ok(SetHeader { id, name: name.as_bytes().into(), value: Template::compile(value, names)? })
    };
    headers.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value))).map(compile).collect()
}
