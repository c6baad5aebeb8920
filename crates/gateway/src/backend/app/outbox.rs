//! Frames on their way to a slot. What the tasks of one turn of the loop write leaves in one call behind them: the slot's
//! thread is woken once and finds all of it.
use buchner_wire::slot;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Frames are joined up to so many bytes; a buffer of more is not kept.
const JOIN: usize = 64 << 10;

/// Frames that leave in one call.
#[derive(Default)]
struct Part {
    bytes: Vec<u8>,
    sent: usize,
    /// Travels with the first byte.
    file: Option<Arc<File>>,
}

/// What waits to be sent over one socket.
#[derive(Default)]
pub struct Outbox {
    parts: RefCell<VecDeque<Part>>,
    task: RefCell<Option<Waker>>,
}

impl Outbox {
    /// Appends what `write` writes, with the descriptor that belongs to it; [`Outbox::poll_send`] sends it.
    pub fn push(&self, file: Option<Arc<File>>, write: impl FnOnce(&mut Vec<u8>)) {
        let mut parts = self.parts.borrow_mut();
        match parts.back_mut() {
            Some(last) if last.bytes.is_empty() || (file.is_none() && last.bytes.len() < JOIN) => {
                last.file = last.file.take().or(file);
                write(&mut last.bytes);
            }
            _ => {
                let mut part = Part { file, ..Part::default() };
                write(&mut part.bytes);
                parts.push_back(part);
            }
        }
        if let Some(task) = &*self.task.borrow() {
            task.wake_by_ref();
        }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.parts.borrow_mut().clear();
    }

