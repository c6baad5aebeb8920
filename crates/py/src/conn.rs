//! One slot's sockets: reading frames from the gateways, in order, without losing a byte or a descriptor.
use crate::fork::GatewaySocket;
use buchner_gateway::sys::SharedWords;
use buchner_gateway::text::printable;
use buchner_wire::slot::{self, HEADER, Header, Kind};
use rustix::event::{PollFd, PollFlags};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes read in one go.
const BUFFER: usize = 64 << 10;

/// An answer waits at most so long for the next one to leave with it; [`crate::guard`] sees to it.
pub const HOLD: Duration = Duration::from_micros(200);
/// Bytes of answers that wait.
const MAX_HELD: usize = 32 << 10;

/// The socket to one I/O thread of one gateway.
pub struct Conn {
    sock: GatewaySocket,
    /// The claim words this gateway shares with the worker.
    pub claims: Arc<SharedWords>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// In the order of the frames they belong to; `None` for one that the kernel dropped, see [`Conn::fill`].
    descriptors: VecDeque<Option<OwnedFd>>,
    /// Frames that leave with the next one.
    held: Vec<u8>,
    held_since: Option<Instant>,
    /// Requests that came over this socket; the gateway counts the same to say which one to stop.
    pub received: u32,
    /// The request before had a streamed body that the app didn't read to its end.
    pub discard_body: bool,
    /// The gateway is gone, or sent nonsense.
    pub dead: bool,
}

/// How reading went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// Bytes came.
    Some,
    /// There were none.
    Nothing,
    /// The socket is of no more use.
    End,
}

impl Conn {
    /// Takes over a socket.
    pub fn new(sock: OwnedFd, claims: Arc<SharedWords>) -> Self {
        Self {
            sock: sock.into(),
            claims,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            descriptors: VecDeque::new(),
            held: Vec::new(),
            held_since: None,
            received: 0,
            discard_body: false,
            dead: false,
        }
    }

    /// The socket.
    pub fn sock(&self) -> BorrowedFd<'_> {
        self.sock.as_fd()
    }

    /// The header of the next frame when the frame is whole.
    pub fn peek(&mut self) -> Option<Header> {
        match Header::parse(&self.buffer[self.start..self.end]) {
            Ok(Some(header)) if self.end - self.start >= HEADER + header.length => Some(header),
            Ok(_) => None,
            Err(error) => {
                self.fail(error);
                None
            }
        }
    }

    /// The payload of the frame that [`Conn::peek`] found.
    pub fn payload(&self, header: Header) -> &[u8] {
        &self.buffer[self.start + HEADER..self.start + HEADER + header.length]
    }

    /// Goes on behind the frame that [`Conn::peek`] found.
    pub fn consume(&mut self, header: Header) {
        self.start += HEADER + header.length;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// The descriptor that travelled with the frame at hand; `None` when it did not get here.
    pub fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front().flatten()
    }

    /// What this gateway sends can't be understood: its socket is given up.
    pub fn fail(&mut self, error: slot::Error) {
        say(&format!("{error}; the slot's socket is closed"));
        self.dead = true;
    }

    /// Room in the buffer, made where the next frame needs it.
    fn make_room(&mut self) -> usize {
        let announced = Header::parse(&self.buffer[self.start..self.end]).ok().flatten();
        let needed = announced.map_or(0, |header| HEADER + header.length).max(BUFFER);
        if self.start > 0 && (self.end == self.buffer.len() || self.start + needed > self.buffer.len()) {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.buffer.is_empty() {
            self.buffer = vec![0; needed]; // fresh memory is zero: what no request fills stays without a page
        } else if self.buffer.len() < needed {
            self.buffer.resize(needed, 0);
        }
        self.buffer.len() - self.end
    }

    /// Reads what is there, without waiting. A message has one descriptor at most; when this process may not have any more,
    /// the kernel drops it and says so: its frame gets none then, rather than the next one's.
    pub fn fill(&mut self) -> Filled {
        if self.dead {
            return Filled::End;
        }
        if self.make_room() == 0 {
            return Filled::Nothing;
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut into = [IoSliceMut::new(&mut self.buffer[self.end..])];
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            match rustix::net::recvmsg(&self.sock, &mut into, &mut control, flags) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other,
            }
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors.map(Some));
            }
        }
        match received {
            Ok(message) if message.bytes > 0 => {
                if message.flags.contains(ReturnFlags::CTRUNC) {
                    self.descriptors.push_back(None);
                }
                self.end += message.bytes;
                Filled::Some
            }
            Err(rustix::io::Errno::AGAIN) => Filled::Nothing,
            _ => {
                self.dead = true;
                Filled::End
            }
        }
    }

    /// Waits until bytes come.
    pub fn fill_waiting(&mut self) -> Filled {
        loop {
            self.send_held();
            match self.fill() {
                Filled::Nothing => wait_for(self.sock(), self.events()),
                filled => return filled,
            }
        }
    }

    /// The gateway has said, behind whatever else waits in the buffer, that nobody needs the running answer any more.
    pub fn stop_received(&self) -> bool {
        let mut rest = &self.buffer[self.start..self.end];
        while let Ok(Some(header)) = Header::parse(rest) {
            let Some(payload) = rest.get(HEADER..HEADER + header.length) else { break };
            if header.kind == Kind::Stop && payload == self.received.to_le_bytes() {
                return true;
            }
            rest = &rest[HEADER + header.length..];
        }
        false
    }

    /// The next request is here already and will be run at once.
    fn has_request(&self) -> bool {
        let rest = &self.buffer[self.start..self.end];
        Header::parse(rest)
            .is_ok_and(|header| header.is_some_and(|h| h.kind == Kind::Request && rest.len() >= HEADER + h.length))
    }

    /// True when an answer of so many bytes may wait for the next one.
    pub fn may_hold(&self, bytes: usize) -> bool {
        let young = self.held_since.is_none_or(|since| since.elapsed() < HOLD);
        self.has_request() && young && self.held.len() + bytes <= MAX_HELD
    }

    /// Keeps frames back until the next flush.
    pub fn hold(&mut self, frames: &[u8]) {
        self.held_since.get_or_insert_with(Instant::now);
        self.held.extend_from_slice(frames);
    }

    /// Puts the frames that were kept back before those in `out`. Returns how many bytes they are.
    pub fn join_held(&mut self, out: &mut Vec<u8>) -> usize {
        if self.held.is_empty() {
            return 0;
        }
        let count = self.held.len();
        self.held.extend_from_slice(out);
        std::mem::swap(&mut self.held, out);
        if self.held.capacity() > 2 * MAX_HELD {
            self.held = Vec::new();
        }
        self.held.clear();
        self.held_since = None;
        count
    }

    /// Frames wait, and have for at least this long.
    pub fn held_for(&self, time: Duration) -> bool {
        self.held_since.is_some_and(|since| since.elapsed() >= time)
    }

    /// What to wait for: bytes, and room while frames are kept back.
    fn events(&self) -> PollFlags {
        if self.held.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT }
    }

    /// Sends what was kept back, as far as the kernel takes it.
    pub fn send_held(&mut self) {
        while !self.held.is_empty() {
            match send(self.sock.as_fd(), &self.held, None) {
                Ok(sent) => drop(self.held.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The end shows in the reading, too.
                Err(_) => self.held.clear(),
            }
        }
        self.held_since = None;
    }

    /// The next REQUEST in the buffer, past what is left of the request before.
    fn next_request(&mut self) -> Option<Header> {
        while let Some(header) = self.peek() {
            match header.kind {
                Kind::Request => {
                    self.discard_body = false;
                    return Some(header);
                }
                Kind::Stop => {}
                Kind::RequestBody if self.discard_body => {}
                Kind::RequestEnd | Kind::RequestAbort if self.discard_body => self.discard_body = false,
                kind => {
                    self.fail(slot::Error::Kind(kind as u8));
                    return None;
                }
            }
            self.consume(header);
        }
        None
    }
}

