//! What Python's `buchner.config` needs of Rust: the schema of the plan, and a check that a plan compiles.
use buchner_gateway::config::Config;
use buchner_gateway::plan::Plan;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// JSON schema of the resolved plan ([`Config`]).
#[pyfunction]
pub fn config_schema() -> PyResult<String> {
    serde_json::to_string(&schemars::schema_for!(Config)).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// Whether `json` is a plan the gateway takes; raises `ValueError` with the place and the reason if not.
#[pyfunction]
pub fn check_config(json: &str) -> PyResult<()> {
    let config = serde_json::from_str::<Config>(json).map_err(|error| PyValueError::new_err(error.to_string()))?;
    Plan::compile(&config, None).map(drop).map_err(PyValueError::new_err)
}

/// The certificates of the CAs that this system trusts, as DER, and what went wrong while they were looked for. `SSL_CERT_FILE`
/// and `SSL_CERT_DIR` are obeyed.
#[pyfunction]
pub fn system_roots(py: Python<'_>) -> (Vec<Bound<'_, PyBytes>>, Vec<String>) {
    let found = rustls_native_certs::load_native_certs();
    let roots = found.certs.iter().map(|root| PyBytes::new(py, root)).collect();
    (roots, found.errors.iter().map(ToString::to_string).collect())
}

/// The names of a regular expression's groups; raises `ValueError` with what is wrong with the expression.
#[pyfunction]
pub fn regex_groups(text: &str) -> PyResult<Vec<String>> {
    buchner_gateway::regex::group_names(text).map_err(PyValueError::new_err)
}

/// Variables of the gateway that a configuration may define all the same.
#[pyfunction]
pub fn definable_variables() -> Vec<&'static str> {
    buchner_gateway::modules::definable_variables()
}

/// Response headers of upstreams whose meaning for the gateway can be ignored.
#[pyfunction]
pub fn ignorable_headers() -> Vec<&'static str> {
    buchner_gateway::backend::proxy::options::IGNORABLE.to_vec()
}

/// Every variable with what it is, by name; of a family what the names begin with (`http_`).
#[pyfunction]
pub fn variables() -> Vec<(&'static str, &'static str)> {
    buchner_gateway::modules::all_variables()
}
