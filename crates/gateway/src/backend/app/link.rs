//! One thread's socket to one slot: requests out, frames in, each to the request it belongs to.
//!
//! A slot answers in the order it was asked, so the first of [`Link::pending`] owns what comes next. Requests behind it were
//! handed over ahead of time. Every request is only offered: until the worker has claimed it, [`Link::sweep`] can take it back.
use super::call::{Call, Event, Head};
use super::culprits::AFTER;
use super::outbox::Outbox;
use super::pool::{Pool, SHORT};
use crate::body::spool::SpoolFile;
use crate::io::local::Local;
use crate::sys::SharedWords;
use buchner_wire::slot::{self, HEADER, Header, Kind, claim};
use bytes::{BufMut, Bytes, BytesMut};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags};
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Bytes read in one go.
const READ: usize = 64 << 10;
/// Descriptors that may wait for their frames. A worker sends one with a frame, so more are not meant to be used.
const MOST_DESCRIPTORS: usize = 16;

/// A slot that was idle and has not begun a request within this time can't run Python: its interpreter is held, or the
/// process is stopped. Far above the wait for a busy interpreter (5 ms a thread).
const UNCLAIMED: Duration = Duration::from_millis(250);

/// What a link is to.
pub struct Place {
    /// The pool.
    pub pool: Arc<Pool>,
    /// Its name.
    pub name: Arc<str>,
    /// The slot, in the whole gateway.
    pub slot: u64,
    /// The worker.
    pub worker: u64,
    /// The slot in its worker.
    pub index: u32,
    /// Claim words of this link: the first and how many.
    pub words: (u32, u32),
}

/// A socket to a slot.
pub struct Link {
    /// What it is to.
    pub place: Place,
    /// Pool and worker, for logs.
    pub described: Rc<str>,
    sock: UnixStream,
    claims: Arc<SharedWords>,
    /// Claim words that are free, with the ticket each had last.
    words: RefCell<Vec<(u32, u32)>>,
    pending: RefCell<VecDeque<Rc<Call>>>,
    /// The latest request that the slot is through with, and since when.
    latest: Cell<Option<(Rc<Call>, Instant)>>,
    outbox: Outbox,
    sent: Cell<u32>,
    /// What the first request's answer spills into.
    file: Cell<Option<SpoolFile>>,
    /// It ended.
    pub dead: Cell<bool>,
}

impl Link {
    /// Takes over a socket; [`Link::run`] must run.
    pub fn new(place: Place, sock: UnixStream, claims: Arc<SharedWords>) -> Rc<Self> {
        let words = (0..place.words.1).map(|word| (place.words.0 + word, 0)).collect();
        let described = format!("{} worker {}", place.name, place.worker).into();
        Rc::new(Self {
            place,
            described,
            sock,
            claims,
            words: RefCell::new(words),
            pending: RefCell::default(),
            latest: Cell::default(),
            outbox: Outbox::default(),
            sent: Cell::new(0),
            file: Cell::default(),
            dead: Cell::new(false),
        })
    }

    /// Requests that wait for their answers.
    pub fn waiting(&self) -> usize {
        self.pending.borrow().len()
    }

    /// Hands a request to the slot, ahead of time where `ahead`. False when that needs a claim word and none is free.
    pub fn start(&self, call: &Rc<Call>, frame: &mut [u8], file: Option<Arc<File>>, ahead: bool) -> bool {
        let word = if call.streamed { None } else { self.words.borrow_mut().pop() };
        match word {
            Some((word, ticket)) => {
                let ticket = (ticket + 1) & (u32::MAX >> 2);
                if let Some(word) = self.claims.get(word) {
                    word.store(claim::word(ticket, claim::OFFERED), Ordering::Release);
                }
                slot::set_claim(frame, word, ticket);
                call.claim.set(Some((word, ticket)));
            }
            None if ahead => return false,
            None => {
                slot::set_claim(frame, slot::NO_CLAIM, 0);
                call.claim.set(None);
            }
        }
        self.sent.set(self.sent.get().wrapping_add(1));
        call.number.set(self.sent.get());
        let mut pending = self.pending.borrow_mut();
        if pending.is_empty() {
            call.since.set(Some(Instant::now()));
        }
        pending.push_back(call.clone());
        drop(pending);
        self.send(file, |out| out.extend_from_slice(frame));
        true
    }

