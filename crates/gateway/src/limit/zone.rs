//! Zones: tables of keys that limits count in (nginx: `limit_req_zone`, `limit_conn_zone`). A table outlives a reload in which its
//! name, key and size stay.
use crate::exchange::Exchange;
use crate::limit::bucket::Rate;
use crate::limit::recent::Recent;
use crate::limit::table::{Fingerprint, Table};
use crate::units::Size;
use crate::vars::{Names, Sent, Template};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// Bytes of a zone that stand for one key, as in nginx's documentation.
const ENTRY: u64 = 64;
/// nginx refuses zones of less than eight pages.
const LEAST: u64 = 32 << 10;
/// The client's address, which can be counted by network.
const ADDRESS: [&str; 2] = ["$binary_remote_addr", "${binary_remote_addr}"];

/// A table of rates by key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "LimitReqZone")]
pub struct ReqConfig {
    /// What is counted by, with variables; requests for which it is empty are not counted.
    pub key: String,
    /// Memory of the table; 1 MiB is 16,384 keys. The one that was used longest ago gives way. Default: 10 MiB.
    pub size: Size,
    /// Thousandths of requests in `period`.
    pub rate: u64,
    /// Seconds. Default: 1.
    pub period: u64,
    /// Requests above the rate where `limit` names this zone. Default: 0.
    pub burst: u32,
    /// Bits of an IPv6 address that are one client; `key` has to be `$binary_remote_addr`. Default: 128.
    pub ipv6_prefix: u8,
}

impl Default for ReqConfig {
    fn default() -> Self {
        Self { key: String::new(), size: Size(10 << 20), rate: 1000, period: 1, burst: 0, ipv6_prefix: 128 }
    }
}

/// A table of connections by key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "LimitConnZone")]
pub struct ConnConfig {
    /// What is counted by, with variables; requests for which it is empty are not counted.
    pub key: String,
    /// Memory of the table; 1 MiB is 16,384 keys. When it is full requests are refused. Default: 10 MiB.
    pub size: Size,
    /// Bits of an IPv6 address that are one client; `key` has to be `$binary_remote_addr`. Default: 128.
    pub ipv6_prefix: u8,
}

impl Default for ConnConfig {
    fn default() -> Self {
        Self { key: String::new(), size: Size(10 << 20), ipv6_prefix: 128 }
    }
}

/// What requests are counted by.
pub enum Key {
    /// The client's address, IPv6 without the bits that the mask lacks.
    Address(u128),
    /// A text with variables.
    Text(Template),
}

impl Key {
    fn compile(text: &str, prefix: u8, names: &Names) -> Result<Self, String> {
        if text.is_empty() {
            return Err("key: it is empty, so nothing would ever be counted".into());
        }
        if ADDRESS.contains(&text) {
            if prefix > 128 {
                return Err(format!("ipv6_prefix: {prefix} is more than the 128 bits of an address"));
            }
            return Ok(Self::Address(u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)));
        }
        if prefix != 128 {
            return Err(format!("ipv6_prefix: the key is {text:?} and not \"$binary_remote_addr\""));
        }
        Template::compile(text, names).map(Self::Text).map_err(|e| format!("key: {e}"))
    }

    /// Calls `then` with the key of a request.
    pub fn with<T>(&self, ex: &Exchange, then: impl FnOnce(&[u8]) -> T) -> T {
        match self {
            Self::Text(template) => then(&template.value(ex, Sent::default())),
            Self::Address(mask) => match ex.client.addr.ip() {
                Some(IpAddr::V4(ip)) => then(&ip.octets()),
                Some(IpAddr::V6(ip)) => then(&Ipv6Addr::from(u128::from(ip) & mask).octets()),
                None => then(b""),
            },
        }
    }
}

/// A zone of rates.
pub struct ReqZone {
    /// Its name.
    pub name: Box<str>,
    /// What requests are counted by.
    pub key: Key,
    /// How fast buckets empty.
    pub rate: Rate,
    /// The buckets.
    pub table: Arc<Table<Recent>>,
    config: ReqConfig,
}

impl ReqZone {
    /// Requests above the rate that `limit` grants.
    pub fn burst(&self) -> u32 {
        self.config.burst
    }
}

/// Connections of one part of a zone.
#[derive(Debug)]
pub struct Connections {
    /// Numbers by key; never 0.
    pub counts: HashMap<Fingerprint, u32>,
    /// Keys there is room for.
    pub capacity: usize,
}

/// A zone of connections.
pub struct ConnZone {
    /// Its name.
    pub name: Box<str>,
    /// What requests are counted by.
    pub key: Key,
    /// The numbers.
    pub table: Arc<Table<Connections>>,
    config: ConnConfig,
}

/// The zones of a configuration.
#[derive(Default)]
pub struct Zones {
    /// Of rates.
    pub req: HashMap<Box<str>, Arc<ReqZone>>,
    /// Of connections.
    pub conn: HashMap<Box<str>, Arc<ConnZone>>,
}

fn capacity(size: Size) -> Result<usize, String> {
    if size.0 < LEAST {
        return Err(format!("size: {} bytes are too few: 32 KiB are the least", size.0));
    }
    Ok((size.0 / ENTRY) as usize)
}

impl Zones {
    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.req.is_empty() && self.conn.is_empty()
    }

    /// Compiles zones; tables of the same name, key and size as before go on.
    pub fn compile(
        req: &BTreeMap<String, ReqConfig>,
        conn: &BTreeMap<String, ConnConfig>,
        names: &Names,
        previous: Option<&Self>,
    ) -> Result<Self, String> {
        let mut zones = Self::default();
        for (name, config) in req {
            let zone = Self::req(name, config, names, previous).map_err(|e| format!("limit_req_zone.{name}.{e}"))?;
            zones.req.insert(name.as_str().into(), Arc::new(zone));
        }
        for (name, config) in conn {
            let zone = Self::conn(name, config, names, previous).map_err(|e| format!("limit_conn_zone.{name}.{e}"))?;
            zones.conn.insert(name.as_str().into(), Arc::new(zone));
        }
        Ok(zones)
    }

    fn req(name: &str, config: &ReqConfig, names: &Names, previous: Option<&Self>) -> Result<ReqZone, String> {
        if config.rate == 0 || config.period == 0 {
            return Err("rate: it is 0, so no request would ever be let in".into());
        }
        let same = |zone: &&Arc<ReqZone>| {
            let before = &zone.config;
            (&before.key, before.size, before.ipv6_prefix) == (&config.key, config.size, config.ipv6_prefix)
        };
        let kept = previous.and_then(|zones| zones.req.get(name)).filter(same);
        let capacity = capacity(config.size)?;
        Ok(ReqZone {
            name: name.into(),
            key: Key::compile(&config.key, config.ipv6_prefix, names)?,
            rate: Rate { milli: config.rate, period: config.period },
            table: kept.map_or_else(|| Arc::new(Table::new(capacity, Recent::new)), |zone| zone.table.clone()),
            config: config.clone(),
        })
    }

    fn conn(name: &str, config: &ConnConfig, names: &Names, previous: Option<&Self>) -> Result<ConnZone, String> {
        let kept = previous.and_then(|zones| zones.conn.get(name)).filter(|zone| zone.config == *config);
        let capacity = capacity(config.size)?;
        let make = |capacity| Connections { counts: HashMap::new(), capacity };
        Ok(ConnZone {
            name: name.into(),
            key: Key::compile(&config.key, config.ipv6_prefix, names)?,
            table: kept.map_or_else(|| Arc::new(Table::new(capacity, make)), |zone| zone.table.clone()),
            config: config.clone(),
        })
    }
}
