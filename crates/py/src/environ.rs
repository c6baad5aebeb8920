//! The environ of a request (PEP 3333): the base every request has, and the pairs the gateway sends.
use crate::conn::Conn;
use buchner_wire::slot::{self, Header, KEYS, Key};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};
use std::collections::HashMap;

/// Header names outside the table that a thread keeps as Python strings.
const MAX_NAMES: usize = 256;
/// Bytes of a value that is kept for the next request.
const MAX_KEPT: usize = 256;

/// Keys that every request has; the base holds them so that the copy has room for the whole environ.
const ALWAYS: usize = 12;

static NAMES: PyOnceLock<Vec<Py<PyString>>> = PyOnceLock::new();

fn names(py: Python<'_>) -> &Vec<Py<PyString>> {
    NAMES.get_or_init(py, || KEYS.iter().map(|key| PyString::intern(py, key).unbind()).collect())
}

/// What every request's environ begins as.
pub fn base(
    py: Python<'_>,
    errors: &Bound<'_, PyAny>,
    input: &Bound<'_, PyAny>,
    wrapper: &Bound<'_, PyAny>,
    threads: usize,
    multiprocess: bool,
) -> PyResult<Py<PyDict>> {
    let base = PyDict::new(py);
    for name in &names(py)[..ALWAYS] {
        base.set_item(name, "")?;
    }
    base.set_item("wsgi.version", (1, 0))?;
    base.set_item("wsgi.errors", errors)?;
    base.set_item("wsgi.input", input)?;
    base.set_item("wsgi.input_terminated", true)?;
    base.set_item("wsgi.multithread", threads > 1)?;
    base.set_item("wsgi.multiprocess", multiprocess)?;
    base.set_item("wsgi.run_once", false)?;
    base.set_item("wsgi.file_wrapper", wrapper)?;
    base.set_item("SERVER_SOFTWARE", concat!("Buchner/", env!("CARGO_PKG_VERSION")))?;
    base.set_item("GATEWAY_INTERFACE", "CGI/1.1")?;
    Ok(base.unbind())
}

/// The Latin-1 string of a value (PEP 3333, "a note on string types").
fn text<'py>(py: Python<'py>, value: &[u8]) -> PyResult<Bound<'py, PyString>> {
    if value.is_ascii() {
        return PyString::from_bytes(py, value);
    }
    let value: String = value.iter().map(|&byte| char::from(byte)).collect();
    PyString::from_bytes(py, value.as_bytes())
}

/// A thread's environ maker: what it has seen before, it doesn't make again.
pub struct Maker {
    base: Py<PyDict>,
    other: HashMap<Vec<u8>, Py<PyString>>,
    /// The last value of each known key; clients, hosts and methods repeat.
    last: Vec<Option<(Vec<u8>, Py<PyString>)>>,
}

/// What the slot loop itself has to know of a request.
pub struct Parts<'py> {
    /// The environ.
    pub environ: Bound<'py, PyDict>,
    /// Where in the payload an inline body begins.
    pub body_at: usize,
    /// Bytes of the body.
    pub body_length: u64,
    /// The method is HEAD.
    pub head: bool,
    /// The method is GET or HEAD.
    pub safe: bool,
}

impl Maker {
    /// A maker that starts every environ from `base`.
    pub fn new(base: Py<PyDict>) -> Self {
        Self { base, other: HashMap::new(), last: KEYS.iter().map(|_| None).collect() }
    }

    fn known<'py>(&mut self, py: Python<'py>, key: u8, value: &[u8]) -> PyResult<Bound<'py, PyString>> {
        let last = &mut self.last[usize::from(key)];
        if let Some((bytes, text)) = last {
            if bytes == value {
                return Ok(text.bind(py).clone());
            }
        }
        let made = text(py, value)?;
        if value.len() <= MAX_KEPT {
            let kept = last.get_or_insert_with(|| (Vec::new(), made.clone().unbind()));
            kept.0.clear();
            kept.0.extend_from_slice(value);
            kept.1 = made.clone().unbind();
        }
        Ok(made)
    }

    fn name<'py>(&mut self, py: Python<'py>, name: &[u8]) -> PyResult<Bound<'py, PyString>> {
        if let Some(text) = self.other.get(name) {
            return Ok(text.bind(py).clone());
        }
        let made = text(py, name)?;
        if self.other.len() < MAX_NAMES {
            self.other.insert(name.to_vec(), made.clone().unbind());
        }
        Ok(made)
    }

    /// Makes the environ of the request whose frame is at the front of `conn`.
    pub fn make<'py>(&mut self, py: Python<'py>, conn: &Conn, header: Header) -> Result<Parts<'py>, Broken> {
        let payload = conn.payload(header);
        let request = slot::Request::parse(payload)?;
        let environ = self.base.bind(py).copy()?;
        let (mut head, mut safe) = (false, false);
        let mut method = |value: &[u8]| {
            head = value == b"HEAD";
            safe = head || value == b"GET";
        };
        let names = names(py);
        let body = request.for_each(|key, value| match key {
            Key::Known(key) => {
                if key == 0 {
                    method(value);
                }
                let value = self.known(py, key, value)?;
                environ.set_item(&names[usize::from(key)], value).map_err(Broken::Python)
            }
            Key::Name(name) => {
                if name == b"REQUEST_METHOD" {
                    method(value);
                }
                let name = self.name(py, name)?;
                environ.set_item(name, text(py, value)?).map_err(Broken::Python)
            }
        })?;
        Ok(Parts { environ, body_at: payload.len() - body.len(), body_length: request.body_length, head, safe })
    }
}

/// Why there is no environ.
pub enum Broken {
    /// The gateway sent nonsense.
    Frame(slot::Error),
    /// Python has no memory for it.
    Python(PyErr),
}

impl From<PyErr> for Broken {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl From<slot::Error> for Broken {
    fn from(error: slot::Error) -> Self {
        Self::Frame(error)
    }
}