    /// Sends what `write` writes behind the tasks of this turn, or as soon as the slot reads.
    pub fn send(&self, file: Option<Arc<File>>, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.dead.get() {
            self.outbox.push(file, write);
        }
    }

    /// Sends a piece of a request's body and waits until the slot has room for more.
    pub async fn send_body(&self, bytes: &[u8]) {
        self.send(None, |out| {
            for piece in bytes.chunks(slot::MAX_CHUNK) {
                slot::write_frame(out, Kind::RequestBody, 0, piece);
            }
        });
        self.room().await;
    }

    /// Ends a request's body, once: END when it was all, ABORT when the rest is not needed or can't be had.
    pub fn end_body(&self, call: &Call, kind: Kind) {
        if call.sending.replace(false) {
            self.send(None, |out| slot::write_frame(out, kind, 0, &[]));
        }
    }

    /// Waits until the slot has room for everything sent so far.
    pub async fn room(&self) {
        while !self.dead.get() && !self.outbox.send(&self.sock) {
            if self.sock.writable().await.is_err() {
                return;
            }
        }
    }

    /// Looks after the socket until the slot's worker ends.
    pub async fn run(self: Rc<Self>, thread: Rc<Local>) {
        let reading = self.read(&thread);
        tokio::pin!(reading);
        std::future::poll_fn(|cx| {
            let done = reading.as_mut().poll(cx);
            self.outbox.poll_send(&self.sock, cx);
            done
        })
        .await;
    }

