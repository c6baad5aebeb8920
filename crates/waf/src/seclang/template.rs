//! Texts with macros, such as `Matched Data: %{TX.0} found within %{MATCHED_VAR_NAME}`.

use std::fmt;
use std::sync::Arc;

use super::variable::{Kind, Variable};

/// A part of a template.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    Text(Arc<str>),
    /// The first value of the variable, of that name if it is a collection.
    Macro(Variable, Option<Arc<str>>),
}

/// A text whose macros are replaced when a rule runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Template(pub Vec<Piece>);

impl Template {
    /// Reads a text; an error names the macro that cannot be.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(begin) = rest.find("%{") {
            let Some(length) = rest[begin..].find('}') else { break };
            if begin > 0 {
                pieces.push(Piece::Text(rest[..begin].into()));
            }
            pieces.push(piece(&rest[begin + 2..begin + length])?);
            rest = &rest[begin + length + 1..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.into()));
        }
        Ok(Self(pieces))
    }

    /// The text, if it has no macro.
    pub fn constant(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }
}

impl fmt::Display for Template {
    /// The text with its macros as they are written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => f.write_str(text),
            Piece::Macro(variable, None) => write!(f, "%{{{}}}", variable.name()),
            Piece::Macro(variable, Some(name)) => write!(f, "%{{{}.{name}}}", variable.name()),
        })
    }
}

fn piece(inside: &str) -> Result<Piece, String> {
    let (name, selector) = match inside.split_once(['.', ':']) {
        Some((name, selector)) => (name, Some(selector.trim_matches('\'').to_ascii_lowercase().into())),
        None => (inside, None),
    };
    let variable = Variable::from_name(name).ok_or_else(|| format!("unknown variable in %{{{inside}}}"))?;
    match (variable.kind(), &selector) {
        (Kind::Single, Some(_)) => Err(format!("%{{{inside}}}: {} has one value and takes no name", variable.name())),
        _ => Ok(Piece::Macro(variable, selector)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macros_stand_between_texts() {
        let found = Template::parse("a %{TX.0} in %{matched_var_name}").unwrap();
        assert_eq!(
            found.0,
            [
                Piece::Text("a ".into()),
                Piece::Macro(Variable::Tx, Some("0".into())),
                Piece::Text(" in ".into()),
                Piece::Macro(Variable::MatchedVarName, None),
            ]
        );
        assert_eq!(Template::parse("100%").unwrap().constant(), Some("100%"));
        assert_eq!(Template::parse("%{TX.a}").unwrap().constant(), None);
    }

    #[test]
    fn unknown_variables_are_refused() {
        assert!(Template::parse("%{nothing.x}").unwrap_err().contains("%{nothing.x}"));
    }
}
