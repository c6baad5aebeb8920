//! `wsgi.input`: the body of a request as a file (PEP 3333, "input and error streams").
use crate::link::{Incoming, Link};
use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyList};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes read from a spooled body in one go.
const BLOCK: usize = 64 << 10;

/// Where a body comes from.
enum Source {
    /// All that is left is in the buffer.
    Nothing,
    /// A file the gateway wrote; read with pread, the offset belongs to nobody else.
    File { file: OwnedFd, offset: u64, length: u64 },
    /// Frames of the slot's socket.
    Frames { link: Arc<Link>, serial: u64 },
}

struct Reader {
    source: Source,
    buffer: Vec<u8>,
    at: usize,
}

impl Reader {
    fn ready(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    /// Gets more bytes behind those in the buffer; false at the end of the body.
    fn more(&mut self, py: Python<'_>) -> PyResult<bool> {
        if self.at > 0 {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        let before = self.buffer.len();
        match &mut self.source {
            Source::Nothing => return Ok(false),
            Source::File { file, offset, length } => {
                let want = usize::try_from(*length - *offset).unwrap_or(BLOCK).min(BLOCK);
                let buffer = &mut self.buffer;
                let read = py.detach(|| {
                    buffer.resize(before + want, 0);
                    rustix::io::pread(&*file, &mut buffer[before..], *offset)
                });
                buffer.truncate(before + *read.as_ref().unwrap_or(&0));
                let failed =
                    |error: rustix::io::Errno| PyOSError::new_err((error.raw_os_error(), "reading the request body"));
                match read.map_err(failed)? {
                    // What is missing must not be taken for the end.
                    0 if want > 0 => return Err(failed(rustix::io::Errno::IO)),
                    read => *offset += read as u64,
                }
            }
            Source::Frames { link, serial } => {
                let mut state = link.of(py, *serial)?;
                let (buffer, state) = (&mut self.buffer, &mut *state);
                let incoming = py.detach(|| {
                    state.read_body(buffer);
                    state.incoming
                });
                if incoming == Incoming::Aborted {
                    return Err(PyOSError::new_err((
                        rustix::io::Errno::CONNRESET.raw_os_error(),
                        "the client went away before it had sent the whole body",
                    )));
                }
            }
        }
        Ok(self.buffer.len() > before)
    }

    fn take<'py>(&mut self, py: Python<'py>, count: usize) -> Bound<'py, PyBytes> {
        let count = count.min(self.ready().len());
        let bytes = PyBytes::new(py, &self.ready()[..count]);
        self.at += count;
        bytes
    }

    fn read<'py>(&mut self, py: Python<'py>, size: Option<usize>) -> PyResult<Bound<'py, PyBytes>> {
        while self.ready().len() < size.unwrap_or(usize::MAX) && self.more(py)? {}
        Ok(self.take(py, size.unwrap_or(usize::MAX)))
    }

    fn readline<'py>(&mut self, py: Python<'py>, size: Option<usize>) -> PyResult<Bound<'py, PyBytes>> {
        let limit = size.unwrap_or(usize::MAX);
        let mut searched = 0;
        loop {
            let ready = self.ready();
            let stop = ready.len().min(limit);
            if let Some(newline) = ready[searched..stop].iter().position(|&byte| byte == b'\n') {
                return Ok(self.take(py, searched + newline + 1));
            }
            searched = stop;
            if stop == limit || !self.more(py)? {
                return Ok(self.take(py, limit));
            }
        }
    }
}

/// The request's body, a file opened for reading.
#[pyclass(module = "buchner._native", frozen)]
pub struct Input {
    reader: Mutex<Reader>,
}

impl Input {
    fn make(source: Source, buffer: Vec<u8>) -> Self {
        Self { reader: Mutex::new(Reader { source, buffer, at: 0 }) }
    }

    /// A body that is all here.
    pub fn inline(bytes: &[u8]) -> Self {
        Self::make(Source::Nothing, bytes.to_vec())
    }

    /// A body in a file.
    pub fn file(file: OwnedFd, length: u64) -> Self {
        Self::make(Source::File { file, offset: 0, length }, Vec::new())
    }

    /// A body that comes as frames.
    pub fn frames(link: Arc<Link>, serial: u64) -> Self {
        Self::make(Source::Frames { link, serial }, Vec::new())
    }

    fn lock(&self, py: Python<'_>) -> MutexGuard<'_, Reader> {
        self.reader.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sizes as Python files take them: None or negative is "all".
fn limit(size: Option<isize>) -> Option<usize> {
    size.and_then(|size| usize::try_from(size).ok())
}

#[pymethods]
impl Input {
    /// Read `size` bytes, or all; fewer only at the end of the body.
    #[pyo3(signature = (size=None, /))]
    fn read<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.lock(py).read(py, limit(size))
    }

    /// Read at most `size` bytes, waiting only when there are none.
    #[pyo3(signature = (size=None, /))]
    fn read1<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        let mut reader = self.lock(py);
        if reader.ready().is_empty() && limit(size) != Some(0) {
            reader.more(py)?;
        }
        Ok(reader.take(py, limit(size).unwrap_or(usize::MAX)))
    }

    /// Read into a buffer; returns the number of bytes.
    fn readinto(&self, py: Python<'_>, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        let view = py.import("builtins")?.getattr("memoryview")?.call1((buffer,))?.call_method1("cast", ("B",))?;
        let bytes = self.lock(py).read(py, Some(view.len()?))?;
        let count = bytes.as_bytes().len();
        view.set_item(pyo3::types::PySlice::new(py, 0, count as isize, 1), bytes)?;
        Ok(count)
    }

    /// Read a line with its newline, at most `size` bytes of it.
    #[pyo3(signature = (size=None, /))]
    fn readline<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.lock(py).readline(py, limit(size))
    }

    /// Read all lines, or lines of about `hint` bytes together.
    #[pyo3(signature = (hint=None, /))]
    fn readlines<'py>(&self, py: Python<'py>, hint: Option<isize>) -> PyResult<Bound<'py, PyList>> {
        let lines = PyList::empty(py);
        let mut reader = self.lock(py);
        let (mut total, hint) = (0, limit(hint).filter(|&hint| hint > 0).unwrap_or(usize::MAX));
        while total < hint {
            let line = reader.readline(py, None)?;
            if line.as_bytes().is_empty() {
                break;
            }
            total += line.as_bytes().len();
            lines.append(line)?;
        }
        Ok(lines)
    }

    fn __iter__(this: Bound<'_, Self>) -> Bound<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let line = self.lock(py).readline(py, None)?;
        Ok((!line.as_bytes().is_empty()).then_some(line))
    }

    /// True: this is a file opened for reading.
    #[expect(clippy::unused_self, reason = "a method of Python's file protocol")]
    fn readable(&self) -> bool {
        true
    }

    /// Nothing: the body belongs to the request.
    #[expect(clippy::unused_self, reason = "a method of Python's file protocol")]
    fn close(&self) {}

    /// Not a real file: there is no descriptor.
    #[expect(clippy::unused_self, reason = "a method of Python's file protocol")]
    fn fileno(&self) -> PyResult<i32> {
        Err(PyOSError::new_err("wsgi.input has no descriptor"))
    }
}

impl From<crate::link::Gone> for PyErr {
    fn from(gone: crate::link::Gone) -> Self {
        crate::link::gone_error(gone)
    }
}

/// The error for what can't be.
pub fn internal(words: &str) -> PyErr {
    PyRuntimeError::new_err(format!("buchner: {words}"))
}