    /// Reads frames until the slot's worker ends.
    async fn read(self: &Rc<Self>, thread: &Rc<Local>) {
        let mut reader = Reader::default();
        let mut scratch = vec![0; READ];
        let cause = loop {
            match reader.next_frame() {
                Ok(Some((header, payload))) => {
                    if let Err(error) = self.route(thread, header, payload, &mut reader.descriptors).await {
                        break format!("it broke the protocol: {error}");
                    }
                    continue;
                }
                Ok(None) => {}
                Err(error) => break format!("it broke the protocol: {error}"),
            }
            match reader.fill(&self.sock, &mut scratch).await {
                Ok(true) => {}
                // A reset: bytes that it had not read were there.
                Ok(false) => break format!("it closed the socket of slot {}", self.place.index),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    break format!("it closed the socket of slot {}", self.place.index);
                }
                Err(error) => break format!("the socket of slot {} failed: {error}", self.place.index),
            }
        };
        if self.end() {
            super::lost(&thread.shared, self.place.worker, &cause);
        }
    }

    async fn route(
        self: &Rc<Self>,
        thread: &Rc<Local>,
        header: Header,
        payload: Bytes,
        descriptors: &mut Descriptors,
    ) -> Result<(), slot::Error> {
        let Some(call) = self.pending.borrow().front().cloned() else {
            return Err(slot::Error::Kind(header.kind as u8));
        };
        match header.kind {
            Kind::Response => {
                let with = header.flags & (slot::FILE | slot::DETACHED) != 0;
                let descriptor = if with { take_descriptor(header, descriptors) } else { None };
                let head = parse_head(header.flags, payload, descriptor)?;
                if header.flags & (slot::COMPLETE | slot::DETACHED) != 0 {
                    self.finish(thread);
                }
                call.push(Event::Head(head));
            }
            Kind::Body => {
                let mut file = self.file.take();
                call.take(payload, &mut file).await;
                self.file.replace(file);
            }
            Kind::End => {
                self.finish(thread);
                call.push(Event::End);
            }
            Kind::Abort => {
                self.finish(thread);
                call.push(Event::Abort(String::from_utf8_lossy(&payload).into_owned()));
            }
            Kind::Upgraded => {
                let descriptor = take_descriptor(header, descriptors);
                if header.flags & slot::HELD == 0 {
                    self.finish(thread);
                }
                call.push(Event::Upgraded(descriptor));
            }
            Kind::Skipped => {
                self.finish(thread);
                call.push(Event::Revoked);
            }
            kind => return Err(slot::Error::Kind(kind as u8)),
        }
        Ok(())
    }

    /// The first pending request is over; the slot is free for another.
    fn finish(self: &Rc<Self>, thread: &Rc<Local>) {
        let mut pending = self.pending.borrow_mut();
        let Some(call) = pending.pop_front() else { return };
        // Before anybody else may send: the next frame behind a body that was not needed is a request.
        self.end_body(&call, Kind::RequestAbort);
        call.keep(self.file.take());
        let now = Instant::now();
        if let Some(next) = pending.front() {
            next.since.set(Some(now));
        }
        drop(pending);
        call.done.set(true);
        if let Some(word) = call.claim.get() {
            self.words.borrow_mut().push(word);
        }
        let took = call.since.get().filter(|_| !call.revoked.get()).map(|since| now - since);
        if took.is_some() {
            self.latest.set(Some((call, now)));
        }
        if let Some(worker) = self.place.pool.release(self.place.slot, took) {
            super::retired(thread, worker);
        }
    }

    /// The worker is gone: what it had only been offered goes elsewhere, what it ran has failed. True when nobody has
    /// reported the worker as lost yet.
    pub fn end(&self) -> bool {
        if self.dead.replace(true) {
            return false;
        }
        let (pool, worker) = (&self.place.pool, self.place.worker);
        let (first, mut latest) = (pool.ended(self.place.slot), self.latest.take());
        self.outbox.clear();
        for call in std::mem::take(&mut *self.pending.borrow_mut()) {
            let offered = call.claim.get().is_some() && (call.revoked.get() || self.take_back(&call));
            call.done.set(true);
            if !offered && call.is_abandoned() && !call.late.get() {
                // A client that does not wait has to do with it all the same.
                pool.culprits.died(&call, worker, false);
            }
            if !offered {
                latest = None;
            }
            call.push(if offered { Event::Revoked } else { Event::Died });
            pool.release(self.place.slot, None);
        }
        if let Some((call, _)) = latest.filter(|(_, at)| at.elapsed() < AFTER && pool.is_lost(self.place.slot, worker))
        {
            pool.culprits.died(&call, worker, true);
        }
        first
    }

    /// The slot is not needed any more: its reader comes to its end.
    pub fn close(&self) {
        let _ = rustix::net::shutdown(&self.sock, rustix::net::Shutdown::Both);
    }

    /// Takes an offered request back, unless the worker was faster.
    pub fn take_back(&self, call: &Call) -> bool {
        let Some((word, ticket)) = call.claim.get() else { return false };
        let (offered, revoked) = (claim::word(ticket, claim::OFFERED), claim::word(ticket, claim::REVOKED));
        let exchanged = self
            .claims
            .get(word)
            .map(|word| word.compare_exchange(offered, revoked, Ordering::AcqRel, Ordering::Acquire).is_ok());
        if exchanged == Some(true) {
            call.revoked.set(true);
        }
        exchanged == Some(true)
    }

    /// Takes requests back from a slot that turned slow, and notices the one that passed its time.
    pub fn sweep(&self, thread: &Rc<Local>, now: Instant) {
        let pending = self.pending.borrow();
        let Some(first) = pending.front() else { return };
        let running = first.since.get().map_or_else(Default::default, |since| now - since);
        let late = !first.limit.is_zero() && running > first.limit && !first.answered.get();
        if running > SHORT {
            let behind = usize::from(running < UNCLAIMED && !late);
            for call in pending.iter().skip(behind).filter(|call| !call.revoked.get()) {
                if self.take_back(call) {
                    call.push(Event::Revoked);
                }
            }
        }
        if late && !first.revoked.get() && !first.late.replace(true) {
            first.push(Event::TimedOut);
            let (request, id) = first.name();
            thread.shared.supervisor.tell(&json!({
                "op": "stuck", "worker": self.place.worker, "pool": &*self.place.name, "slot": self.place.index,
                "thread_ms": running.as_millis() as u64, "request": request, "request_id": id,
            }));
        }
    }
}

