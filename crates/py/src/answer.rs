//! Sending an answer: pieces as the app makes them, whole answers in one frame.
use crate::files::{FileWrapper, as_bytes};
use crate::link::{Gone, Link, Phase, State};
use crate::worker::Worker;
use buchner_wire::slot::{self, Kind, MAX_CHUNK};
use pyo3::exceptions::PyAssertionError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A `close()` slower than this makes the worker send answers before it closes them, for a while.
const SLOW_CLOSE: Duration = Duration::from_millis(2);
/// For so many requests.
const CAREFUL_FOR: u32 = 1000;

/// A request and where it is served.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// The worker.
    pub worker: &'a Arc<Worker>,
    /// What is shared with the gateway.
    pub link: &'a Link,
    /// Number of the slot.
    pub slot: usize,
    /// Number of the request on the link.
    pub serial: u64,
}

fn no_head() -> PyErr {
    PyAssertionError::new_err("the app gave a body before it called start_response")
}

/// What of `bytes` Content-Length still allows.
fn allowed<'a>(state: &mut State, bytes: &'a [u8]) -> &'a [u8] {
    let Some(remaining) = &mut state.remaining else { return bytes };
    let count = usize::try_from(*remaining).unwrap_or(usize::MAX).min(bytes.len());
    *remaining -= count as u64;
    &bytes[..count]
}

/// Takes a piece of the body. It is sent at once, except one that completes the Content-Length while nothing was sent:
/// that waits for the end, to leave as one frame. `now` sends in any case.
pub fn push(py: Python<'_>, call: Call<'_>, bytes: &[u8], now: bool) -> PyResult<()> {
    let Call { worker, link, serial, .. } = call;
    let mut state = link.of(py, serial)?;
    if state.gone {
        return Err(Gone.into());
    }
    match state.phase {
        Phase::Silent => return Err(no_head()),
        Phase::Upgraded | Phase::Done => return Ok(()),
        Phase::Head | Phase::Open => {}
    }
    if state.bodiless || bytes.is_empty() {
        return Ok(());
    }
    let bytes = allowed(&mut state, bytes);
    if state.phase == Phase::Open {
        return Ok(Link::send_body(py, &mut state, bytes, (!now).then_some(&worker.guard))?);
    }
    if state.held > 0 {
        return Ok(());
    }
    if state.remaining == Some(0) && bytes.len() <= MAX_CHUNK && !now && !worker.careful() {
        state.out.extend_from_slice(bytes);
        state.held = bytes.len();
        return Ok(());
    }
    if state.event_stream && state.own.is_none() {
        if worker.may_detach() {
            drop(state);
            return detach(py, call, bytes);
        }
        keep_slot(py, worker, &mut state)?;
    }
    Ok(Link::send_head(py, &mut state, 0, bytes, None)?)
}

/// Beyond `max_detached` a response without an end keeps its slot, unless that is the last one: then it is refused.
fn keep_slot(py: Python<'_>, worker: &Worker, state: &mut State) -> PyResult<()> {
    if state.keeps_slot || worker.may_keep_slot() {
        state.keeps_slot = true;
        return Ok(());
    }
    let words = format!("the worker has {} event streams and WebSockets already (max_detached)", worker.max_detached);
    state.out.clear();
    write_failure(&mut state.out, 503, b"Service Unavailable");
    let _ = Link::send_head(py, state, slot::COMPLETE | slot::FAILED, words.as_bytes(), None);
    state.gone = true;
    Err(Gone.into())
}

/// The answer leaves its slot: another thread takes the slot's sockets, this one goes on alone.
fn detach(py: Python<'_>, call: Call<'_>, bytes: &[u8]) -> PyResult<()> {
    let Call { worker, link, slot, serial } = call;
    let successor = worker.spawn(py, slot);
    let pair = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    );
    let mut state = link.of(py, serial)?;
    let (Ok(successor), Ok((ours, theirs))) = (successor, pair) else {
        worker.detached.fetch_sub(1, Ordering::Relaxed);
        return Ok(Link::send_head(py, &mut state, 0, bytes, None)?);
    };
    let sent = Link::send_head(py, &mut state, slot::DETACHED, bytes, Some(theirs.as_fd()));
    leave(&mut state, &successor);
    state.own = Some(ours.into());
    Ok(sent?)
}

