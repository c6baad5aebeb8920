//! One request at a slot: what its reader hears, in order, and what whoever waits for it takes.
use super::link::Link;
use crate::body::RequestBody;
use crate::body::spool::{Spool, SpoolFile};
use crate::exchange::Exchange;
use crate::exchange::id::RequestId;
use crate::settings::buffering;
use buchner_wire::headers::Headers;
use buchner_wire::method::Method;
use buchner_wire::slot::{Kind, write_frame};
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// The head of an answer.
pub struct Head {
    /// Flags of the frame.
    pub flags: u16,
    /// Status.
    pub status: u16,
    /// Its reason phrase.
    pub reason: Bytes,
    /// Headers.
    pub headers: Headers,
    /// What of the body came with it.
    pub body: Bytes,
    /// A file, or the socket of a detached answer.
    pub descriptor: Option<OwnedFd>,
}

/// What happens to a request.
pub enum Event {
    /// Its head came.
    Head(Head),
    /// A piece of the body.
    Chunk(Bytes),
    /// A piece of the body that waits in a file.
    Spilled {
        /// The file.
        file: Arc<File>,
        /// Where the piece begins.
        offset: u64,
        /// Its bytes.
        length: usize,
    },
    /// The answer is complete.
    End,
    /// The app failed after the head.
    Abort(String),
    /// It left HTTP; `None` when the socket it goes on with did not get here.
    Upgraded(Option<OwnedFd>),
    /// The slot did not run it: give it to another.
    Revoked,
    /// The worker died.
    Died,
    /// It passed its time.
    TimedOut,
}

/// What of a body waits in a file, behind the pieces in memory and before whatever ends it.
struct Spill {
    file: Arc<File>,
    written: u64,
    read: u64,
}

/// Events in their order. Most requests have one: it needs no buffer.
#[derive(Default)]
struct Events {
    first: Option<Event>,
    rest: VecDeque<Event>,
}

impl Events {
    fn push(&mut self, event: Event) {
        if self.first.is_none() && self.rest.is_empty() {
            self.first = Some(event);
        } else {
            self.rest.push_back(event);
        }
    }

    fn front(&self) -> Option<&Event> {
        self.first.as_ref().or_else(|| self.rest.front())
    }

    fn pop(&mut self) -> Option<Event> {
        self.first.take().or_else(|| self.rest.pop_front())
    }
}

#[derive(Default)]
struct State {
    events: Events,
    spill: Option<Spill>,
    /// The file, once the slot is through: its bytes count until they are read.
    kept: Option<SpoolFile>,
    buffered: usize,
    waiter: Option<Waker>,
    reader: Option<Waker>,
    abandoned: bool,
}

/// One request at a slot.
pub struct Call {
    state: RefCell<State>,
    /// Claim word and ticket, where it can be taken back.
    pub claim: Cell<Option<(u32, u32)>>,
    /// Its number on the link.
    pub number: Cell<u32>,
    /// When it came to be the link's first.
    pub since: Cell<Option<Instant>>,
    /// The slot is through with it.
    pub done: Cell<bool>,
    /// It was taken back.
    pub revoked: Cell<bool>,
    /// Its head came.
    pub answered: Cell<bool>,
    /// It passed its time.
    pub late: Cell<bool>,
    /// The number of its trial, if it is on trial: see [`super::culprits`].
    pub trial: Cell<u64>,
    /// Its body goes to the slot as it comes from the client, so no other slot can have it.
    pub streamed: bool,
    /// More of that body may still be sent.
    pub sending: Cell<bool>,
    /// Time for the head; zero: none.
    pub limit: Duration,
    /// Bytes that wait here before the slot is read no further.
    pub memory: usize,
    /// Where more of the body goes, where the route lets answers be buffered.
    spool: Option<(Arc<Spool>, u64)>,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: Bytes,
    /// Its target, as sent.
    pub target: Bytes,
    id: RequestId,
}

/// Bytes read back from a file in one go.
const BLOCK: u64 = 256 << 10;
/// A client that takes nothing for so long does not keep up with the app.
const PATIENCE: Duration = Duration::from_millis(10);

