//! A variable from a database of addresses in the MaxMind format: the country, the city, the network's owner.
use crate::exchange::Exchange;
use crate::net::networks::parse_address;
use crate::net::peer::Peer;
use crate::scope::{Definition, Found};
use crate::vars::{Names, Sent, Template};
use bytes::Bytes;
use maxminddb::{PathElement, Reader};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

type Database = Reader<Vec<u8>>;
/// Device, inode, bytes, and the last change in seconds and nanoseconds.
type State = (u64, u64, u64, i64, i64);

type Open = HashMap<String, (State, Weak<Database>)>;

/// What a database says of an address.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "GeoIp")]
pub struct Config {
    /// The file, in the MaxMind format (.mmdb); it is read when the configuration is loaded.
    pub database: String,
    /// Where the value stands in an address's record: `country.iso_code`, `city.names.en`, `subdivisions.0.iso_code`.
    pub field: String,
    /// The address, with variables. Default: the client's.
    pub source: Option<String>,
    /// The value of addresses that the database does not know, or has no such field of. Default: empty.
    pub default: String,
}

/// A compiled variable.
pub struct GeoIp {
    database: Arc<Database>,
    field: Vec<Step>,
    source: Option<Template>,
    results: [Template; 1],
}

enum Step {
    Key(String),
    Index(usize),
}

/// Databases in use: plans, and variables of one, share what they read.
static OPEN: Mutex<Option<Open>> = Mutex::new(None);

/// Reads a database, unless it is in use and has not changed since.
fn open(path: &str) -> Result<Arc<Database>, String> {
    let found = std::fs::metadata(path).map_err(|e| format!("database: {path}: {e}"))?;
    let state = (found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec());
    let mut guard = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let open = guard.get_or_insert_default();
    open.retain(|_, (_, database)| database.strong_count() != 0);
    if let Some(database) = open.get(path).filter(|(known, _)| *known == state).and_then(|(_, known)| known.upgrade()) {
        return Ok(database);
    }
    let bytes = std::fs::read(path)
        .map_err(|e| format!("database: {path}: {e}; it is read by the gateway's user (`user`, or nobody)"))?;
    let database = Reader::from_source(bytes)
        .map_err(|e| format!("database: {path} is no database in the MaxMind format (.mmdb): {e}"))?;
    let database = Arc::new(database);
    open.insert(path.to_owned(), (state, Arc::downgrade(&database)));
    Ok(database)
}

impl GeoIp {
    /// Compiles a variable.
    pub fn compile(config: &Config, names: &Names) -> Result<Self, String> {
        let step = |text: &str| text.parse().map_or_else(|_| Step::Key(text.to_owned()), Step::Index);
        let source = config.source.as_deref().map(|source| Template::compile(source, names)).transpose();
        Ok(Self {
            database: open(&config.database)?,
            field: config.field.split('.').map(step).collect(),
            source: source.map_err(|e| format!("source: {e}"))?,
            results: [Template::text(&config.default)],
        })
    }

    fn value(&self, peer: Option<Peer>) -> Option<Bytes> {
        let path: Vec<PathElement<'_>> = self
            .field
            .iter()
            .map(|step| match step {
                Step::Key(key) => PathElement::Key(key),
                Step::Index(index) => PathElement::Index(*index),
            })
            .collect();
        let record = self.database.lookup(peer?.ip()?).ok()?;
        match record.decode_path::<serde_json::Value>(&path).ok()?? {
            serde_json::Value::String(text) => Some(text.into()),
            value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_)) => Some(value.to_string().into()),
            _ => None,
        }
    }
}

impl Definition for GeoIp {
    fn find(&self, ex: &Exchange, sent: Sent<'_>) -> Found {
        let peer = match &self.source {
            None => Some(ex.client.addr),
            Some(source) => parse_address(&source.value(ex, sent)),
        };
        self.value(peer).map_or(Found::Result(0), Found::Bytes)
    }

    fn result(&self, number: u32) -> Option<&Template> {
        self.results.get(number as usize)
    }
}
