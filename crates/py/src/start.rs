//! `start_response` and `write` (PEP 3333, "the `start_response()` callable").
use crate::link::{Link, Phase};
use crate::worker::Worker;
use buchner_wire::headers::{is_valid_name, is_valid_value};
use buchner_wire::slot::{MAX_PAYLOAD, ResponseWriter};
use pyo3::exceptions::{PyAssertionError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};
use std::borrow::Cow;
use std::sync::Arc;

/// Bytes of a response head; the frame has to hold it and a piece of the body.
const MAX_HEAD: usize = MAX_PAYLOAD / 4;

/// What a head says that the sender has to know.
#[derive(Default)]
struct Facts {
    content_length: Option<u64>,
    event_stream: bool,
    /// The gateway sends a file instead of the body, so the body need not have the length of the file.
    names_file: bool,
}

/// The callable an app gives status and headers to.
#[pyclass(module = "buchner._native", frozen)]
pub struct StartResponse {
    pub link: Arc<Link>,
    pub worker: Arc<Worker>,
    pub slot: usize,
    pub serial: u64,
}

#[pymethods]
impl StartResponse {
    #[pyo3(signature = (status, headers, exc_info=None, /))]
    fn __call__(
        &self,
        py: Python<'_>,
        status: &Bound<'_, PyAny>,
        headers: &Bound<'_, PyAny>,
        exc_info: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Write> {
        let mut frame = {
            let mut state = self.link.of(py, self.serial)?;
            match (state.phase, exc_info) {
                (Phase::Silent, _) | (Phase::Head, Some(_)) => {}
                // flask-sock ends every WebSocket with an empty response; it has nowhere to go.
                (Phase::Upgraded, None) => return Ok(self.write()),
                (Phase::Head, None) => {
                    return Err(PyAssertionError::new_err("start_response was called twice without exc_info"));
                }
                (_, Some(info)) => {
                    drop(state);
                    return Err(raise(info)?);
                }
                (_, None) => {
                    return Err(PyAssertionError::new_err("start_response was called after the head had been sent"));
                }
            }
            std::mem::take(&mut state.out)
        };
        frame.clear();
        let (code, facts) = encode(&mut frame, status, headers)?;
        let mut state = self.link.of(py, self.serial)?;
        state.out = frame;
        state.held = 0;
        state.phase = Phase::Head;
        state.bodiless = state.head_method || code == 204 || code == 304;
        state.remaining = facts.content_length.filter(|_| !facts.names_file);
        state.event_stream = facts.event_stream && facts.content_length.is_none();
        Ok(self.write())
    }
}

impl StartResponse {
    fn write(&self) -> Write {
        Write { link: self.link.clone(), worker: self.worker.clone(), slot: self.slot, serial: self.serial }
    }
}

/// `raise exc_info[1].with_traceback(exc_info[2])`, as an error to return.
fn raise(info: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let info = info.cast::<PyTuple>().map_err(|_| PyTypeError::new_err("exc_info must be a tuple"))?;
    let value = info.get_item(1)?;
    let value = value.call_method1("with_traceback", (info.get_item(2)?,))?;
    Ok(PyErr::from_value(value))
}

/// The bytes of a native string (PEP 3333: Latin-1 characters only).
fn latin1<'a>(what: &str, text: &'a Bound<'_, PyString>) -> PyResult<Cow<'a, [u8]>> {
    // The copy is for strings that aren't ASCII; a lone surrogate has no UTF-8 and isn't Latin-1 either.
    let utf8 = text.to_str().map_err(|_| not_latin1(what, text))?;
    if utf8.is_ascii() {
        return Ok(Cow::Borrowed(utf8.as_bytes()));
    }
    let bytes: Result<Vec<u8>, _> = utf8.chars().map(u8::try_from).collect();
    bytes.map(Cow::Owned).map_err(|_| not_latin1(what, text))
}

fn not_latin1(what: &str, text: &Bound<'_, PyString>) -> PyErr {
    PyValueError::new_err(format!("{what} has characters outside Latin-1: {}", show(text)))
}

fn show(value: &Bound<'_, PyAny>) -> String {
    value.repr().map_or_else(|_| "?".into(), |repr| repr.to_string_lossy().chars().take(200).collect())
}

fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "?".into(), |name| name.to_string())
}