    /// Sends what the kernel takes. True: nothing is left, or nobody is there to read it (which shows in the reading too).
    pub fn send(&self, sock: &UnixStream) -> bool {
        let mut parts = self.parts.borrow_mut();
        loop {
            let last = parts.len() == 1;
            let Some(part) = parts.front_mut() else { return true };
            if part.sent == part.bytes.len() {
                if last && part.bytes.capacity() <= 2 * JOIN {
                    part.bytes.clear();
                    part.sent = 0;
                    return true;
                }
                parts.pop_front();
                continue;
            }
            let file = part.file.as_deref().map(AsFd::as_fd);
            match sock.try_io(Interest::WRITABLE, || send(sock, &part.bytes[part.sent..], file)) {
                Ok(sent) => {
                    part.sent += sent;
                    part.file = None;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // Too many descriptors are in flight (ETOOMANYREFS), or there is no memory for one: its request alone fails.
                Err(_) if part.file.take().is_some() => slot::set_unsent(&mut part.bytes),
                Err(_) => parts.clear(),
            }
        }
    }

    /// [`Outbox::send`] for the task that looks after the socket: it is woken when there is more to do.
    pub fn poll_send(&self, sock: &UnixStream, cx: &mut Context<'_>) {
        while !self.send(sock) && matches!(sock.poll_write_ready(cx), Poll::Ready(Ok(()))) {}
        let mut task = self.task.borrow_mut();
        match &mut *task {
            Some(task) => task.clone_from(cx.waker()),
            None => *task = Some(cx.waker().clone()),
        }
    }
}

fn send(sock: &UnixStream, bytes: &[u8], file: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let Some(file) = file else { return Ok(rustix::net::send(sock, bytes, flags)?) };
    #[cfg(test)]
    if tests::REFUSED.get() {
        return Err(rustix::io::Errno::TOOMANYREFS.into());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [file];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    Ok(rustix::net::sendmsg(sock, &[IoSlice::new(bytes)], &mut control, flags)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, RecvAncillaryBuffer, RecvFlags, SocketFlags, SocketType, socketpair};
    use std::cell::Cell;
    use std::io::Read;

    thread_local! {
        /// The kernel sends no descriptor.
        pub static REFUSED: Cell<bool> = const { Cell::new(false) };
    }

    async fn sent(outbox: &Outbox, sock: &UnixStream) {
        while !outbox.send(sock) {
            sock.writable().await.unwrap();
        }
    }

    /// Two ends; of the type whose messages keep their borders, where a test counts them.
    fn pair(kind: SocketType) -> (UnixStream, std::os::unix::net::UnixStream) {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
        let (ours, theirs) = (std::os::unix::net::UnixStream::from(ours), theirs.into());
        ours.set_nonblocking(true).unwrap();
        (UnixStream::from_std(ours).unwrap(), theirs)
    }

    #[tokio::test]
    async fn everything_leaves_in_order_whatever_the_kernel_takes_at_a_time() {
        let (ours, mut theirs) = pair(SocketType::STREAM);
        let outbox = Outbox::default();
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).unwrap();
            all
        });
        let mut wanted = Vec::new();
        for number in 0..200u32 {
            let frame: Vec<u8> = number.to_le_bytes().repeat(1000);
            outbox.push(None, |out| out.extend_from_slice(&frame));
            wanted.extend(frame);
            if number % 7 == 0 {
                outbox.send(&ours);
            }
        }
        sent(&outbox, &ours).await;
        drop(ours);
        assert!(reader.join().unwrap() == wanted);
    }

    /// A message and how many descriptors came with it.
    fn received(theirs: &std::os::unix::net::UnixStream) -> (Vec<u8>, usize) {
        let (mut bytes, mut space) = ([0; 64], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))]);
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let read =
            rustix::net::recvmsg(theirs, &mut [io::IoSliceMut::new(&mut bytes)], &mut control, flags).unwrap().bytes;
        (bytes[..read].to_vec(), control.drain().count())
    }

    #[tokio::test]
    async fn a_frame_whose_descriptor_the_kernel_refuses_comes_alone_and_says_so() {
        let (ours, theirs) = pair(SocketType::SEQPACKET);
        let outbox = Outbox::default();
        for refused in [true, false] {
            REFUSED.set(refused);
            let file = Some(Arc::new(File::open("/dev/null").unwrap()));
            outbox.push(file, |out| slot::write_frame(out, slot::Kind::Request, slot::SPOOLED, b"body"));
            outbox.push(None, |out| slot::write_frame(out, slot::Kind::Stop, 0, b"next"));
            sent(&outbox, &ours).await;
            let (bytes, descriptors) = received(&theirs);
            let first = slot::Header::parse(&bytes).unwrap().unwrap();
            let second = slot::Header::parse(&bytes[slot::HEADER + 4..]).unwrap().unwrap();
            assert_eq!(first.flags, slot::SPOOLED | if refused { slot::UNSENT } else { 0 });
            assert_eq!((first.length, second.flags, descriptors), (4, 0, usize::from(!refused)));
            assert_eq!(slot::is_unsent(&bytes), refused);
        }
    }

    #[tokio::test]
    async fn frames_of_one_turn_are_one_message_and_a_file_goes_with_its_own() {
        let (ours, theirs) = pair(SocketType::SEQPACKET);
        let outbox = Outbox::default();
        outbox.push(None, |out| out.extend_from_slice(b"one "));
        outbox.push(None, |out| out.extend_from_slice(b"two "));
        outbox.push(Some(Arc::new(File::open("/dev/null").unwrap())), |out| out.extend_from_slice(b"three "));
        outbox.push(None, |out| out.extend_from_slice(b"four"));
        sent(&outbox, &ours).await;
        let got = [received(&theirs), received(&theirs)]
            .map(|(bytes, count)| (String::from_utf8_lossy(&bytes).into_owned(), count));
        assert_eq!(got, [("one two ".to_owned(), 0), ("three four".to_owned(), 1)]);
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_leaves_nothing_to_send() {
        let (ours, theirs) = pair(SocketType::STREAM);
        drop(theirs);
        let outbox = Outbox::default();
        outbox.push(None, |out| out.extend_from_slice(b"x"));
        sent(&outbox, &ours).await;
        assert!(outbox.parts.borrow().iter().all(|part| part.bytes.is_empty()));
    }
}