impl Call {
    /// A request on its way to a slot.
    pub fn new(ex: &Exchange) -> Rc<Self> {
        let settings = ex.settings();
        let buffering = settings.get::<buffering::Settings>();
        Rc::new(Self {
            state: RefCell::default(),
            claim: Cell::default(),
            number: Cell::default(),
            since: Cell::default(),
            done: Cell::default(),
            revoked: Cell::default(),
            answered: Cell::default(),
            late: Cell::default(),
            trial: Cell::default(),
            streamed: matches!(ex.request.body, RequestBody::Stream(_)),
            sending: Cell::new(matches!(ex.request.body, RequestBody::Stream(_))),
            limit: Duration::from_millis(settings.get::<super::Settings>().app_timeout.0),
            memory: buffering.buffer_memory.0 as usize,
            spool: buffering.buffering.then(|| (ex.scope.spool.clone(), buffering.buffer_spool.0)),
            method: ex.request.method.clone(),
            client: ex.client.addr.ip(),
            path: ex.request.path.clone(),
            target: ex.request.target.clone(),
            id: ex.id.clone(),
        })
    }

    /// `GET /path` and the request's id, for the log.
    pub fn name(&self) -> (String, String) {
        let mut id = Vec::new();
        self.id.write(&mut id);
        let line = format!("{} {}", self.method.as_str(), String::from_utf8_lossy(&self.path));
        (line, String::from_utf8_lossy(&id).into_owned())
    }

    /// Nobody waits for it any more: its client is gone.
    pub fn is_abandoned(&self) -> bool {
        self.state.borrow().abandoned
    }

    /// Tells whoever waits.
    pub fn push(&self, event: Event) {
        let mut state = self.state.borrow_mut();
        match &event {
            Event::Chunk(bytes) => state.buffered += bytes.len(),
            Event::Head(_) | Event::Upgraded(_) => self.answered.set(true),
            _ => {}
        }
        if state.abandoned {
            return;
        }
        state.events.push(event);
        if let Some(waiter) = state.waiter.take() {
            waiter.wake();
        }
    }

    /// Takes a piece of the body: into memory, then into a file; where that is not to be had, the slot waits.
    pub async fn take(&self, bytes: Bytes, file: &mut Option<SpoolFile>) {
        self.end_spill(file);
        let mut spills = self.is_full(bytes.len());
        if spills && self.spool.is_some() && self.state.borrow().spill.is_none() {
            // The file is for clients that do not keep up: the others would wait for the disk.
            let room = self.wait(|state| state.buffered == 0 || state.buffered + bytes.len() <= self.memory);
            spills = tokio::time::timeout(PATIENCE, room).await.is_err() && self.is_full(bytes.len());
        }
        if let Some((spool, most)) = self.spool.as_ref().filter(|_| spills) {
            if file.is_none() {
                *file = spool.create().ok();
            }
            if let Some(file) = file.as_mut().filter(|file| file.length() + bytes.len() as u64 <= *most) {
                let length = bytes.len() as u64;
                if file.append(bytes.clone()).await.is_ok() {
                    return self.spilled(file, length);
                }
            }
            self.wait(|state| state.spill.as_ref().is_none_or(|spill| spill.read == spill.written)).await;
            self.state.borrow_mut().spill = None;
            *file = None;
        }
        self.push(Event::Chunk(bytes));
        if spills || self.spool.is_none() {
            self.wait(|state| state.buffered < self.memory.max(1)).await;
        }
    }

    /// There is no room in memory for a piece, or it comes after what is in the file.
    fn is_full(&self, bytes: usize) -> bool {
        let state = self.state.borrow();
        !state.abandoned && (state.spill.is_some() || state.buffered + bytes > self.memory)
    }

    /// A client that has caught up with the file gets the next pieces from memory again.
    fn end_spill(&self, file: &mut Option<SpoolFile>) {
        let mut state = self.state.borrow_mut();
        if state.spill.as_ref().is_some_and(|spill| spill.read == spill.written) {
            state.spill = None;
            *file = None;
        }
    }

    /// The slot is through; the file lives as long as somebody waits for the request.
    pub fn keep(&self, file: Option<SpoolFile>) {
        let mut state = self.state.borrow_mut();
        state.kept = file.filter(|_| !state.abandoned);
    }

    fn spilled(&self, file: &SpoolFile, length: u64) {
        let mut state = self.state.borrow_mut();
        let spill = state.spill.get_or_insert_with(|| Spill { file: file.file().clone(), written: 0, read: 0 });
        spill.written += length;
        if let Some(waiter) = state.waiter.take() {
            waiter.wake();
        }
    }

