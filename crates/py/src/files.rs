//! `wsgi.file_wrapper` (PEP 3333, "optional platform-specific file handling").
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use std::os::fd::OwnedFd;

/// Bytes of a block when a file is iterated and the app gives no size.
const BLOCK: usize = 64 << 10;
/// `f_type` of sysfs (statfs(2)).
const SYSFS: rustix::fs::FsWord = 0x6265_6572;

/// A file-like object as a response body.
#[pyclass(module = "buchner._native", frozen)]
pub struct FileWrapper {
    file: Py<PyAny>,
    block: usize,
}

#[pymethods]
impl FileWrapper {
    #[new]
    #[pyo3(signature = (filelike, block_size=BLOCK))]
    fn new(filelike: Py<PyAny>, block_size: usize) -> Self {
        Self { file: filelike, block: block_size.max(1) }
    }

    fn __iter__(this: Bound<'_, Self>) -> Bound<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let data = self.file.bind(py).call_method1(pyo3::intern!(py, "read"), (self.block,))?;
        Ok(if data.is_truthy()? { Some(data) } else { None })
    }

    /// Close the file, where it can be closed.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        match self.file.bind(py).getattr_opt("close")? {
            Some(close) => close.call0().map(|_| ()),
            None => Ok(()),
        }
    }
}

/// A part of a file that the gateway can send by itself.
pub struct Part {
    /// A descriptor of our own.
    pub file: OwnedFd,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

impl FileWrapper {
    /// The rest of a regular file from where the app left it; `None` for anything else, which is then iterated. What
    /// `read` of another class gives need not be what the descriptor has (`gzip.open`).
    pub fn part(&self, py: Python<'_>) -> PyResult<Option<Part>> {
        let file = self.file.bind(py);
        if !is_plain(file)? {
            return Ok(None);
        }
        let Some(fileno) = file.getattr_opt("fileno")? else { return Ok(None) };
        let Ok(number) = fileno.call0().and_then(|number| number.extract::<i32>()) else { return Ok(None) };
        let Ok(position) = file.call_method0("tell").and_then(|position| position.extract::<u64>()) else {
            return Ok(None);
        };
        // A duplicate: the app's close() must not take it from the message.
        let Ok(duplicate) = py.import("os")?.call_method1("dup", (number,)) else { return Ok(None) };
        let file = buchner_gateway::sys::owned_fd(duplicate.extract()?)?;
        let stat = rustix::fs::fstat(&file).map_err(std::io::Error::from)?;
        if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
            return Ok(None);
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        // Files of proc(5) have no size, those of sysfs(5) a page whatever is in them.
        if size <= position || rustix::fs::fstatfs(&file).is_ok_and(|fs| fs.f_type == SYSFS) {
            return Ok(None);
        }
        Ok(Some(Part { file, offset: position, length: size.saturating_sub(position) }))
    }
}

/// One of Python's own classes of binary files, over a descriptor.
fn is_plain(file: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = file.py();
    let io = py.import(pyo3::intern!(py, "io"))?;
    let is = |object: &Bound<'_, PyAny>, name: &Bound<'_, PyString>| -> PyResult<bool> {
        Ok(object.get_type().is(&io.getattr(name)?))
    };
    let raw = pyo3::intern!(py, "FileIO");
    if is(file, raw)? {
        return Ok(true);
    }
    if !is(file, pyo3::intern!(py, "BufferedReader"))? && !is(file, pyo3::intern!(py, "BufferedRandom"))? {
        return Ok(false);
    }
    is(&file.getattr(pyo3::intern!(py, "raw"))?, raw)
}

/// A bytes object, or the error that says what came instead.
pub fn as_bytes<'a, 'py>(chunk: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyBytes>> {
    chunk.cast::<PyBytes>().map_err(|_| {
        let name = chunk.get_type().name().map_or_else(|_| "?".into(), |name| name.to_string());
        pyo3::exceptions::PyTypeError::new_err(format!("the response body must be made of bytes, the app gave {name}"))
    })
}
