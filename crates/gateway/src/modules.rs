//! The list of the rooms: what each brings to the configuration. A new one is a line here.
use crate::scope::{Compiling, Room, Settings};
use crate::tls;
use crate::vars::{self, Variable};
use crate::{
    accel, access, backend, error_page, filter, limit, mirror, observe, route, settings, upstream, variables, waf,
};
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value};
use std::any::Any;
use std::sync::LazyLock;

/// The rooms with settings. Checks are asked and filters applied in this order, which is nginx's.
pub static ROOMS: &[&dyn Entry] = &[
    &Of::<settings::limits::Settings>::NEW,
    &Of::<settings::connection::Settings>::NEW,
    &Of::<settings::http2::Settings>::NEW,
    &Of::<settings::buffering::Settings>::NEW,
    &Of::<upstream::resolve::Settings>::NEW,
    &Of::<backend::proxy::config::Settings>::NEW,
    &Of::<upstream::tls::config::Settings>::NEW,
    &Of::<upstream::protocol::cgi::Settings>::NEW,
    &Of::<backend::app::Settings>::NEW,
    &Of::<error_page::Settings>::NEW,
    &Of::<observe::access_log::Settings>::NEW,
    &Of::<observe::error_log::Settings>::NEW,
    &Of::<route::root::Settings>::NEW,
    &Of::<backend::files::mime::Settings>::NEW,
    &Of::<access::Settings>::NEW,
    &Of::<access::realip::Settings>::NEW,
    &Of::<limit::req::Settings>::NEW,
    &Of::<limit::conn::Settings>::NEW,
    &Of::<access::origin::Settings>::NEW,
    &Of::<access::networks::Settings>::NEW,
    &Of::<access::password::Settings>::NEW,
    &Of::<access::request::Settings>::NEW,
    &Of::<mirror::Settings>::NEW,
    &Of::<variables::secure_link::Settings>::NEW,
    &Of::<variables::referer::Settings>::NEW,
    &Of::<variables::browser::Settings>::NEW,
    &Of::<settings::redirects::Settings>::NEW,
    &Of::<accel::Settings>::NEW,
    // Its filter looks at what the others get.
    &Of::<waf::config::Settings>::NEW,
    &Of::<filter::headers::Settings>::NEW,
    &Of::<filter::transport::Settings>::NEW,
    &Of::<filter::userid::Settings>::NEW,
    &Of::<filter::gunzip::Settings>::NEW,
    &Of::<filter::addition::Settings>::NEW,
    &Of::<filter::sub_filter::Settings>::NEW,
    &Of::<filter::charset::Settings>::NEW,
    &Of::<filter::gzip::Settings>::NEW,
    &Of::<filter::range::Settings>::NEW,
    &Of::<filter::trailers::Settings>::NEW,
    &Of::<filter::limit_rate::Settings>::NEW,
];

/// Variables of modules without settings.
const MORE_VARIABLES: &[&[Variable]] =
    &[vars::core::VARIABLES, tls::variables::VARIABLES, variables::proxy_protocol::VARIABLES];

/// The variables of all rooms and content handlers.
pub static VARIABLES: LazyLock<Vec<&'static [Variable]>> = LazyLock::new(|| {
    let rooms = ROOMS.iter().map(|room| room.variables());
    rooms.chain(backend::VARIABLES.iter().copied()).chain(MORE_VARIABLES.iter().copied()).collect()
});

/// Names of the rooms' variables that a configuration may define itself.
pub fn definable_variables() -> Vec<&'static str> {
    let all = VARIABLES.iter().flat_map(|room| room.iter());
    all.filter(|variable| variable.definable).map(|variable| variable.name).collect()
}

