//! What strings of the configuration are. The schema says it as their `format`, and Python checks them by that.
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::ops::Deref;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident, $format:literal;)*) => {$(
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
    )*};
}

kinds! {
    /// A text with variables: `$name` or `${name}`.
    Text, "text";
    /// A text with variables or, after `~` or `~*`, a regular expression.
    Pattern, "pattern";
    /// A path; a relative one begins at the directory of the configuration.
    FilePath, "path";
    /// A path with variables; a relative one that begins with none begins at the directory of the configuration.
    PathText, "path-text";
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
