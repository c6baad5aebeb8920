//! HTTP/2 towards the client (RFC 9113). The `h2` crate has the frames, HPACK and the windows; here is what it means for a
//! connection and its streams: one task drives a connection ([`serve`]), and each stream runs as a task of its own on the same
//! thread ([`stream`]), so that none holds up its neighbours.
mod body;
mod duplex;
mod frames;
mod head;
mod session;
mod stream;
mod turn;
mod wire;
mod write;

use crate::http::connection::Connection;
use crate::http::h2::session::Session;
use crate::http::h2::wire::Pipe;
use crate::http::linger::linger;
use crate::io::deadlines::Deadline;
use crate::io::stream::Io;
use crate::observe::level::Level;
use crate::settings::{connection, http2};
use ::h2::Reason;
use ::h2::server::{self, Builder};
use bytes::{Bytes, BytesMut};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

/// Bytes of one stream that `h2` keeps until they are sent.
const SEND_BUFFER: usize = 64 << 10;
/// Time that a client has, once it was told to go, until an idle connection is closed.
const GOING_MS: u64 = 5_000;

/// Serves a connection until it closes. `early` was read of it.
pub async fn serve(io: Io, connection: Connection, early: BytesMut) {
    let session = Session::new(io, connection, early);
    let mut handshake = pin!(builder(&session).handshake::<Pipe, Bytes>(Pipe(session.clone())));
    let begun = std::future::poll_fn(|cx| {
        let begun = handshake.as_mut().poll(cx);
        let _ = session.wire.poll_send(cx);
        begun
    });
    let clean = match begun.await {
        Ok(frames) => drive(&session, frames).await,
        Err(_) => false,
    };
    let rest = std::future::poll_fn(|cx| session.wire.poll_send(cx)).await;
    if !clean && rest.is_ok() {
        // The client may still send, so closing at once could take from it what it was told.
        let plan = session.connection.plan();
        let settings = session.connection.default_settings(&plan);
        linger(&session.wire.io, plan.scope.settings[settings as usize].get()).await;
    }
}

/// What `h2` is told of the limits.
fn builder(session: &Session) -> Builder {
    let plan = session.connection.plan();
    let settings = &plan.scope.settings[session.connection.default_settings(&plan) as usize];
    let http2 = settings.get::<http2::Settings>();
    let limits = &session.connection.listener(&plan).limits;
    let streams = http2.http2_max_concurrent_streams.max(1);
    // RFC 9113 section 6.9.2: 65 535 is what a client may send before it has read any settings.
    let window = http2.http2_body_preread_size.0.clamp(65_535, i32::MAX as u64) as u32;
    // Both windows open together as a body is read: so large that one that nobody reads closes only its own.
    let all = window.saturating_mul(streams.saturating_add(1)).min(i32::MAX as u32);
    // HPACK's way of counting has 32 bytes more for a header. A little above the limit it is refused here, with a page and a log line.
    let section = limits.max_head + 32 * limits.max_fields + limits.max_field + limits.max_target;
    let mut builder = Builder::new();
    builder
        .initial_window_size(window)
        .initial_connection_window_size(all)
        .max_concurrent_streams(streams)
        .max_header_list_size(section.min(i32::MAX as usize) as u32)
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(streams as usize)
        .max_concurrent_reset_streams(streams as usize)
        .enable_connect_protocol();
    builder
}

/// What a connection waits for, as its deadline has it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// The first request.
    First,
    /// Another request.
    Idle,
    /// The client takes what is sent.
    Room,
    /// Streams, which have deadlines of their own.
    Streams,
}

/// A connection that is driven.
struct Driver<'s> {
    session: &'s Rc<Session>,
    frames: server::Connection<Pipe, Bytes>,
    waits: Waits,
    idle: Deadline,
    /// The client was told to go.
    going: bool,
    /// It was told why it is cut off.
    cut: bool,
    clean: bool,
}

