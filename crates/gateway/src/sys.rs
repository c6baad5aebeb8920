//! The only unsafe code: what rustix can't know to be safe. Each function says why it is.
#![allow(unsafe_code)]

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};
use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;

/// Bytes of a mapping: one page.
const BYTES: usize = 4096;
/// Words of a mapping.
pub const WORDS: usize = BYTES / size_of::<AtomicU32>();

/// A page of 32-bit words in a memfd that several processes map: the claim words of docs/worker-protocol.md.
#[derive(Debug)]
pub struct SharedWords {
    page: NonNull<AtomicU32>,
}

// SAFETY: the page is only reached through `&AtomicU32`, which threads and processes may share; the pointer itself never changes.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Makes a page of zeros and the descriptor to pass on.
    pub fn create() -> io::Result<(Self, OwnedFd)> {
        let fd = rustix::fs::memfd_create("buchner-claims", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&fd, BYTES as u64)?;
        Ok((Self::map(&fd)?, fd))
    }

    /// Maps the page of a memfd. The memfd is sealed against shrinking, so that no access can fault later.
    pub fn map(fd: impl AsFd) -> io::Result<Self> {
        let size = rustix::fs::fstat(&fd)?.st_size;
        if usize::try_from(size).is_ok_and(|size| size < BYTES) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the claim memfd has {size} bytes, not {BYTES}"),
            ));
        }
        // A memfd made without MFD_ALLOW_SEALING refuses this; its maker is then trusted not to shrink it.
        let _ = rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK);
        // SAFETY: a new mapping at an address the kernel chooses; it overlaps nothing Rust knows of.
        let page = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), BYTES, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &fd, 0)?
        };
        NonNull::new(page.cast()).map(|page| Self { page }).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// The word at `index`, where there is one.
    pub fn get(&self, index: u32) -> Option<&AtomicU32> {
        let index = index as usize;
        // SAFETY: inside the page, which is aligned, initialised by the kernel and mapped as long as `self` lives.
        (index < WORDS).then(|| unsafe { self.page.add(index).as_ref() })
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: `page` came from mmap with this length, and no reference to it outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.page.as_ptr().cast(), BYTES) };
    }
}

/// Returns freed memory to the system now: reading a configuration takes many times what it leaves behind, and the
/// allocators would keep that for later.
pub fn give_back_memory() {
    // SAFETY: frees what the calling thread's heap holds unused, and purges; it touches no live allocation.
    unsafe { libmimalloc_sys::mi_collect(true) };
    // SAFETY: the same of the C library's allocator, which Python's objects are from (malloc_trim(3)).
    #[cfg(target_env = "gnu")]
    unsafe {
        malloc_trim(0)
    };
}

#[cfg(target_env = "gnu")]
unsafe extern "C" {
    fn malloc_trim(pad: usize) -> c_int;
}

/// What the kernel knows about a TCP connection (tcp(7)), as far as nginx has variables for it.
#[derive(Clone, Copy, Debug)]
pub struct TcpInfo {
    /// The time of a round trip, smoothed, in microseconds.
    pub rtt: u32,
    /// How far the times of round trips lie apart, in microseconds.
    pub rttvar: u32,
    /// Segments that may be on their way unacknowledged.
    pub snd_cwnd: u32,
    /// Bytes of the receive buffer that the kernel means to fill.
    pub rcv_space: u32,
}

/// Asks the kernel about a TCP connection; `None` for other sockets.
pub fn tcp_info(socket: impl AsFd) -> Option<TcpInfo> {
    const IPPROTO_TCP: c_int = 6;
    const TCP_INFO: c_int = 11;
    // `struct tcp_info` of linux/tcp.h: eight bytes, then words, which newer kernels only add to.
    let mut words = [0u32; 26];
    let mut length = size_of_val(&words) as u32;
    // SAFETY: the descriptor is open as long as it is borrowed; the kernel writes at most `length` bytes to `words`.
    let failed = unsafe {
        getsockopt(socket.as_fd().as_raw_fd(), IPPROTO_TCP, TCP_INFO, words.as_mut_ptr().cast(), &raw mut length)
    };
    let known = failed == 0 && length as usize == size_of_val(&words);
    known.then(|| TcpInfo { rtt: words[17], rttvar: words[18], snd_cwnd: words[20], rcv_space: words[24] })
}

unsafe extern "C" {
    fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, length: *mut u32) -> c_int;
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd;
    use std::sync::atomic::Ordering;

    #[test]
    fn two_mappings_of_one_memfd_share_their_words() {
        let (ours, fd) = SharedWords::create().unwrap();
        let theirs = SharedWords::map(&fd).unwrap();
        ours.get(3).unwrap().store(77, Ordering::Release);
        assert_eq!(theirs.get(3).unwrap().load(Ordering::Acquire), 77);
        assert!(ours.get(WORDS as u32).is_none());
        assert!(rustix::fs::ftruncate(&fd, 0).is_err(), "sealed against shrinking");
    }

    #[test]
    fn the_kernel_tells_about_tcp_and_not_about_other_sockets() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let info = tcp_info(&client).unwrap();
        assert!(info.rtt > 0 && info.rttvar > 0 && info.rcv_space > 1000, "{info:?}");
        assert!((1..1000).contains(&info.snd_cwnd), "{info:?}");
        let (unix, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(tcp_info(&unix).is_none());
    }

    #[test]
    fn a_memfd_that_is_too_small_is_refused() {
        let fd = rustix::fs::memfd_create("small", MemfdFlags::CLOEXEC).unwrap();
        assert!(SharedWords::map(&fd).is_err());
    }

    #[test]
    fn a_number_that_is_no_descriptor_is_refused() {
        assert!(owned_fd(-1).is_err());
        assert!(owned_fd(1_000_000).is_err());
        let (_, fd) = SharedWords::create().unwrap();
        assert!(owned_fd(fd.into_raw_fd()).is_ok());
    }
}
