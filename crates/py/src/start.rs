//! `start_response` and `write` (PEP 3333, "the `start_response()` callable").
use crate::answer::{Call, push};
use crate::link::{Link, Phase};
use crate::worker::Worker;
use buchner_wire::headers::{HeaderId, is_valid_name, is_valid_value};
use buchner_wire::slot::{MAX_PAYLOAD, ResponseWriter};
use pyo3::exceptions::{PyAssertionError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};
use std::borrow::Cow;
use std::sync::{Arc, PoisonError};

/// Bytes of a response head; the frame has to hold it and a piece of the body.
const MAX_HEAD: usize = MAX_PAYLOAD / 4;
/// Names of dropped headers that a worker logs.
const MAX_LOGGED: usize = 64;

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
                // It was refused, or nobody waits for it any more: the app is about to see that.
                (Phase::Done, None) if state.gone => return Ok(self.write()),
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
        let (code, facts, dropped) = encode(&mut frame, status, headers)?;
        if !dropped.is_empty() {
            log_dropped(py, &self.worker, &dropped);
        }
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

/// Response headers about the connection (RFC 9110 section 7.6.1), which is the gateway's. Every server of WSGI apps that
/// is in use drops them, and apps that stream events or relay responses set them.
const OF_THE_CONNECTION: [&str; 10] = [
    "Connection",
    "Keep-Alive",
    "Proxy-Authorization",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Trailers",
    "Transfer-Encoding",
    "Upgrade",
    "HTTP2-Settings",
];

/// The index of a header in [`OF_THE_CONNECTION`].
fn of_the_connection(name: &[u8]) -> Option<usize> {
    OF_THE_CONNECTION.iter().position(|hop| name.eq_ignore_ascii_case(hop.as_bytes()))
}

/// Headers of a response that are not sent.
#[derive(Default)]
struct Dropped {
    /// The status is 426, whose Upgrade is for the client: it names what is asked for (RFC 9110 section 15.5.22).
    upgrade_stays: bool,
    /// Bits of [`OF_THE_CONNECTION`].
    seen: u32,
    /// Their names, for the log and for development.
    names: Vec<String>,
    /// The options of Connection, in lower case: headers of these names are about the connection, too.
    options: Vec<Vec<u8>>,
}

impl Dropped {
    /// Notes a header that is about the connection. An error: without it the body would be misread.
    fn note(&mut self, index: usize, value: &[u8]) -> PyResult<()> {
        let name = OF_THE_CONNECTION[index];
        if name == "Transfer-Encoding"
            && (self.seen & 1 << index != 0 || !value.trim_ascii().eq_ignore_ascii_case(b"chunked"))
        {
            return Err(PyAssertionError::new_err(format!(
                "the response has Transfer-Encoding: {}. The transfer coding is the gateway's (PEP 3333), and without \
                 this one the body would be misread; only \"chunked\" alone is dropped",
                String::from_utf8_lossy(value)
            )));
        }
        if name == "Connection" {
            let options = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
            self.options.extend(options.filter(|option| !option.is_empty()).map(<[u8]>::to_ascii_lowercase));
        }
        self.seen |= 1 << index;
        self.add(name);
        Ok(())
    }

    fn add(&mut self, name: &str) {
        if !self.names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            self.names.push(name.to_owned());
        }
    }

    /// A Connection of this response names the header. Known headers stay: they are meant for the client.
    fn named(&self, name: &[u8]) -> bool {
        !self.options.is_empty()
            && HeaderId::of(name) == HeaderId::Other
            && self.options.iter().any(|option| option.eq_ignore_ascii_case(name))
    }
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

/// What is wrong with a status.
fn wrong_status(line: &[u8], status: &Bound<'_, PyAny>) -> PyErr {
    let interim = line.first() == Some(&b'1') && line.get(1..3).is_some_and(|rest| rest.iter().all(u8::is_ascii_digit));
    PyValueError::new_err(if interim {
        format!(
            "the status {} is interim (1xx): it cannot be the response of an app, which is final; the gateway sends \
             100 and 101 itself",
            show(status)
        )
    } else {
        format!("the status must be three digits, a space and a reason, not {}", show(status))
    })
}

