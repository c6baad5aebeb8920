//! A slot's loop: take a request, run the app, send the answer.
use crate::answer;
use crate::conn::{self, Conn, SlotSet};
use crate::environ::{Broken, Maker, Parts};
use crate::fork;
use crate::input::{Input, internal};
use crate::link::{self, Link};
use crate::start::StartResponse;
use crate::worker::Worker;
use buchner_gateway::sys::owned_fd;
use buchner_gateway::text::printable;
use buchner_wire::slot::{self, Header, claim};
use pyo3::exceptions::{PyConnectionError, PyException, PyOSError, PyStopIteration};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

/// Where requests are served.
struct Place<'a> {
    worker: &'a Arc<Worker>,
    slot: usize,
    link: &'a Arc<Link>,
}

/// Serves a slot until the worker stops or an answer takes the thread away from it.
pub fn serve(py: Python<'_>, worker: &Arc<Worker>, slot: usize, mut set: Box<SlotSet>) {
    let link = Arc::new(Link::new());
    worker.guard.watch(&link);
    let mut maker = Maker::new(worker.base.clone_ref(py));
    let mailbox = &worker.slots[slot];
    loop {
        let Some(header) = set.try_next() else {
            set.conns.append(&mut mailbox.conns.lock().unwrap_or_else(PoisonError::into_inner));
            // What reached the sockets before the order to stop is still answered.
            if worker.stopping.load(Ordering::Acquire) && !set.holds() {
                return;
            }
            py.detach(|| {
                set.wait(mailbox.wake.as_fd());
                let _ = rustix::io::read(&mailbox.wake, &mut [0; 8]);
            });
            continue;
        };
        if !take(&mut set, header) {
            continue;
        }
        worker.busy.fetch_add(1, Ordering::Relaxed);
        let back = one(py, &Place { worker, slot, link: &link }, &mut maker, set, header);
        match back {
            Some(back) => {
                worker.busy.fetch_sub(1, Ordering::Relaxed);
                set = back;
            }
            None => return,
        }
    }
}

/// Takes the request, unless the gateway took it back; then it is answered and consumed.
fn take(set: &mut SlotSet, header: Header) -> bool {
    let current = set.current;
    let conn = &mut set.conns[current];
    conn.received = conn.received.wrapping_add(1);
    let request = match slot::Request::parse(conn.payload(header)) {
        Ok(request) => request,
        Err(error) => {
            conn.fail(error);
            set.forget_dead();
            return false;
        }
    };
    if request.claim == slot::NO_CLAIM {
        return true;
    }
    let (offered, taken) = (claim::word(request.ticket, claim::OFFERED), claim::word(request.ticket, claim::TAKEN));
    let word = conn.claims.get(request.claim);
    let got =
        word.is_some_and(|word| word.compare_exchange(offered, taken, Ordering::AcqRel, Ordering::Acquire).is_ok());
    if !got {
        let _ = take_spooled(conn, header);
        link::skip(conn);
        conn.consume(header);
    }
    got
}

/// The descriptor of a spooled body, if that is what the request has; an error when it did not get here.
fn take_spooled(conn: &mut Conn, header: Header) -> Result<Option<OwnedFd>, ()> {
    if header.flags & slot::SPOOLED == 0 {
        return Ok(None);
    }
    if header.flags & slot::UNSENT != 0 {
        return Err(());
    }
    conn.take_descriptor().map(Some).ok_or(())
}

/// Responds 503 to a request that cannot be run for want of memory or descriptors.
fn refuse(conn: &mut Conn, header: Header, words: &str) {
    conn::say(&format!("503: {words}"));
    conn.discard_body = header.flags & slot::STREAMED != 0;
    conn.consume(header);
    let mut frame = Vec::with_capacity(256);
    answer::write_failure(&mut frame, 503, b"Service Unavailable");
    slot::finish_response(&mut frame, slot::COMPLETE | slot::FAILED, words.len());
    frame.extend_from_slice(words.as_bytes());
    conn.hold(&frame);
    conn.send_held();
}

