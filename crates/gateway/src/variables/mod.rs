//! Variables that the configuration defines (`map`, `set`, named groups, …). A new kind is one file, one variant of
//! [`Config`].
pub mod browser;
pub mod geo;
pub mod geoip;
pub mod map;
pub mod proxy_protocol;
pub mod referer;
pub mod secure_link;
pub mod split_clients;

use crate::exchange::Exchange;
use crate::scope::{Definition, Found};
use crate::vars::{Names, Sent, Template};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the value of a variable comes from.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[schemars(rename = "VariableValue")]
pub enum Config {
    /// What operations put into it: `set`, the named groups of regular expressions. Always true.
    Slot(bool),
    /// The value of a text.
    Map(map::Config),
    /// The value of an address.
    Geo(geo::Config),
    /// What a database says of an address.
    #[serde(rename = "geoip")]
    GeoIp(geoip::Config),
    /// The value of the part that a text falls into.
    SplitClients(split_clients::Config),
}

impl Config {
    /// Compiles a definition.
    pub fn compile(&self, names: &Names) -> Result<Box<dyn Definition>, String> {
        Ok(match self {
            Self::Slot(_) => Box::new(Slot),
            Self::Map(config) => Box::new(map::Map::compile(config, names)?),
            Self::Geo(config) => Box::new(geo::Geo::compile(config, names)?),
            Self::GeoIp(config) => Box::new(geoip::GeoIp::compile(config, names)?),
            Self::SplitClients(config) => Box::new(split_clients::SplitClients::compile(config, names)?),
        })
    }
}

/// Holds what was put into it.
struct Slot;

impl Definition for Slot {
    fn find(&self, _: &Exchange, _: Sent<'_>) -> Found {
        Found::Absent
    }

    fn result(&self, _: u32) -> Option<&Template> {
        None
    }
}
