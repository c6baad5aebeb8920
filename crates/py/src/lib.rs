//! The Python extension module `buchner._native`.
//!
//! | module | of the worker's slot loop |
//! |---|---|
//! | [`worker`] | `Slots`: the threads and what they share |
//! | [`request`] | one thread: take a request, run the app |
//! | [`environ`], [`input`], [`start`], [`files`] | what the app is given |
//! | [`answer`] | what the app gives back |
//! | [`link`], [`conn`] | the way to the gateway: one request's state, the sockets |
//! | [`fork`] | children of the app are not workers |
//! | [`joined`] | small pieces of a body leave together |
//! | [`guard`] | nothing waits long for the next to leave with it |
mod answer;
mod config;
mod conn;
mod environ;
mod files;
mod fork;
mod gateway;
mod guard;
mod input;
mod joined;
mod link;
mod process;
mod request;
mod start;
mod toml;
mod waf;
mod worker;

use pyo3::prelude::*;

/// The native half of the `buchner` package.
#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::config::{
        check_config, config_schema, definable_variables, ignorable_headers, regex_groups, system_roots, variables,
    };
    #[pymodule_export]
    use crate::fork::leave_gateways;
    #[pymodule_export]
    use crate::gateway::gateway_main;
    #[pymodule_export]
    use crate::process::{become_subreaper, die_with_parent, give_back_memory};
    #[pymodule_export]
    #[allow(non_upper_case_globals)] // Python's name
    const __version__: &str = env!("CARGO_PKG_VERSION");
    #[pymodule_export]
    use crate::toml::{parse_toml, toml_spans};
    #[pymodule_export]
    use crate::waf::{WafRules, WafTransaction};
    #[pymodule_export]
    use crate::worker::Slots;

    #[pymodule_init]
    fn init(module: &super::Bound<'_, super::PyModule>) -> super::PyResult<()> {
        crate::worker::keep_thread_start(module.py())
    }
}
