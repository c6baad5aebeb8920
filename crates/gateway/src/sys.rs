//! The only unsafe code of the data plane.
#![allow(unsafe_code)]
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Takes ownership of a descriptor number that another program (or Python) handed over.
pub fn owned_fd(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the number is not negative, and F_GETFD fails where it names no open descriptor.
    rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(fd) })?;
    // SAFETY: it is open, as just seen; the caller hands it over and does not use it again.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
