//! Variables that the configuration defines (`map`, `set`, named groups, …). A new kind is one file, one variant of
//! [`Config`] and one of [`Definition`].
pub mod browser;
pub mod geo;
pub mod geoip;
pub mod map;
pub mod referer;
pub mod secure_link;
pub mod split_clients;

use crate::exchange::Exchange;
use crate::vars::{Names, Sent, Template};
use bytes::Bytes;
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

/// A compiled variable.
pub enum Definition {
    /// Holds what was put into it.
    Slot,
    /// By a text.
    Map(map::Map),
    /// By an address.
    Geo(geo::Geo),
    /// By an address, from a database.
    GeoIp(geoip::GeoIp),
    /// By parts.
    SplitClients(split_clients::SplitClients),
}

/// What a definition says the value is.
pub enum Found {
    /// The result of this number in the plan ([`Definition::result`]); a text among them is never copied.
    Result(u32),
    /// Bytes made for this request.
    Bytes(Bytes),
    /// There is none.
    Absent,
}

impl Definition {
    /// Compiles a definition.
    pub fn compile(config: &Config, names: &Names) -> Result<Self, String> {
        Ok(match config {
            Config::Slot(_) => Self::Slot,
            Config::Map(config) => Self::Map(map::Map::compile(config, names)?),
            Config::Geo(config) => Self::Geo(geo::Geo::compile(config, names)?),
            Config::GeoIp(config) => Self::GeoIp(geoip::GeoIp::compile(config, names)?),
            Config::SplitClients(config) => Self::SplitClients(split_clients::SplitClients::compile(config, names)?),
        })
    }

    /// Looks for the value.
    pub fn find(&self, ex: &Exchange, sent: Sent<'_>) -> Found {
        match self {
            Self::Slot => Found::Absent,
            Self::Map(map) => map.find(ex, sent),
            Self::Geo(geo) => geo.find(ex, sent),
            Self::GeoIp(geoip) => geoip.find(ex, sent),
            Self::SplitClients(parts) => parts.find(ex, sent),
        }
    }

    /// A result by its number.
    pub fn result(&self, number: u32) -> Option<&Template> {
        match self {
            Self::Slot => None,
            Self::Map(map) => map.result(number),
            Self::Geo(geo) => geo.result(number),
            Self::GeoIp(geoip) => geoip.result(number),
            Self::SplitClients(parts) => parts.result(number),
        }
    }

    /// Its value is looked for anew each time (nginx: volatile).
    pub fn volatile(&self) -> bool {
        match self {
            Self::Map(map) => map.volatile,
            Self::Geo(geo) => geo.volatile,
            _ => false,
        }
    }
}