/// Runs one request. Returns the slot's sockets, or `None` when the answer left the slot and another thread has them.
fn one(
    py: Python<'_>,
    place: &Place<'_>,
    maker: &mut Maker,
    mut set: Box<SlotSet>,
    header: Header,
) -> Option<Box<SlotSet>> {
    let Place { worker, slot, link } = *place;
    let current = set.current;
    let conn = &mut set.conns[current];
    let parts = match maker.make(py, conn, header) {
        Ok(parts) => parts,
        Err(Broken::Python(error)) => {
            let _ = take_spooled(conn, header);
            refuse(conn, header, &format!("the worker could not make the request's environ: {error}"));
            return Some(set);
        }
        Err(Broken::Frame(error)) => {
            conn.fail(error);
            set.forget_dead();
            return Some(set);
        }
    };
    let Ok(spooled) = take_spooled(conn, header) else {
        let unsent = header.flags & slot::UNSENT != 0;
        let words = if unsent {
            "the descriptor of the request's body could not be sent: the gateway's user has too many in flight (open_files)"
        } else {
            "the worker has no descriptor left for the request's body (open_files)"
        };
        refuse(conn, header, words);
        return Some(set);
    };
    let inline = (header.flags & slot::INLINE != 0).then(|| Input::inline(&conn.payload(header)[parts.body_at..]));
    conn.consume(header);
    let serial = link.begin(py, set, header.flags & slot::STREAMED != 0, &parts);
    let input = match (inline, spooled) {
        (Some(input), _) => Some(input),
        (None, Some(file)) => Some(Input::file(file, parts.body_length)),
        (None, None) if header.flags & slot::STREAMED != 0 => Some(Input::frames(link.clone(), serial)),
        (None, None) => None,
    };
    let run = Run { worker, link, slot, serial, development: header.flags & slot::DEVELOPMENT != 0 };
    run.request(py, &parts, input, header.flags & slot::UPGRADE != 0);
    worker.count(py);
    if link.lock(py).keeps_slot {
        worker.kept_slots.fetch_sub(1, Ordering::Relaxed);
    }
    let set = link.finish(py);
    if set.is_none() {
        worker.busy.fetch_sub(1, Ordering::Relaxed);
        worker.detached.fetch_sub(1, Ordering::Relaxed);
    }
    set
}

/// A request that runs.
struct Run<'a> {
    worker: &'a Arc<Worker>,
    link: &'a Arc<Link>,
    slot: usize,
    serial: u64,
    development: bool,
}

impl Run<'_> {
    fn request(&self, py: Python<'_>, parts: &Parts<'_>, input: Option<Input>, upgrade: bool) {
        let socket = match self.prepare(py, &parts.environ, input, upgrade) {
            Ok(socket) => socket,
            Err(error) => return self.failed(py, &parts.environ, &error),
        };
        let done = self.call(py, &parts.environ);
        if self.worker.pid != rustix::process::getpid() {
            let gone = self.link.lock(py).gone;
            fork::end(py, done, gone);
            return;
        }
        if let Some(socket) = socket {
            let used = self.link.lock(py).phase == link::Phase::Upgraded;
            if let Err(error) = socket.call_method0(py, "end_request") {
                error.write_unraisable(py, None);
            }
            if used {
                answer::release(py, self.link);
                match done {
                    // What an app answers after an upgrade has nowhere to go.
                    Err(error) if !ends_on_purpose(py, &error) => self.log(py, &parts.environ, &error),
                    _ => {}
                }
                return;
            }
        }
        match done {
            Ok(()) => {
                if let Some(words) = answer::finish(py, self.worker, self.link) {
                    let error = internal(&words);
                    self.failed(py, &parts.environ, &error);
                }
            }
            Err(error) => self.ended(py, &parts.environ, &error),
        }
    }

    /// Sets what the environ holds beside the pairs. Returns the socket of a request that asks for an upgrade.
    fn prepare(
        &self,
        py: Python<'_>,
        environ: &Bound<'_, PyDict>,
        input: Option<Input>,
        upgrade: bool,
    ) -> PyResult<Option<Py<PyAny>>> {
        if let Some(input) = input {
            environ.set_item(pyo3::intern!(py, "wsgi.input"), Bound::new(py, input)?)?;
        }
        if !upgrade {
            return Ok(None);
        }
        let handle =
            Upgrade { worker: self.worker.clone(), link: self.link.clone(), slot: self.slot, serial: self.serial };
        let class = py.import("buchner.worker.upgrade")?.getattr("UpgradeSocket")?;
        let socket = class.call_method1("of_request", (Py::new(py, handle)?,))?;
        environ.set_item("werkzeug.socket", &socket)?;
        environ.set_item("gunicorn.socket", &socket)?;
        Ok(Some(socket.unbind()))
    }

    /// Calls the app and sends what it gives; `close()` is called whatever happens.
    fn call(&self, py: Python<'_>, environ: &Bound<'_, PyDict>) -> PyResult<()> {
        let start = StartResponse {
            link: self.link.clone(),
            worker: self.worker.clone(),
            slot: self.slot,
            serial: self.serial,
        };
        let result = self.worker.app.bind(py).call1((environ, Bound::new(py, start)?))?;
        let call = answer::Call { worker: self.worker, link: self.link, slot: self.slot, serial: self.serial };
        let sent = answer::send_result(py, call, &result);
        if sent.is_ok() {
            answer::send_held(py, self.worker, self.link);
        }
        match (sent, answer::close(py, self.worker, &result)) {
            (Ok(()), Err(error)) => {
                // The answer is whole: a failing close() is the log's business.
                self.log(py, environ, &error);
                Ok(())
            }
            (sent, _) => sent,
        }
    }

    /// The app ended with an error.
    fn ended(&self, py: Python<'_>, environ: &Bound<'_, PyDict>, error: &PyErr) {
        if error.is_instance_of::<PyOSError>(py) && self.link.lock(py).gone {
            // The client is gone: nobody's fault.
            let _ = answer::finish(py, self.worker, self.link);
            return;
        }
        self.failed(py, environ, error);
    }

    fn failed(&self, py: Python<'_>, environ: &Bound<'_, PyDict>, error: &PyErr) {
        self.worker.failed.fetch_add(1, Ordering::Relaxed);
        self.log(py, environ, error);
        let page = self.development.then(|| development_page(py, environ, error));
        answer::fail(py, self.link, &traceback(py, error), page.as_deref());
    }

    fn log(&self, py: Python<'_>, environ: &Bound<'_, PyDict>, error: &PyErr) {
        let get =
            |key: &str| environ.get_item(key).ok().flatten().map_or_else(|| "-".into(), |value| value.to_string());
        // As the client sent it, the path could end the line and write another.
        let target = format!("{}{}", get("SCRIPT_NAME"), get("PATH_INFO"));
        let what = if error.is_instance_of::<PyException>(py) {
            "the app raised"
        } else {
            "the app tried to end the worker with"
        };
        let name = error.get_type(py).name().map_or_else(|_| "?".into(), |name| name.to_string());
        let options = PyDict::new(py);
        let logged = options.set_item("exc_info", error.clone_ref(py).into_value(py)).and_then(|()| {
            let words =
                format!("{} {target}: {what} {name} (request {})", get("REQUEST_METHOD"), get("HTTP_X_REQUEST_ID"));
            self.worker.logger.bind(py).call_method("error", ("%s", &*printable(&words)), Some(&options))
        });
        if let Err(error) = logged {
            error.write_unraisable(py, None);
        }
    }
}