fn as_str<'a, 'py>(what: &str, value: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyString>> {
    value
        .cast::<PyString>()
        .map_err(|_| PyTypeError::new_err(format!("{what} must be a str, not {}: {}", type_name(value), show(value))))
}

/// Headers that are the gateway's business (RFC 9110 section 7.6.1; PEP 3333, "other HTTP features").
fn is_hop_by_hop(name: &[u8]) -> bool {
    let names: &[&[u8]] = match name.len() {
        2 => &[b"te"],
        7 => &[b"trailer", b"upgrade"],
        8 => &[b"trailers"],
        10 => &[b"connection", b"keep-alive"],
        16 => &[b"proxy-connection"],
        17 => &[b"transfer-encoding"],
        18 => &[b"proxy-authenticate"],
        19 => &[b"proxy-authorization"],
        _ => return false,
    };
    names.iter().any(|hop| name.eq_ignore_ascii_case(hop))
}

/// Code and reason of a status line's end.
fn parse_status(status: &[u8]) -> Option<(u16, &[u8])> {
    let (digits, reason) = status.split_first_chunk::<3>()?;
    let code = digits
        .iter()
        .try_fold(0u16, |code, &digit| digit.is_ascii_digit().then(|| code * 10 + u16::from(digit - b'0')))?;
    let reason = match reason.split_first() {
        None => reason,
        Some((b' ', reason)) => reason,
        Some(_) => return None,
    };
    let clean = is_valid_value(reason) && !reason.contains(&b'\t');
    (code >= 200 && clean).then_some((code, reason))
}

/// Checks status and headers, and writes the head of the RESPONSE frame.
fn encode(frame: &mut Vec<u8>, status: &Bound<'_, PyAny>, headers: &Bound<'_, PyAny>) -> PyResult<(u16, Facts)> {
    let status_line = latin1("the status", as_str("the status", status)?)?;
    let (code, reason) = parse_status(&status_line).ok_or_else(|| {
        PyValueError::new_err(format!("the status must be three digits, a space and a reason, not {}", show(status)))
    })?;
    let headers = headers.cast::<PyList>().map_err(|_| {
        PyTypeError::new_err(format!("the headers must be a list of (name, value) tuples, not {}", type_name(headers)))
    })?;
    let mut facts = Facts::default();
    let mut writer = ResponseWriter::new(frame, code, reason);
    let mut total = 0;
    for pair in headers.iter() {
        let wrong = || PyTypeError::new_err(format!("a header must be a tuple (name, value), not {}", show(&pair)));
        let tuple = pair.cast::<PyTuple>().map_err(|_| wrong())?;
        if tuple.len() != 2 {
            return Err(wrong());
        }
        let (name, value) = (tuple.get_borrowed_item(0)?, tuple.get_borrowed_item(1)?);
        let name = latin1("a header's name", as_str("a header's name", &name)?)?;
        let value = latin1("a header's value", as_str("a header's value", &value)?)?;
        total += name.len() + value.len() + 6;
        check(&name, &value, &mut facts)?;
        if total > MAX_HEAD || !writer.header(&name, &value) {
            return Err(PyValueError::new_err(format!("the response headers are more than {MAX_HEAD} bytes")));
        }
    }
    writer.end();
    Ok((code, facts))
}

/// Checks one header and notes what the sender has to know.
fn check(name: &[u8], value: &[u8], facts: &mut Facts) -> PyResult<()> {
    let lossy = || String::from_utf8_lossy(name).into_owned();
    if !is_valid_name(name) {
        return Err(PyValueError::new_err(format!("{:?} is not a header name", lossy())));
    }
    if !is_valid_value(value) {
        return Err(PyValueError::new_err(format!("the value of header {} has control characters", lossy())));
    }
    if is_hop_by_hop(name) {
        return Err(PyAssertionError::new_err(format!(
            "header {} is about the connection, which is the gateway's: an application must not send it (PEP 3333)",
            lossy()
        )));
    }
    if name.eq_ignore_ascii_case(b"content-length") {
        let length = std::str::from_utf8(value).ok().filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
        let length = length.and_then(|value| value.parse().ok());
        let length = length.ok_or_else(|| PyValueError::new_err("Content-Length must be a number of bytes"))?;
        if facts.content_length.is_some_and(|before| before != length) {
            return Err(PyValueError::new_err("two different Content-Length headers"));
        }
        facts.content_length = Some(length);
    } else if name.eq_ignore_ascii_case(b"content-type") {
        let media = value.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        facts.event_stream = media.eq_ignore_ascii_case(b"text/event-stream");
    } else if name.eq_ignore_ascii_case(b"x-sendfile") || name.eq_ignore_ascii_case(b"x-accel-redirect") {
        facts.names_file = true;
    }
    Ok(())
}

/// The `write` callable that `start_response` returns.
#[pyclass(module = "buchner._native", frozen)]
pub struct Write {
    link: Arc<Link>,
    worker: Arc<Worker>,
    slot: usize,
    serial: u64,
}

#[pymethods]
impl Write {
    fn __call__(&self, py: Python<'_>, data: &Bound<'_, PyBytes>) -> PyResult<()> {
        crate::answer::push(py, &self.worker, &self.link, self.slot, self.serial, data.as_bytes(), true)
    }
}
