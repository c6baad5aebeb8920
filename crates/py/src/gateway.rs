//! `_native.gateway_main`: the gateway process's whole life, with the interpreter's lock released.
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use std::os::fd::RawFd;

/// Runs the data plane on the control socket `fd` (docs/control-protocol.md) and returns when it has drained.
/// Takes ownership of the descriptor. Raises `OSError` when the control socket cannot be used.
#[pyfunction]
pub fn gateway_main(py: Python<'_>, fd: RawFd) -> PyResult<()> {
    let socket =
        buchner_gateway::sys::owned_fd(fd).map_err(|e| PyOSError::new_err(format!("control socket {fd}: {e}")))?;
    py.detach(|| buchner_gateway::control::run(socket)).map_err(|e| PyOSError::new_err(e.to_string()))
}