/// A room of the list, whatever the type of its settings.
pub trait Entry: Sync {
    /// What its settings are about.
    fn title(&self) -> &'static str;
    /// Its variables.
    fn variables(&self) -> &'static [Variable];
    /// The names of its settings.
    fn fields(&self) -> &'static [&'static str];
    /// The schema of its settings.
    fn schema(&self, generator: &mut SchemaGenerator) -> Schema;
    /// Its settings where nothing is configured.
    fn default(&self) -> Box<dyn Any + Send + Sync>;
    /// Reads its settings.
    fn parse(&self, table: Map<String, Value>) -> Result<Box<dyn Any + Send + Sync>, String>;
    /// Its settings as JSON.
    fn value(&self, part: &(dyn Any + Send + Sync)) -> Value;
    /// Puts its settings into `out` as they are.
    fn put(&self, part: &(dyn Any + Send + Sync), out: &mut Settings);
    /// Puts what its settings ask for into `out`.
    fn compile(&self, cx: &Compiling<'_>, out: &mut Settings) -> Result<(), String>;
}

/// The entry of a room with settings of this type.
pub struct Of<R>(std::marker::PhantomData<fn() -> R>);

impl<R> Of<R> {
    /// The entry.
    pub const NEW: Self = Self(std::marker::PhantomData);
}

impl<R: Room> Entry for Of<R> {
    fn title(&self) -> &'static str {
        R::TITLE
    }

    fn variables(&self) -> &'static [Variable] {
        R::VARIABLES
    }

    fn fields(&self) -> &'static [&'static str] {
        fields::of::<R>()
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        R::json_schema(generator)
    }

    fn default(&self) -> Box<dyn Any + Send + Sync> {
        Box::new(R::default())
    }

    fn parse(&self, table: Map<String, Value>) -> Result<Box<dyn Any + Send + Sync>, String> {
        // One by one only to name the one that is wrong.
        let wrong = |table: &Map<String, Value>| {
            table.iter().find_map(|(name, value)| {
                let alone = Map::from_iter([(name.clone(), value.clone())]);
                let error = serde_json::from_value::<R>(Value::Object(alone)).err()?;
                Some(format!("{name}: {error}"))
            })
        };
        match serde_json::from_value::<R>(Value::Object(table.clone())) {
            Ok(settings) => Ok(Box::new(settings)),
            Err(error) => Err(wrong(&table).unwrap_or_else(|| error.to_string())),
        }
    }

    fn value(&self, part: &(dyn Any + Send + Sync)) -> Value {
        part.downcast_ref::<R>().and_then(|settings| serde_json::to_value(settings).ok()).unwrap_or_default()
    }

    fn put(&self, part: &(dyn Any + Send + Sync), out: &mut Settings) {
        // What is as by default is found without being kept.
        if let Some(settings) = part.downcast_ref::<R>().filter(|settings| **settings != R::default()) {
            out.put(settings.clone());
        }
    }

    fn compile(&self, cx: &Compiling<'_>, out: &mut Settings) -> Result<(), String> {
        let own = out.get::<R>().clone();
        own.compile(cx, out)
    }
}

/// Name and description of every variable, the core's and the rooms', in the order of their names; those of families are what their members' names
/// begin with.
pub fn all_variables() -> Vec<(&'static str, &'static str)> {
    let core = vars::NAMES.iter().map(|(name, _, about)| (*name, *about));
    let rooms = VARIABLES.iter().flat_map(|room| room.iter()).map(|variable| (variable.name, variable.about));
    let mut all: Vec<_> = core.chain(vars::PREFIXED.iter().copied()).chain(rooms).collect();
    all.sort_unstable();
    all
}

/// The names of the fields of a struct, as its `Deserialize` tells them.
mod fields {
    use serde::de::value::Error;
    use serde::de::{Deserialize, Deserializer, Visitor};
    use serde::forward_to_deserialize_any;

    struct Asked<'a>(&'a mut &'static [&'static str]);

    impl<'de> Deserializer<'de> for Asked<'_> {
        type Error = Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            Err(serde::de::Error::custom("not a struct"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Error> {
            *self.0 = fields;
            Err(serde::de::Error::custom("its fields are all that was asked for"))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    /// The names.
    pub(super) fn of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
        let mut names: &'static [&'static str] = &[];
        let _ = T::deserialize(Asked(&mut names));
        names
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_variable_has_one_meaning() {
        let all = super::all_variables();
        let twice: Vec<_> = all.windows(2).filter(|pair| pair[0].0 == pair[1].0).map(|pair| pair[0].0).collect();
        assert_eq!(twice, [""; 0]);
    }
}
