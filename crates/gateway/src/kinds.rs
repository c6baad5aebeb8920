//! What strings of the configuration are. The schema says it as their `format`, and Python checks them by what a row says of it.
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::ops::Deref;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident, $format:literal, $title:literal, [$($has:literal),*];)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "format": $format})
            }
        }
    )*
        /// What the schema says of each kind: its name on the reference page, and what it `has`: `variables`, a `regex` instead of them after
        /// `~` or `~*`, or a `path` that begins at the directory of the configuration.
        pub fn all() -> Value {
            json!({$($format: {"title": $title, "has": [$($has),*]},)*})
        }
    };
}

kinds! {
    /// A text with variables: `$name` or `${name}`.
    Text, "text", "text with variables", ["variables"];
    /// A text with variables or, after `~` or `~*`, a regular expression.
    Pattern, "pattern", "text with variables or regular expression", ["variables", "regex"];
    /// A path; a relative one begins at the directory of the configuration.
    FilePath, "path", "path", ["path"];
    /// A path with variables; a relative one that begins with none begins at the directory of the configuration.
    PathText, "path-text", "path with variables", ["variables", "path"];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_tells_what_a_string_is() {
        let schema = schemars::schema_for!(Vec<Option<Text>>);
        assert_eq!(schema.get("items"), Some(&serde_json::json!({"type": ["string", "null"], "format": "text"})));
    }
}
