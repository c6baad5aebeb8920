//! What Python's `buchner.config` needs of Rust: the schema of the plan, a check that a plan deserializes, and
//! TOML with positions (`tomllib` has none).
use buchner_gateway::config::Config;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::fmt::Write as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// JSON schema of the resolved plan ([`Config`]).
#[pyfunction]
pub fn config_schema() -> PyResult<String> {
    serde_json::to_string(&schemars::schema_for!(Config)).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// Whether `json` is a plan the gateway takes; raises `ValueError` with the place and the reason if not.
#[pyfunction]
pub fn check_config(json: &str) -> PyResult<()> {
    serde_json::from_str::<Config>(json).map(drop).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// The variables with a fixed name, for suggestions.
#[pyfunction]
pub fn variable_names() -> Vec<&'static str> {
    buchner_gateway::vars::NAMES.iter().map(|(name, _)| *name).collect()
}

/// A TOML document as JSON, and its syntax errors: `(first byte, byte after the last, message)`.
///
/// The JSON is of use only when there are no errors. Dates become strings.
#[pyfunction]
pub fn parse_toml(text: &str) -> (String, Vec<(usize, usize, String)>) {
    let (document, errors) = DeTable::parse_recoverable(text);
    let problems: Vec<_> = errors
        .iter()
        .map(|error| {
            let span = error.span().unwrap_or(0..0);
            (span.start, span.end, error.message().to_owned())
        })
        .collect();
    let mut json = String::with_capacity(text.len());
    if problems.is_empty() {
        table_json(document.get_ref(), &mut json);
    }
    (json, problems)
}

/// Where each value of a TOML document stands: JSON pointer (RFC 6901) to `(first byte and byte after the last of
/// the key, the same of the value)`; elements of arrays have their value's span for both. Empty if it doesn't parse.
#[pyfunction]
pub fn toml_spans<'py>(python: Python<'py>, text: &str) -> PyResult<Bound<'py, PyDict>> {
    let spans = PyDict::new(python);
    if let Ok(document) = DeTable::parse(text) {
        table_spans(document.get_ref(), &mut String::new(), &spans)?;
    }
    Ok(spans)
}

fn table_json(table: &DeTable<'_>, out: &mut String) {
    out.push('{');
    for (position, (key, value)) in table.iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        string_json(key.get_ref(), out);
        out.push(':');
        value_json(value.get_ref(), out);
    }
    out.push('}');
}

fn value_json(value: &DeValue<'_>, out: &mut String) {
    match value {
        DeValue::String(text) => string_json(text, out),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => {
                let _ = write!(out, "{number}");
            }
            // Out of range: as a string the schema refuses it, with its place.
            Err(_) => string_json(number.as_str(), out),
        },
        DeValue::Float(number) => match number.as_str().parse::<f64>() {
            Ok(number) if number.is_finite() => {
                let _ = write!(out, "{number:?}");
            }
            _ => string_json(number.as_str(), out),
        },
        DeValue::Boolean(flag) => out.push_str(if *flag { "true" } else { "false" }),
        DeValue::Datetime(date) => string_json(&date.to_string(), out),
        DeValue::Array(items) => {
            out.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                value_json(item.get_ref(), out);
            }
            out.push(']');
        }
        DeValue::Table(table) => table_json(table, out),
    }
}

fn string_json(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if (control as u32) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", control as u32);
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

fn table_spans(table: &DeTable<'_>, path: &mut String, spans: &Bound<'_, PyDict>) -> PyResult<()> {
    for (key, value) in table {
        let parent = path.len();
        path.push('/');
        path.push_str(&key.get_ref().replace('~', "~0").replace('/', "~1"));
        let (key, at) = (key.span(), value.span());
        spans.set_item(path.as_str(), (key.start, key.end, at.start, at.end))?;
        value_spans(value, path, spans)?;
        path.truncate(parent);
    }
    Ok(())
}

fn value_spans(value: &Spanned<DeValue<'_>>, path: &mut String, spans: &Bound<'_, PyDict>) -> PyResult<()> {
    match value.get_ref() {
        DeValue::Table(table) => table_spans(table, path, spans),
        DeValue::Array(items) => {
            for (position, item) in items.iter().enumerate() {
                let parent = path.len();
                let _ = write!(path, "/{position}");
                let at = item.span();
                spans.set_item(path.as_str(), (at.start, at.end, at.start, at.end))?;
                value_spans(item, path, spans)?;
                path.truncate(parent);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