/// Hands the slot's sockets to its next thread.
pub fn leave(state: &mut State, successor: &std::sync::mpsc::Sender<Box<crate::conn::SlotSet>>) {
    if state.incoming == crate::link::Incoming::Open {
        if let Some(conn) = state.conn() {
            conn.discard_body = true;
        }
        state.incoming = crate::link::Incoming::Aborted;
    }
    if let Some(set) = state.set.take() {
        let _ = successor.send(set);
    }
}

/// Sends everything the app's result holds.
pub fn send_result(py: Python<'_>, call: Call<'_>, result: &Bound<'_, PyAny>) -> PyResult<()> {
    let Call { link, serial, .. } = call;
    if let Ok(wrapper) = result.cast_exact::<FileWrapper>() {
        if file_may_go(py, link, serial)? {
            if let Some(part) = wrapper.get().part(py)? {
                return send_file(py, link, serial, &part);
            }
        }
    }
    let whole = match (result.cast_exact::<PyList>(), result.cast_exact::<PyTuple>()) {
        (Ok(list), _) => gather(list.iter())?,
        (_, Ok(tuple)) => gather(tuple.iter())?,
        _ => None,
    };
    if let Some(whole) = whole {
        return hold(py, call, &whole);
    }
    for chunk in result.try_iter()? {
        let chunk = chunk?;
        push(py, call, as_bytes(&chunk)?.as_bytes(), false)?;
        let state = link.of(py, serial)?;
        if state.bodiless && state.phase != Phase::Silent {
            break;
        }
    }
    Ok(())
}

/// The pieces of a list joined, where they are small enough for one frame.
fn gather<'py>(chunks: impl Iterator<Item = Bound<'py, PyAny>>) -> PyResult<Option<Vec<u8>>> {
    let mut whole = Vec::new();
    for chunk in chunks {
        let bytes = as_bytes(&chunk)?.as_bytes();
        if whole.len() + bytes.len() > MAX_CHUNK {
            return Ok(None);
        }
        whole.extend_from_slice(bytes);
    }
    Ok(Some(whole))
}

/// A body that is whole waits behind its head for the end of the request.
fn hold(py: Python<'_>, call: Call<'_>, whole: &[u8]) -> PyResult<()> {
    let Call { link, serial, .. } = call;
    let mut state = link.of(py, serial)?;
    if state.phase != Phase::Head {
        drop(state);
        return push(py, call, whole, false);
    }
    if !state.bodiless {
        let whole = allowed(&mut state, whole);
        state.out.extend_from_slice(whole);
        state.held = whole.len();
    }
    Ok(())
}

fn file_may_go(py: Python<'_>, link: &Link, serial: u64) -> PyResult<bool> {
    let state = link.of(py, serial)?;
    Ok(state.phase == Phase::Head && !state.bodiless && state.held == 0)
}

fn send_file(py: Python<'_>, link: &Link, serial: u64, part: &crate::files::Part) -> PyResult<()> {
    let mut state = link.of(py, serial)?;
    let length = state.remaining.map_or(part.length, |remaining| remaining.min(part.length));
    if state.remaining.is_some_and(|remaining| remaining > length) {
        return Err(PyAssertionError::new_err(format!(
            "the file has {length} bytes from where it stands, fewer than the Content-Length"
        )));
    }
    let mut place = [0; 16];
    place[..8].copy_from_slice(&part.offset.to_le_bytes());
    place[8..].copy_from_slice(&length.to_le_bytes());
    state.remaining = state.remaining.map(|_| 0);
    Ok(Link::send_head(py, &mut state, slot::FILE | slot::COMPLETE, &place, Some(part.file.as_fd()))?)
}

/// Calls the result's `close()`, and watches how long that takes.
pub fn close(py: Python<'_>, worker: &Worker, result: &Bound<'_, PyAny>) -> PyResult<()> {
    if result.is_exact_instance_of::<PyList>() || result.is_exact_instance_of::<PyTuple>() {
        return Ok(());
    }
    let Some(close) = result.getattr_opt(pyo3::intern!(py, "close"))? else { return Ok(()) };
    let begun = Instant::now();
    let closed = close.call0();
    if begun.elapsed() > SLOW_CLOSE {
        worker.careful_for.store(CAREFUL_FOR, Ordering::Relaxed);
    }
    closed.map(|_| ())
}

/// Before a `close()` that may be slow: what is held leaves now, the slot stays busy until END.
pub fn send_held(py: Python<'_>, worker: &Worker, link: &Link) {
    let mut state = link.lock(py);
    if state.phase == Phase::Head && worker.careful() {
        slot::finish_response(&mut state.out, 0, 0);
        state.held = 0;
        state.phase = Phase::Open;
        let _ = Link::flush(py, &mut state, None);
    }
}

