//! Templates compiled: macros of TX name their slot.

use std::sync::Arc;

use crate::seclang::template::{Piece, Template};
use crate::seclang::variable::Variable;
use crate::tx::Names;

/// A part of a text.
#[derive(Clone, Debug)]
pub enum Part {
    Literal(Box<[u8]>),
    Tx(u16),
    Macro(Variable, Option<Arc<str>>),
}

/// A text to expand.
#[derive(Clone, Debug, Default)]
pub struct Text(pub Box<[Part]>);

impl Text {
    /// Compiles a template.
    pub fn new(template: &Template, names: &mut Names) -> Self {
        let parts = template.0.iter().map(|piece| match piece {
            Piece::Text(text) => Part::Literal(text.as_bytes().into()),
            Piece::Macro(Variable::Tx, Some(name)) => Part::Tx(names.slot(name)),
            Piece::Macro(variable, name) => Part::Macro(*variable, name.clone()),
        });
        Self(parts.collect())
    }
}
