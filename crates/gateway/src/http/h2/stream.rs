//! A stream: a request and the response to it, as a task of its own.
use crate::exchange::Interim;
use crate::http::h2::frames::SERVED;
use crate::http::h2::head;
use crate::http::h2::session::{Held, Session};
use crate::http::h2::turn::Turn;
use crate::http::refuse::refuse;
use crate::http::serve::serve_request;
use crate::io::deadlines::Deadline;
use ::h2::server::SendResponse;
use ::h2::{Reason, RecvStream, SendStream};
use buchner_wire::headers::Headers;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// What `h2` has of a stream. Whoever reads its body, sends its response or hints shares it.
pub(super) struct Stream {
    pub(super) session: Rc<Session>,
    pub(super) respond: RefCell<SendResponse<Bytes>>,
    /// There once the head of the response has been sent.
    pub(super) send: RefCell<Option<SendStream<Bytes>>>,
    /// There until the request is done with.
    pub(super) receive: RefCell<Option<RecvStream>>,
    /// The deadline of a tunnel.
    pub(super) idle: RefCell<Option<Deadline>>,
    /// The client, or `h2` for what the client did wrong, has ended it.
    gone: Cell<bool>,
}

/// Serves what a client has asked for.
pub(super) fn begin(session: &Rc<Session>, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    // Those that go on without their client do not count for `h2`.
    let plan = session.connection.plan();
    let settings = session.connection.default_settings(&plan);
    let most = plan.scope.settings[settings as usize].get::<crate::settings::http2::Settings>();
    if session.streams() >= 2 * most.http2_max_concurrent_streams.max(1) as usize {
        respond.send_reset(Reason::REFUSED_STREAM);
        return;
    }
    let bytes = session.wire.head_of(respond.stream_id().as_u32());
    let held = session.hold();
    let (parts, receive) = request.into_parts();
    let stream = Rc::new(Stream {
        session: session.clone(),
        respond: RefCell::new(respond),
        send: RefCell::default(),
        receive: RefCell::new(Some(receive)),
        idle: RefCell::default(),
        gone: Cell::new(false),
    });
    tokio::task::spawn_local(serve(stream, parts, bytes, held));
}

async fn serve(stream: Rc<Stream>, parts: Parts, bytes: u64, held: Held) {
    let mut turn = Turn::new(stream.clone());
    let head = stream.session.connection.with_listener(|listener| head::read(&parts, bytes, listener));
    drop(parts);
    match head {
        Ok(head) => {
            turn.expects(&head);
            serve_request(&mut turn, head).await;
        }
        Err(refusal) => {
            stream.session.connection.count();
            refuse(&mut turn, &refusal).await;
        }
    }
    drop(turn);
    stream.end();
    drop(held);
}

impl Stream {
    /// Nobody reads the request any more. What the client still sends is not wanted: `h2` tells it, once the response has left.
    fn end(&self) {
        self.receive.take();
        if self.send.take().is_some() {
            self.session.wire.credit(SERVED);
        }
    }

    /// The stream breaks off, unless it has already.
    pub(super) fn reset(&self, reason: Reason) {
        if self.gone.get() {
            return;
        }
        match &mut *self.send.borrow_mut() {
            Some(send) => send.send_reset(reason),
            None => self.respond.borrow_mut().send_reset(reason),
        }
    }

    /// Resolves when the client has given the stream up.
    pub(super) async fn given_up(&self) {
        std::future::poll_fn(|cx| {
            match &mut *self.send.borrow_mut() {
                Some(send) => send.poll_reset(cx),
                None => self.respond.borrow_mut().poll_reset(cx),
            }
            .map(drop)
        })
        .await;
        self.gone.set(true);
    }

    /// Sends an interim response; one that `h2` does not take now is none the client needs.
    pub(super) fn send_interim(&self, status: u16, headers: &Headers) {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::CONTINUE);
        *response.headers_mut() = header_map(headers);
        if self.send.borrow().is_none() {
            let _ = self.respond.borrow_mut().send_informational(response);
        }
    }
}

impl Interim for Stream {
    fn send(&self, status: u16, headers: &Headers) {
        self.send_interim(status, headers);
    }
}

/// Headers as `h2` takes them, without those of an HTTP/1 connection (RFC 9113 section 8.2.2).
pub(super) fn header_map(headers: &Headers) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(headers.len());
    for header in headers.iter().filter(|header| !header.id.is_hop_by_hop()) {
        add(&mut map, header.name, header.value);
    }
    map
}

/// Adds a header. The names and values of responses have been looked at; a map that is full takes no more.
pub(super) fn add(map: &mut HeaderMap, name: &[u8], value: &[u8]) {
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
        let _ = map.try_append(name, value);
    }
}