    /// Waits until whoever takes the body has come so far, or is gone.
    async fn wait(&self, until: impl Fn(&State) -> bool) {
        std::future::poll_fn(|cx| {
            let mut state = self.state.borrow_mut();
            if state.abandoned || until(&state) {
                return Poll::Ready(());
            }
            state.reader = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Event> {
        let mut state = self.state.borrow_mut();
        let before = matches!(state.events.front(), Some(Event::Head(_) | Event::Chunk(_)));
        if let Some(spill) = state.spill.as_mut().filter(|spill| !before && spill.read < spill.written) {
            let (file, offset) = (spill.file.clone(), spill.read);
            let length = (spill.written - spill.read).min(BLOCK);
            spill.read += length;
            if let Some(reader) = state.reader.take() {
                reader.wake();
            }
            return Poll::Ready(Event::Spilled { file, offset, length: length as usize });
        }
        let Some(event) = state.events.pop() else {
            match &mut state.waiter {
                Some(waiter) => waiter.clone_from(cx.waker()),
                None => state.waiter = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        };
        if let Event::Chunk(bytes) = &event {
            state.buffered -= bytes.len();
            if let Some(reader) = state.reader.take() {
                reader.wake();
            }
        }
        Poll::Ready(event)
    }
}

/// Whoever waits for a request. Dropping it tells the slot that nobody does any more.
pub struct Waiter {
    /// The request.
    pub call: Rc<Call>,
    /// Where it is.
    pub link: Rc<Link>,
}

impl Waiter {
    /// What happens next.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<Event> {
        self.call.poll(cx)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let reader = {
            let mut state = self.call.state.borrow_mut();
            state.abandoned = true;
            state.events = Events::default();
            (state.spill, state.kept) = (None, None);
            state.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
        if !self.call.done.get() && !self.call.revoked.get() && !self.link.take_back(&self.call) {
            let number = self.call.number.get().to_le_bytes();
            self.link.send(None, |out| write_frame(out, Kind::Stop, 0, &number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(memory: usize) -> Call {
        Call {
            state: RefCell::default(),
            claim: Cell::default(),
            number: Cell::default(),
            since: Cell::default(),
            done: Cell::default(),
            revoked: Cell::default(),
            answered: Cell::default(),
            late: Cell::default(),
            trial: Cell::default(),
            streamed: false,
            sending: Cell::default(),
            limit: Duration::ZERO,
            memory,
            spool: Some((Spool::new(std::env::temp_dir(), 1 << 20), 1 << 20)),
            method: Method::Get,
            client: None,
            path: Bytes::new(),
            target: Bytes::new(),
            id: RequestId::default(),
        }
    }

    fn head() -> Event {
        let (headers, body) = (Headers::default(), Bytes::new());
        Event::Head(Head { flags: 0, status: 200, reason: Bytes::new(), headers, body, descriptor: None })
    }

    #[test]
    fn what_came_before_a_spill_is_heard_before_it_and_the_end_behind() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (call, mut file) = (call(100), None);
            call.push(head());
            call.take(Bytes::from_static(&[1; 80]), &mut file).await;
            call.take(Bytes::from_static(&[2; 80]), &mut file).await;
            call.push(Event::End);
            let next = || std::future::poll_fn(|cx| call.poll(cx));
            assert!(matches!(next().await, Event::Head(_)));
            assert!(matches!(next().await, Event::Chunk(bytes) if bytes.len() == 80));
            assert!(matches!(next().await, Event::Spilled { offset: 0, length: 80, .. }));
            assert!(matches!(next().await, Event::End));
        });
    }

    #[test]
    fn a_client_that_keeps_up_needs_no_file_and_one_that_has_caught_up_none_any_more() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            let call = Rc::new(call(100));
            let theirs = call.clone();
            let taker = tokio::task::spawn_local(async move {
                let mut pieces = Vec::new();
                loop {
                    match std::future::poll_fn(|cx| theirs.poll(cx)).await {
                        Event::Chunk(bytes) => pieces.push(bytes[0]),
                        Event::Spilled { .. } => pieces.push(b'f'),
                        _ => return pieces,
                    }
                }
            });
            let mut file = None;
            for piece in 0..50 {
                call.take(vec![piece; 80].into(), &mut file).await;
            }
            assert!(file.is_none());
            call.push(Event::End);
            assert_eq!(taker.await.unwrap(), (0..50).collect::<Vec<_>>());
            call.take(vec![1; 80].into(), &mut file).await;
            call.take(vec![2; 80].into(), &mut file).await;
            assert!(file.is_some());
            let next = || std::future::poll_fn(|cx| call.poll(cx));
            assert!(matches!(next().await, Event::Chunk(_)));
            assert!(matches!(next().await, Event::Spilled { length: 80, .. }));
            call.take(vec![3; 80].into(), &mut file).await;
            assert!(file.is_none() && matches!(next().await, Event::Chunk(bytes) if bytes[0] == 3));
        });
    }
}