/// Takes streams and moves frames until the connection closes. True: both sides know that it does.
async fn drive(session: &Rc<Session>, frames: server::Connection<Pipe, Bytes>) -> bool {
    let idle = Deadline::new(session.connection.thread().clone());
    let mut driver = Driver { session, frames, waits: Waits::First, idle, going: false, cut: false, clean: false };
    let mut closed = pin!(session.connection.until_closed());
    std::future::poll_fn(|cx| driver.poll(closed.as_mut(), cx)).await;
    driver.clean && !driver.cut
}

impl Driver<'_> {
    fn poll(&mut self, mut closed: Pin<&mut impl Future<Output = ()>>, cx: &mut Context<'_>) -> Poll<()> {
        let session = self.session;
        session.connection.thread().clock.tick();
        session.driven_by(cx.waker());
        session.wire.begin_turn();
        loop {
            if let Some(why) = session.wire.flood().filter(|_| !self.cut) {
                self.cut = true;
                let line = format!("too many {why}: the connection is closed, {} (HTTP/2)", session.connection.ends());
                session.connection.thread().log.warn(&line);
                self.frames.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            }
            if !self.going {
                let idles = self.waits == Waits::Idle && self.idle.poll_expired(cx).is_ready();
                if idles || session.is_leaving() || closed.as_mut().poll(cx).is_ready() {
                    self.go();
                }
            }
            match self.frames.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => stream::begin(session, request, respond),
                Poll::Ready(Some(Err(error))) => {
                    let line = format!("{error}: the connection is closed, {} (HTTP/2)", session.connection.ends());
                    let flood = error.reason() == Some(Reason::ENHANCE_YOUR_CALM);
                    session.connection.thread().log.say(if flood { Level::Warn } else { Level::Info }, &line);
                    return Poll::Ready(());
                }
                Poll::Ready(None) => {
                    self.clean = true;
                    return Poll::Ready(());
                }
                Poll::Pending if session.wire.flood().is_some() && !self.cut => {}
                Poll::Pending => break,
            }
        }
        if let Poll::Ready(Err(_)) = session.wire.poll_send(cx) {
            return Poll::Ready(());
        }
        self.wait(cx);
        Poll::Pending
    }

    /// Tells the client to go: what it has asked for is served, and what it asks before it knows (RFC 9113 section 6.8).
    fn go(&mut self) {
        self.going = true;
        self.frames.graceful_shutdown();
        if self.waits == Waits::Idle && !self.session.connection.thread().draining.get() {
            self.session.wire.io.idle(GOING_MS);
        }
    }

    /// The deadline is that of what is waited for.
    fn wait(&mut self, cx: &Context<'_>) {
        let session = self.session;
        let waits = match (session.wire.is_stuck(), session.streams()) {
            (true, _) => Waits::Room,
            (false, 1..) => Waits::Streams,
            (false, 0) if session.connection.requests() == 0 => Waits::First,
            (false, 0) => Waits::Idle,
        };
        if waits == self.waits {
            return;
        }
        self.waits = waits;
        let io = &session.wire.io;
        match waits {
            Waits::First => io.fresh(session.connection.with_listener(|listener| listener.head.header_timeout.0)),
            Waits::Room => io.write_deadline(session.wire.send_timeout_ms),
            Waits::Streams => io.no_deadline(),
            Waits::Idle if self.going => io.idle(GOING_MS),
            Waits::Idle => {
                io.idle(session.kept_ms() + GOING_MS);
                self.idle.set(session.kept_ms());
                let _ = self.idle.poll_expired(cx);
            }
        }
    }
}

/// The time between two writes that a connection as a whole has.
fn send_timeout_ms(connection: &Connection) -> u64 {
    let plan = connection.plan();
    let settings = connection.default_settings(&plan);
    plan.scope.settings[settings as usize].get::<connection::Settings>().send_timeout.0
}
