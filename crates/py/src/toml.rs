//! TOML with positions: `tomllib` has none.
//!
//! The parser takes some thirty times the length of a document for a moment. A long list of `[[server]]`, which is what
//! long documents are, is therefore parsed piece by piece.
use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::fmt::Write as _;

/// The table that documents are cut at.
const LIST: &str = "server";
const LIST_HEADER: &str = "[[server]]";
/// Bytes of a piece, or those of one element where it is longer.
const PIECE: usize = 256 << 10;

/// A TOML document as JSON, and its syntax errors: `(first byte, byte after the last, message)`.
///
/// The JSON is of use only when there are no errors. Dates become strings.
#[pyfunction]
pub fn parse_toml(text: &str) -> (String, Vec<(usize, usize, String)>) {
    if let Some(json) = by_pieces(text) {
        return (json, Vec::new());
    }
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

/// The document as JSON, where it is long, right, and nothing but servers after the first `[[server]]`. Then its pieces mean
/// on their own what they mean together: a header `[[server]]` leaves all tables before it. One that stands inside a
/// string of several lines cuts that string in two, which is an error in the piece.
fn by_pieces(text: &str) -> Option<String> {
    if text.len() < 2 * PIECE {
        return None;
    }
    let mut cuts = list_headers(text);
    let first = cuts.next()?;
    let mut json = String::with_capacity(text.len());
    let head = DeTable::parse(&text[..first]).ok()?;
    if head.get_ref().iter().any(|(key, _)| key.get_ref() == LIST) {
        return None;
    }
    table_json(head.get_ref(), &mut json);
    json.pop();
    json.push_str(if json.len() > 1 { ",\"server\":[" } else { "\"server\":[" });
    let mut start = first;
    let ends = cuts.map(Some).chain([None]);
    for end in ends {
        let end = end.unwrap_or(text.len());
        if end - start < PIECE && end < text.len() {
            continue;
        }
        if start > first {
            json.push(',');
        }
        piece_json(&text[start..end], &mut json)?;
        start = end;
    }
    json.push_str("]}");
    Some(json)
}

/// Where the lines stand that are a `[[server]]` and nothing else.
fn list_headers(text: &str) -> impl Iterator<Item = usize> {
    text.match_indices(LIST_HEADER).map(|(at, _)| at).filter(|at| {
        let (before, after) = (&text[..*at], &text[at + LIST_HEADER.len()..]);
        (before.is_empty() || before.ends_with('\n')) && (after.is_empty() || after.starts_with(['\n', '\r']))
    })
}

/// Appends the servers of a piece that has nothing else.
fn piece_json(text: &str, out: &mut String) -> Option<()> {
    let piece = DeTable::parse(text).ok()?;
    let mut entries = piece.get_ref().iter();
    let (_, servers) = entries.next().filter(|(key, _)| key.get_ref() == LIST)?;
    let DeValue::Array(servers) = servers.get_ref() else { return None };
    if entries.next().is_some() {
        return None;
    }
    items_json(servers, out);
    Some(())
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
            items_json(items, out);
            out.push(']');
        }
        DeValue::Table(table) => table_json(table, out),
    }
}

fn items_json(items: &[Spanned<DeValue<'_>>], out: &mut String) {
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        value_json(item.get_ref(), out);
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