fn parse_head(flags: u16, payload: Bytes, descriptor: Option<OwnedFd>) -> Result<Head, slot::Error> {
    // What was read in one go is kept as long as a part of it is used: not for an answer that may take its time.
    let payload = if flags & slot::COMPLETE != 0 { payload } else { Bytes::copy_from_slice(&payload) };
    let response = slot::Response::parse(&payload)?;
    let status = response.status;
    let reason = payload.slice_ref(response.reason);
    // The worker checked the headers; one that is no header field all the same is left out.
    let (headers, body_at) = response.headers(payload.clone())?;
    Ok(Head { flags, status, reason, headers, body: payload.slice(body_at..), descriptor })
}

/// Descriptors in the order of the frames they belong to; `None` for one that the kernel dropped because this process may
/// not have any more. Its frame still gets none, rather than the next one's.
pub type Descriptors = VecDeque<Option<OwnedFd>>;

/// The descriptor of a frame, if it got here.
fn take_descriptor(header: Header, descriptors: &mut Descriptors) -> Option<OwnedFd> {
    if header.flags & slot::UNSENT != 0 { None } else { descriptors.pop_front().flatten() }
}

/// The rest of a frame is read to where it stays, if it has at least so many bytes.
const LARGE: usize = 16 << 10;

/// Frames out of a socket's bytes, with the descriptors that came along.
#[derive(Default)]
pub struct Reader {
    buf: BytesMut,
    /// Descriptors not yet taken by a frame.
    pub descriptors: Descriptors,
    /// The frame before was a large piece of a body: the next one's header is read alone, so that its payload need not be copied.
    large: bool,
}

impl Reader {
    /// The next whole frame.
    pub fn next_frame(&mut self) -> Result<Option<(Header, Bytes)>, slot::Error> {
        match Header::parse(&self.buf)? {
            Some(header) if self.buf.len() >= HEADER + header.length => {
                let frame = self.buf.split_to(HEADER + header.length).freeze();
                if self.large && header.length == 0 && self.buf.is_empty() {
                    self.buf = BytesMut::new(); // an idle slot keeps no room for what does not come
                }
                self.large = header.kind == Kind::Body && header.length >= LARGE;
                Ok(Some((header, frame.slice(HEADER..))))
            }
            _ => Ok(None),
        }
    }

    /// Bytes of the frame at hand that are still to come; 0: its header is not there yet.
    fn missing(&self) -> usize {
        let header = Header::parse(&self.buf).ok().flatten();
        header.map_or(0, |header| (HEADER + header.length).saturating_sub(self.buf.len()))
    }

    /// Reads more; false at the end.
    pub async fn fill(&mut self, sock: &UnixStream, scratch: &mut [u8]) -> io::Result<bool> {
        loop {
            std::future::poll_fn(|cx| sock.poll_read_ready(cx)).await?;
            let missing = self.missing();
            if missing >= LARGE {
                // No descriptor is lost: one comes with the first byte of a frame, which is here.
                self.buf.reserve(missing);
                match sock.try_read_buf(&mut (&mut self.buf).limit(missing)) {
                    Ok(read) => return Ok(read > 0),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    Err(error) => return Err(error),
                }
            }
            let alone = self.large && self.buf.is_empty();
            let scratch = if alone { &mut scratch[..HEADER] } else { &mut *scratch };
            match sock.try_io(Interest::READABLE, || self.receive(sock, scratch)) {
                Ok(read) => {
                    if alone {
                        self.buf.reserve(HEADER + slot::MAX_CHUNK);
                    }
                    self.buf.extend_from_slice(&scratch[..read]);
                    if read > 0 && read < scratch.len() && self.descriptors.is_empty() {
                        // A short read emptied the socket (one that ends at a descriptor need not have): spares the read that
                        // would only say so. A hang-up is kept by tokio.
                        let empty = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
                        let _ = sock.try_io(Interest::READABLE, empty);
                    }
                    return Ok(read > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn receive(&mut self, sock: &UnixStream, scratch: &mut [u8]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = rustix::net::recvmsg(sock, &mut [IoSliceMut::new(scratch)], &mut control, flags)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors.map(Some));
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            self.descriptors.push_back(None);
        }
        if self.descriptors.len() > MOST_DESCRIPTORS {
            return Err(io::Error::other("more descriptors than frames to take them"));
        }
        Ok(received.bytes)
    }
}
