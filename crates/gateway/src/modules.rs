//! The list of the rooms: what each brings to the configuration. A new one is a line here.
use crate::vars::{self, Variable};
use crate::{access, backend, filter, listen, variables};

/// The variables of all rooms.
pub static VARIABLES: &[&[Variable]] = &[
    vars::core::VARIABLES,
    access::password::VARIABLES,
    backend::files::variables::VARIABLES,
    backend::proxy::variables::VARIABLES,
    backend::stub_status::VARIABLES,
    filter::gzip::VARIABLES,
    filter::limit_rate::VARIABLES,
    filter::userid::VARIABLES,
    listen::proxy_protocol::VARIABLES,
    variables::browser::VARIABLES,
    variables::referer::VARIABLES,
    variables::secure_link::VARIABLES,
];

/// Names of the rooms' variables that a configuration may define itself.
pub fn definable_variables() -> Vec<&'static str> {
    let all = VARIABLES.iter().flat_map(|room| room.iter());
    all.filter(|variable| variable.definable).map(|variable| variable.name).collect()
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