/// Writes to standard error what has no other way to the log; where that is closed, nothing happens.
pub fn say(words: &str) {
    let _ = writeln!(io::stderr(), "buchner worker: {}", printable(words));
}

/// Waits for an event on one descriptor.
pub fn wait_for(fd: BorrowedFd<'_>, events: PollFlags) {
    let _ = rustix::event::poll(&mut [PollFd::from_borrowed_fd(fd, events)], None);
}

/// Sends without waiting; the descriptor goes with the first byte.
pub fn send(sock: BorrowedFd<'_>, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    if descriptor.is_some() {
        return send_both(sock, [bytes, &[]], descriptor);
    }
    loop {
        match rustix::net::send(sock, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

/// As [`send`], of two buffers in one call.
pub fn send_both(sock: BorrowedFd<'_>, parts: [&[u8]; 2], descriptor: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let slices = parts.map(IoSlice::new);
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = descriptor.as_slice();
        if !descriptors.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        match rustix::net::sendmsg(sock, &slices, &mut control, flags) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

/// All sockets of one slot: one per I/O thread of each gateway.
#[derive(Default)]
pub struct SlotSet {
    /// The sockets.
    pub conns: Vec<Conn>,
    /// The one whose request came last.
    pub current: usize,
    turns: u8,
}

/// After so many requests another socket is asked first, so that a busy gateway thread doesn't starve the others.
const TURNS: u8 = 8;

impl SlotSet {
    /// The next request that is in a buffer or can be had without waiting: its socket is then [`SlotSet::current`].
    pub fn try_next(&mut self) -> Option<Header> {
        let count = self.conns.len();
        self.turns = (self.turns + 1) % TURNS;
        let first = self.current + usize::from(self.turns == 0);
        for step in 0..count {
            let index = (first + step) % count;
            if let Some(header) = self.conns[index].next_request() {
                if index != self.current {
                    self.send_held();
                }
                self.current = index;
                return Some(header);
            }
        }
        self.send_held();
        for step in 0..count {
            let index = (first + step) % count;
            while self.conns[index].fill() == Filled::Some {
                if let Some(header) = self.conns[index].next_request() {
                    self.current = index;
                    return Some(header);
                }
            }
        }
        self.forget_dead();
        None
    }

    /// Sends what was kept back, as far as the kernel takes it.
    fn send_held(&mut self) {
        self.conns.iter_mut().for_each(Conn::send_held);
    }

    /// Answers wait to be sent.
    pub fn holds(&self) -> bool {
        self.conns.iter().any(|conn| !conn.held.is_empty())
    }

    /// Waits until a socket or `wake` has something, or takes what was kept back.
    pub fn wait(&self, wake: BorrowedFd<'_>) {
        let mut watched: Vec<_> =
            self.conns.iter().map(|conn| PollFd::from_borrowed_fd(conn.sock(), conn.events())).collect();
        watched.push(PollFd::from_borrowed_fd(wake, PollFlags::IN));
        let _ = rustix::event::poll(&mut watched, None);
    }

    /// Drops the sockets of gateways that are gone.
    pub fn forget_dead(&mut self) {
        if self.conns.iter().any(|conn| conn.dead) {
            self.send_held();
            self.conns.retain(|conn| !conn.dead);
            self.current = 0;
        }
    }
}
