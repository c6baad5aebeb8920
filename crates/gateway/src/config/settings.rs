//! Settings that every server and route has; equal groups of them are kept once.
//!
//! In the document they are one flat table; here each room has its own part of it, as [`crate::modules::ROOMS`] lists them.
use crate::kinds;
use crate::modules::ROOMS;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};
use serde_json::{Map, Value};
use std::any::Any;
use std::borrow::Cow;
use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

/// Settings that are inherited: root → server → route.
#[derive(Clone)]
pub struct Settings {
    /// The rooms' parts, in the order of the list.
    pub parts: Arc<[Part]>,
}

/// The settings of one room.
pub type Part = Box<dyn Any + Send + Sync>;

impl Settings {
    /// The part of a type.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.parts.iter().find_map(|part| part.downcast_ref())
    }

    fn parse(mut table: Map<String, Value>) -> Result<Self, String> {
        let mut parts = Vec::with_capacity(ROOMS.len());
        for room in ROOMS {
            let own: Map<_, _> = room.fields().iter().filter_map(|name| table.remove_entry(*name)).collect();
            parts.push(room.parse(own)?);
        }
        match table.keys().next() {
            Some(name) => Err(format!("unknown field `{name}`: no room has a setting of this name")),
            None => Ok(Self { parts: parts.into() }),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { parts: ROOMS.iter().map(|room| room.default()).collect() }
    }
}

impl Debug for Settings {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(ROOMS.iter().zip(&*self.parts).map(|(room, part)| room.value(part))).finish()
    }
}

impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut table = Map::new();
        for (room, part) in ROOMS.iter().zip(&*self.parts) {
            if let Value::Object(own) = room.value(part) {
                table.extend(own);
            }
        }
        table.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(Map::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl JsonSchema for Settings {
    fn schema_name() -> Cow<'static, str> {
        "Settings".into()
    }

    /// The rooms' properties, each with the title of its room as `x-room`; the titles in the order of the rooms as `x-rooms`; what strings are
    /// as `x-kinds`.
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut properties = Map::new();
        for room in ROOMS {
            let Some(Value::Object(own)) = room.schema(generator).remove("properties") else { continue };
            for (name, mut setting) in own {
                if let Value::Object(keywords) = &mut setting {
                    keywords.insert("x-room".into(), room.title().into());
                }
                properties.insert(name, setting);
            }
        }
        json_schema!({
            "description": "Settings that are inherited: root → server → route.",
            "type": "object",
            "properties": properties,
            "additionalProperties": false,
            "x-kinds": kinds::all(),
            "x-rooms": ROOMS.iter().map(|room| room.title()).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::gzip;
    use crate::settings::limits;
    use serde_json::json;

    fn parse(table: Value) -> Result<Settings, String> {
        serde_json::from_value(table).map_err(|error| error.to_string())
    }

    #[test]
    fn each_room_takes_its_own_part_of_the_table() {
        let settings = parse(json!({"gzip": true, "gzip_comp_level": 9, "max_body": 7})).unwrap();
        let gzip = settings.get::<gzip::Settings>().unwrap();
        assert_eq!((gzip.gzip, gzip.gzip_comp_level, gzip.gzip_min_length.0), (true, 9, 20));
        assert_eq!(settings.get::<limits::Settings>().unwrap().max_body.0, 7);
        let again = parse(serde_json::to_value(&settings).unwrap()).unwrap();
        assert_eq!(format!("{again:?}"), format!("{settings:?}"));
    }

    #[test]
    fn an_unknown_or_malformed_setting_is_refused_by_name() {
        assert!(parse(json!({"gizp": true})).unwrap_err().contains("unknown field `gizp`"));
        assert!(parse(json!({"gzip": 1})).unwrap_err().contains("gzip"));
    }

    #[test]
    fn no_setting_has_two_rooms_and_the_schema_has_all() {
        let mut names: Vec<_> = ROOMS.iter().flat_map(|room| room.fields().iter().copied()).collect();
        let schema = schemars::schema_for!(Settings);
        let properties = schema.get("properties").and_then(Value::as_object).unwrap();
        names.sort_unstable();
        assert_eq!(properties.keys().map(String::as_str).collect::<Vec<_>>(), names);
        assert_eq!(properties["gzip_vary"]["x-room"], "Compression");
    }
}
