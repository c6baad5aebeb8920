//! Buffers that requests borrow from their thread: an idle connection owns none, and a busy one seldom allocates.
use crate::io::sock::READ_SIZE;
use bytes::BytesMut;
use std::cell::RefCell;

/// Buffers of each kind that are kept.
const KEPT: usize = 64;
/// A larger one is not kept.
const LARGEST: usize = 64 << 10;

/// The spare buffers of one I/O thread, the last one given first: it is the likeliest to be in the processor's cache.
#[derive(Default)]
pub struct Bufs {
    read: RefCell<Vec<BytesMut>>,
    write: RefCell<Vec<Vec<u8>>>,
}

impl Bufs {
    /// An empty buffer with room for [`READ_SIZE`] bytes.
    pub fn take_read(&self) -> BytesMut {
        let mut buf = self.read.borrow_mut().pop().unwrap_or_default();
        // Somebody may still hold a head that was read into it; then the memory is theirs.
        if buf.try_reclaim(READ_SIZE) { buf } else { BytesMut::with_capacity(READ_SIZE) }
    }

    /// Gives a buffer back. What is in it is lost.
    pub fn give_read(&self, mut buf: BytesMut) {
        let mut spare = self.read.borrow_mut();
        if spare.len() < KEPT && buf.capacity() <= LARGEST {
            buf.clear();
            spare.push(buf);
        }
    }

    /// An empty buffer to write a head into.
    pub fn take_write(&self) -> Vec<u8> {
        self.write.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(4096))
    }

    /// Gives a buffer back. What is in it is lost.
    pub fn give_write(&self, mut buf: Vec<u8>) {
        let mut spare = self.write.borrow_mut();
        if spare.len() < KEPT && buf.capacity() <= LARGEST {
            buf.clear();
            spare.push(buf);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_whole_once_nobody_holds_a_part_of_it() {
        let bufs = Bufs::default();
        let mut buf = bufs.take_read();
        buf.extend_from_slice(&[b'x'; 5000]);
        let (place, head) = (buf.as_ptr(), buf.split_to(5000).freeze());
        bufs.give_read(buf);
        let other = bufs.take_read();
        assert!(other.capacity() >= READ_SIZE && other.as_ptr() != place, "the head is still held");
        let mut buf = bufs.take_read();
        buf.extend_from_slice(&head);
        let (place, head) = (buf.as_ptr(), buf.split_to(4000));
        bufs.give_read(buf);
        drop(head);
        let again = bufs.take_read();
        assert!(again.is_empty() && again.capacity() >= READ_SIZE && again.as_ptr() == place);
    }

    #[test]
    fn huge_buffers_are_not_kept() {
        let bufs = Bufs::default();
        bufs.give_write(Vec::with_capacity(LARGEST + 1));
        assert!(bufs.write.borrow().is_empty());
    }
}