/// Ends an answer whose app did all it wanted. Returns what is wrong with it.
pub fn finish(py: Python<'_>, worker: &Worker, link: &Link) -> Option<String> {
    let mut state = link.lock(py);
    match state.phase {
        Phase::Silent => Some("the app did not call start_response".into()),
        Phase::Head => {
            let missing = state.remaining.filter(|&remaining| remaining > 0 && !state.bodiless);
            if let Some(missing) = missing {
                return Some(format!("the app's body is {missing} bytes shorter than its Content-Length"));
            }
            slot::finish_response(&mut state.out, slot::COMPLETE, 0);
            state.phase = Phase::Done;
            if !state.hold(&worker.guard) {
                let _ = Link::flush(py, &mut state, None);
            }
            None
        }
        Phase::Open => {
            let missing = state.remaining.filter(|&remaining| remaining > 0 && !state.gone && !state.bodiless);
            let words =
                missing.map(|missing| format!("the app's body is {missing} bytes shorter than its Content-Length"));
            let gone = state.gone;
            let kind = if words.is_some() || gone { Kind::Abort } else { Kind::End };
            Link::send_end(py, &mut state, kind, words.as_deref().unwrap_or(""));
            words
        }
        Phase::Upgraded | Phase::Done => None,
    }
}

/// The head of the worker's own response.
pub fn write_failure(frame: &mut Vec<u8>, status: u16, reason: &[u8]) {
    let mut writer = slot::ResponseWriter::new(frame, status, reason);
    writer.header(b"Content-Type", b"text/plain; charset=utf-8");
    writer.end();
}

/// Answers 500 for an app that failed, or breaks the answer off when its head is gone. `page`: for developers.
pub fn fail(py: Python<'_>, link: &Link, traceback: &str, page: Option<&str>) {
    let mut state = link.lock(py);
    match state.phase {
        Phase::Silent | Phase::Head => {
            state.out.clear();
            write_failure(&mut state.out, 500, b"Internal Server Error");
            let room = MAX_CHUNK - page.map_or(0, |page| page.len() + 1).min(MAX_CHUNK);
            let bytes = traceback.as_bytes();
            let mut told = bytes[bytes.len() - bytes.len().min(room)..].to_vec();
            if let Some(page) = page.filter(|page| page.len() < MAX_CHUNK) {
                told.push(0);
                told.extend_from_slice(page.as_bytes());
            }
            let _ = Link::send_head(py, &mut state, slot::COMPLETE | slot::FAILED, &told, None);
        }
        Phase::Open => {
            let last = traceback.trim_end().rsplit('\n').next().unwrap_or("");
            let words: String = last.chars().take(500).collect();
            Link::send_end(py, &mut state, Kind::Abort, &words);
        }
        Phase::Upgraded | Phase::Done => {}
    }
}

/// Sends UPGRADED with the client's end. Returns false when the answer has begun already.
pub fn upgrade(
    py: Python<'_>,
    worker: &Arc<Worker>,
    link: &Link,
    slot: usize,
    serial: u64,
    theirs: &OwnedFd,
) -> PyResult<bool> {
    if !matches!(link.of(py, serial)?.phase, Phase::Silent | Phase::Head) {
        return Ok(false);
    }
    let successor = if worker.may_detach() {
        worker.spawn(py, slot).map_err(|_| worker.detached.fetch_sub(1, Ordering::Relaxed)).ok()
    } else {
        None
    };
    let mut state = link.of(py, serial)?;
    if successor.is_none() {
        keep_slot(py, worker, &mut state)?;
    }
    state.out.clear();
    let flags = if successor.is_some() { 0 } else { slot::HELD };
    slot::write_frame(&mut state.out, Kind::Upgraded, flags, &[]);
    let sent = Link::flush(py, &mut state, Some(theirs.as_fd()));
    state.phase = Phase::Upgraded;
    if let Some(successor) = successor {
        leave(&mut state, &successor);
    }
    sent?;
    Ok(true)
}

/// After an upgrade that stayed on its slot: the slot is free.
pub fn release(py: Python<'_>, link: &Link) {
    let mut state = link.lock(py);
    if state.phase == Phase::Upgraded && state.set.is_some() {
        Link::send_end(py, &mut state, Kind::End, "");
    }
}