/// Checks status and headers, and writes the head of the RESPONSE frame.
fn encode(
    frame: &mut Vec<u8>,
    status: &Bound<'_, PyAny>,
    headers: &Bound<'_, PyAny>,
) -> PyResult<(u16, Facts, Vec<String>)> {
    let status_line = latin1("the status", as_str("the status", status)?)?;
    let (code, reason) = parse_status(&status_line).ok_or_else(|| wrong_status(&status_line, status))?;
    let headers = headers.cast::<PyList>().map_err(|_| {
        PyTypeError::new_err(format!("the headers must be a list of (name, value) tuples, not {}", type_name(headers)))
    })?;
    let mut dropped = Dropped { upgrade_stays: code == 426, ..Dropped::default() };
    let mut facts = fields(ResponseWriter::new(frame, code, reason), headers, &mut dropped)?;
    if !dropped.names.is_empty() {
        // Once more: a header may come before the Connection that names it.
        frame.clear();
        facts = fields(ResponseWriter::new(frame, code, reason), headers, &mut dropped)?;
    }
    Ok((code, facts, dropped.names))
}

/// Writes the headers, less those that are about the connection.
fn fields(mut writer: ResponseWriter<'_>, headers: &Bound<'_, PyList>, dropped: &mut Dropped) -> PyResult<Facts> {
    let mut facts = Facts::default();
    let mut total = 0;
    dropped.seen = 0;
    for pair in headers.iter() {
        let wrong = || PyTypeError::new_err(format!("a header must be a tuple (name, value), not {}", show(&pair)));
        let tuple = pair.cast::<PyTuple>().map_err(|_| wrong())?;
        if tuple.len() != 2 {
            return Err(wrong());
        }
        let (name, value) = (tuple.get_borrowed_item(0)?, tuple.get_borrowed_item(1)?);
        let name = latin1("a header's name", as_str("a header's name", &name)?)?;
        let value = latin1("a header's value", as_str("a header's value", &value)?)?;
        check(&name, &value)?;
        let stays = dropped.upgrade_stays && HeaderId::of(&name) == HeaderId::Upgrade;
        if let Some(index) = of_the_connection(&name).filter(|_| !stays) {
            dropped.note(index, &value)?;
            continue;
        }
        if dropped.named(&name) {
            dropped.add(&String::from_utf8_lossy(&name));
            continue;
        }
        facts.note(&name, &value)?;
        total += name.len() + value.len() + 6;
        if total > MAX_HEAD || !writer.header(&name, &value) {
            return Err(PyValueError::new_err(format!("the response headers are more than {MAX_HEAD} bytes")));
        }
    }
    if !dropped.names.is_empty() {
        // The gateway sends it on in development only.
        writer.header(HeaderId::XBuchnerDropped.name().as_bytes(), dropped.names.join(", ").as_bytes());
    }
    writer.end();
    Ok(facts)
}

/// Checks the form of one header.
fn check(name: &[u8], value: &[u8]) -> PyResult<()> {
    let lossy = || String::from_utf8_lossy(name).into_owned();
    if !is_valid_name(name) {
        return Err(PyValueError::new_err(format!("{:?} is not a header name", lossy())));
    }
    if !is_valid_value(value) {
        return Err(PyValueError::new_err(format!("the value of header {} has control characters", lossy())));
    }
    Ok(())
}

impl Facts {
    /// Notes what the sender has to know of one header.
    fn note(&mut self, name: &[u8], value: &[u8]) -> PyResult<()> {
        if name.eq_ignore_ascii_case(b"content-length") {
            let length =
                std::str::from_utf8(value).ok().filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
            let length = length.and_then(|value| value.parse().ok());
            let length = length.ok_or_else(|| PyValueError::new_err("Content-Length must be a number of bytes"))?;
            if self.content_length.is_some_and(|before| before != length) {
                return Err(PyValueError::new_err("two different Content-Length headers"));
            }
            self.content_length = Some(length);
        } else if name.eq_ignore_ascii_case(b"content-type") {
            let media = value.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
            self.event_stream = media.eq_ignore_ascii_case(b"text/event-stream");
        } else if name.eq_ignore_ascii_case(b"x-sendfile") || name.eq_ignore_ascii_case(b"x-accel-redirect") {
            self.names_file = true;
        }
        Ok(())
    }
}

/// Logs headers that were dropped, each name once in a worker's life.
fn log_dropped(py: Python<'_>, worker: &Worker, names: &[String]) {
    let new: Vec<_> = {
        let mut logged = worker.dropped.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        let room = MAX_LOGGED.saturating_sub(logged.len());
        names.iter().filter(|name| logged.insert(name.to_ascii_lowercase())).take(room).cloned().collect()
    };
    if new.is_empty() {
        return;
    }
    let words = format!(
        "the app sets {}: headers about the connection are the gateway's (PEP 3333), so they are dropped, here and in \
         further responses",
        new.join(", ")
    );
    if let Err(error) = worker.logger.bind(py).call_method1("warning", ("%s", words)) {
        error.write_unraisable(py, None);
    }
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
        let call = Call { worker: &self.worker, link: &self.link, slot: self.slot, serial: self.serial };
        push(py, call, data.as_bytes(), true)
    }
}
