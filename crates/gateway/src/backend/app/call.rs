//! One request at a slot: what its reader hears, in order, and what whoever waits for it takes.
use super::link::Link;
use crate::exchange::Exchange;
use crate::observe::trace::RequestId;
use buchner_wire::headers::Headers;
use buchner_wire::method::Method;
use buchner_wire::slot::{Kind, write_frame};
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// The head of an answer.
pub struct Head {
    /// Flags of the frame.
    pub flags: u16,
    /// Status.
    pub status: u16,
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
    /// The answer is complete.
    End,
    /// The app failed after the head.
    Abort(String),
    /// It left HTTP.
    Upgraded(OwnedFd),
    /// The slot did not run it: give it to another.
    Revoked,
    /// The worker died.
    Died,
    /// It passed its time.
    TimedOut,
}

#[derive(Default)]
struct State {
    events: VecDeque<Event>,
    buffered: usize,
    waiter: Option<Waker>,
    reader: Option<Waker>,
    abandoned: bool,
}

/// One request at a slot.
pub struct Call {
    state: RefCell<State>,
    /// Claim word and ticket, where it was offered ahead of time.
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
    /// Time for the head; zero: none.
    pub limit: Duration,
    /// Bytes that wait here before the slot is read no further.
    pub memory: usize,
    method: Method,
    path: Bytes,
    id: RequestId,
}

impl Call {
    /// A request on its way to a slot.
    pub fn new(ex: &Exchange) -> Rc<Self> {
        let settings = ex.settings();
        Rc::new(Self {
            state: RefCell::default(),
            claim: Cell::default(),
            number: Cell::default(),
            since: Cell::default(),
            done: Cell::default(),
            revoked: Cell::default(),
            answered: Cell::default(),
            late: Cell::default(),
            limit: Duration::from_millis(settings.app_timeout.0),
            memory: settings.buffer_memory.0 as usize,
            method: ex.request.method.clone(),
            path: ex.request.path.clone(),
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
        state.events.push_back(event);
        if let Some(waiter) = state.waiter.take() {
            waiter.wake();
        }
    }

    /// Waits until there is room for more of the body.
    pub async fn drained(&self) {
        std::future::poll_fn(|cx| {
            let mut state = self.state.borrow_mut();
            if state.abandoned || state.buffered < self.memory.max(1) {
                return Poll::Ready(());
            }
            state.reader = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Event> {
        let mut state = self.state.borrow_mut();
        let Some(event) = state.events.pop_front() else {
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

    /// What happens next.
    pub async fn next(&self) -> Event {
        std::future::poll_fn(|cx| self.call.poll(cx)).await
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let reader = {
            let mut state = self.call.state.borrow_mut();
            state.abandoned = true;
            state.events.clear();
            state.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
        if !self.call.done.get() && !self.call.revoked.get() && !self.link.take_back(&self.call) {
            let mut frame = Vec::new();
            write_frame(&mut frame, Kind::Stop, 0, &self.call.number.get().to_le_bytes());
            self.link.send(&frame, None);
        }
    }
}
