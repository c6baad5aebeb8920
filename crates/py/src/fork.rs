//! Children that an app forks while it serves a request (`os.fork`, multiprocessing): they are the app's, not workers.
//!
//! A child has copies of the worker's sockets. With them open, the gateway would not see the worker end, and what the child
//! sends would be taken for the worker's. So they are replaced by `/dev/null` in the child, and a child that comes back to
//! the slot's loop ends there.
use buchner_gateway::sys::owned_fd;
use pyo3::exceptions::{PyOSError, PySystemExit};
use pyo3::prelude::*;
use rustix::fs::{Mode, OFlags};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// Descriptor numbers that are kept count of; a worker has far fewer.
const MOST: usize = 1 << 17;

/// A bit for each descriptor that is a socket to a gateway. Without a lock: another thread might hold it at the fork.
static SOCKETS: [AtomicU64; MOST / 64] = [const { AtomicU64::new(0) }; MOST / 64];

fn word(fd: RawFd) -> Option<(&'static AtomicU64, u64)> {
    let at = usize::try_from(fd).ok()?;
    Some((SOCKETS.get(at / 64)?, 1 << (at % 64)))
}

/// A socket to a gateway.
#[derive(Debug)]
pub struct GatewaySocket(OwnedFd);

impl From<OwnedFd> for GatewaySocket {
    fn from(socket: OwnedFd) -> Self {
        if let Some((word, bit)) = word(socket.as_raw_fd()) {
            word.fetch_or(bit, Ordering::Relaxed);
        }
        Self(socket)
    }
}

impl Drop for GatewaySocket {
    fn drop(&mut self) {
        if let Some((word, bit)) = word(self.0.as_raw_fd()) {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }
}

impl AsFd for GatewaySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// In a forked child: gives up the worker's sockets to its gateways. Their numbers stay taken, so that nothing which still
/// names them can reach a file of the app's.
#[pyfunction]
pub fn leave_gateways() -> PyResult<()> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    for (index, word) in SOCKETS.iter().enumerate() {
        let mut bits = word.swap(0, Ordering::Relaxed);
        while bits != 0 {
            let fd = (index * 64) as RawFd + bits.trailing_zeros() as RawFd;
            bits &= bits - 1;
            let Ok(mut socket) = owned_fd(fd) else { continue };
            if let Ok(null) = &null {
                rustix::io::dup3(null, &mut socket, rustix::io::DupFlags::CLOEXEC).map_err(std::io::Error::from)?;
                std::mem::forget(socket);
            }
        }
    }
    Ok(())
}

/// Ends a forked child whose part of the app's call is over, as `sys.exit` would, without the worker's exit handlers.
pub fn end(py: Python<'_>, done: PyResult<()>, gone: bool) {
    let status = match done {
        Ok(()) => 0,
        Err(error) if error.is_instance_of::<PySystemExit>(py) => exit_status(py, &error),
        // It sent a response, which has no way to the client.
        Err(error) if gone && error.is_instance_of::<PyOSError>(py) => 0,
        Err(error) => {
            error.print(py);
            1
        }
    };
    let ended = py.import("sys").and_then(|sys| {
        for stream in ["stdout", "stderr"] {
            let _ = sys.getattr(stream).and_then(|stream| stream.call_method0("flush"));
        }
        py.import("os")?.call_method1("_exit", (status,))
    });
    drop(ended);
    std::process::abort();
}

/// What `sys.exit` was given: nothing, a number, or words for standard error.
fn exit_status(py: Python<'_>, error: &PyErr) -> i32 {
    let Ok(code) = error.value(py).getattr("code") else { return 1 };
    if code.is_none() {
        return 0;
    }
    code.extract().unwrap_or_else(|_| {
        eprintln!("{code}");
        1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_counted_while_they_are_open() {
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let fd = socket.as_raw_fd();
        let (at, bit) = word(fd).unwrap();
        let kept = GatewaySocket::from(OwnedFd::from(socket));
        assert_ne!(at.load(Ordering::Relaxed) & bit, 0);
        drop(kept);
        assert_eq!(at.load(Ordering::Relaxed) & bit, 0);
        assert!(word(-1).is_none() && word(MOST as RawFd).is_none());
    }
}