/// How an app leaves a WebSocket so that a server does not answer: flask-sock raises StopIteration, engineio (Socket.IO) a
/// ConnectionError without a word. One that something has happened to says what.
fn ends_on_purpose(py: Python<'_>, error: &PyErr) -> bool {
    let bare = |error: &PyErr| {
        let arguments = error.value(py).getattr("args").and_then(|arguments| arguments.len());
        error.get_type(py).is(py.get_type::<PyConnectionError>()) && arguments.is_ok_and(|count| count == 0)
    };
    error.is_instance_of::<PyStopIteration>(py) || bare(error)
}

/// The inside of a page about the exception (`buchner.worker.failure`).
fn development_page(py: Python<'_>, environ: &Bound<'_, PyDict>, error: &PyErr) -> String {
    let made = py.import("buchner.worker.failure").and_then(|module| {
        module.call_method1("page", (error.clone_ref(py).into_value(py), environ))?.extract::<String>()
    });
    made.unwrap_or_default()
}

fn traceback(py: Python<'_>, error: &PyErr) -> String {
    let lines = py
        .import("traceback")
        .and_then(|module| module.call_method1("format_exception", (error.clone_ref(py).into_value(py),)));
    let lines = lines.and_then(|lines| Ok(lines.cast_into::<PyList>()?));
    lines.map_or_else(|_| error.to_string(), |lines| lines.iter().map(|line| line.to_string()).collect())
}

/// What an upgrade socket tells the slot with.
#[pyclass(module = "buchner._native", frozen)]
pub struct Upgrade {
    worker: Arc<Worker>,
    link: Arc<Link>,
    slot: usize,
    serial: u64,
}

#[pymethods]
impl Upgrade {
    /// Leave HTTP: the gateway gets `fd`, the other end of the app's socket. False when an ordinary answer has begun.
    fn begin(&self, py: Python<'_>, fd: i32) -> PyResult<bool> {
        let theirs = owned_fd(fd)?;
        answer::upgrade(py, &self.worker, &self.link, self.slot, self.serial, &theirs)
    }
}
