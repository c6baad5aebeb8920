//! Writing a response on a stream: it takes as much as the client's windows and the connection have room for.
use crate::error::{Error, Kind, Result};
use crate::exchange::Exchange;
use crate::http::h2::frames::CREDIT;
use crate::http::h2::stream::{Stream, add, header_map};
use crate::http::h2::turn::Turn;
use crate::http::send::{ResponseHead, Sink};
use crate::io::deadlines::Deadline;
use crate::settings::{connection, http2};
use buchner_wire::headers::{HeaderId, Headers};
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Response, StatusCode};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::task::{Context, Poll};

/// The head of a frame.
const FRAME: u64 = 9;
/// Room that is asked for at a time: no more, so that streams share a connection's window.
const ROOM: usize = MAX_FRAME;
/// Bytes of a file read at a time: they are on the I/O thread, as nginx has it.
const FILE_PIECE: u64 = 64 << 10;
/// Frames are not larger than this, as clients have it unless they say otherwise.
const MAX_FRAME: usize = 16 << 10;

impl Turn {
    /// Sends the head, if that is still here; `end` says that nothing follows it.
    fn send_head(&mut self, end: bool) -> Result<()> {
        let Some(head) = self.head.take() else { return Ok(()) };
        self.ended = end;
        let sent = self.stream.respond.borrow_mut().send_response(head, end);
        self.stream.send.replace(Some(sent.map_err(|_| Error::client_gone())?));
        Ok(())
    }

    /// Sends what was held back; `end` says that it is the end.
    async fn send_held(&mut self, end: bool) -> Result<()> {
        self.send_head(end && self.held.is_empty())?;
        while !self.held.is_empty() {
            let room = self.room(self.held.len()).await?;
            let piece = self.held.split_to(room.min(self.chunk).min(self.held.len()));
            self.send_frame(piece, end && self.held.is_empty())?;
        }
        if end && !self.ended { self.send_frame(Bytes::new(), true) } else { Ok(()) }
    }

    fn send_frame(&mut self, bytes: Bytes, end: bool) -> Result<()> {
        let length = bytes.len() as u64;
        let mut send = self.stream.send.borrow_mut();
        let send = send.as_mut().ok_or_else(Error::client_gone)?;
        send.send_data(bytes, end).map_err(|_| Error::client_gone())?;
        self.ended = end;
        self.body += length;
        self.total += FRAME + length;
        self.stream.session.wire.credit(CREDIT);
        Ok(())
    }

    /// Waits for room for some of so many bytes.
    async fn room(&mut self, wanted: usize) -> Result<usize> {
        self.stream.reserve(wanted)?;
        let mut waiting = false;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(room) = self.stream.poll_room(cx) {
                return Poll::Ready(room);
            }
            if self.timeout_ms == 0 {
                return Poll::Pending;
            }
            let thread = self.stream.session.connection.thread();
            let deadline = self.deadline.get_or_insert_with(|| Deadline::new(thread.clone()));
            if !std::mem::replace(&mut waiting, true) {
                deadline.set(self.timeout_ms);
            }
            deadline.poll_expired(cx).map(|()| {
                self.expired.set(true);
                Err(Error::client_gone())
            })
        })
        .await
    }
}

impl Stream {
    /// Asks for room for so many bytes.
    pub(super) fn reserve(&self, wanted: usize) -> Result<()> {
        let mut send = self.send.borrow_mut();
        send.as_mut().ok_or_else(Error::client_gone)?.reserve_capacity(wanted.min(ROOM));
        Ok(())
    }

    /// The room there is, which was asked for.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<usize>> {
        let mut send = self.send.borrow_mut();
        let Some(send) = send.as_mut() else { return Poll::Ready(Err(Error::client_gone())) };
        loop {
            match (send.capacity(), send.poll_capacity(cx)) {
                (room, Poll::Ready(Some(Ok(_))) | Poll::Pending) if room > 0 => return Poll::Ready(Ok(room)),
                (_, Poll::Ready(Some(Ok(_)))) => {}
                (_, Poll::Ready(_)) => return Poll::Ready(Err(Error::client_gone())),
                (_, Poll::Pending) => return Poll::Pending,
            }
        }
    }
}

impl Sink for Turn {
    type Duplex = Stream;

    fn head(&mut self, ex: &Exchange, head: &ResponseHead<'_>) {
        let settings = ex.settings().get::<connection::Settings>();
        let session = &self.stream.session;
        self.timeout_ms = settings.send_timeout.0;
        self.chunk = (ex.settings().get::<http2::Settings>().http2_chunk_size.0 as usize).clamp(1, MAX_FRAME);
        session.keep(settings.keepalive_timeout.0);
        let stays = session.connection.may_stay(settings.keepalive_requests, settings.keepalive_time.0);
        if settings.keepalive_timeout.0 == 0 || !stays {
            session.leave();
        }
        let mut response = Response::new(());
        // A tunnel is opened by 200 (RFC 8441 section 5), without what HTTP/1 has for it.
        let tunnel = head.status == 101;
        let status = if tunnel { 200 } else { head.status };
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let map = response.headers_mut();
        map.reserve(head.headers.len() + 3);
        let mut total = FRAME + 1;
        head.each(ex, |name, value| {
            let id = HeaderId::of(name);
            if id.is_hop_by_hop() || (tunnel && name.eq_ignore_ascii_case(b"sec-websocket-accept")) {
                return;
            }
            // About what HPACK makes of it that has not seen it before.
            total += (name.len() + value.len() + 2) as u64;
            add(map, name, value);
        });
        if let Some(length) = head.content_length().filter(|_| !tunnel) {
            total += 6;
            map.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        self.total += total;
        self.head = Some(response);
    }

    async fn data(&mut self, bytes: &Bytes, _: bool) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.send_held(false).await?;
        self.held = bytes.clone();
        Ok(())
    }

    async fn file(&mut self, file: &File, mut offset: u64, length: u64) -> Result<()> {
        let end = offset + length;
        while offset < end {
            let mut piece = vec![0; (end - offset).min(FILE_PIECE) as usize];
            let read = match file.read_at(&mut piece, offset) {
                Ok(0) => return Err(Error::new(Kind::Internal, "the file became shorter while it was sent").closing()),
                Ok(read) => read,
                Err(error) => return Err(Error::new(Kind::Internal, format!("reading a file: {error}")).closing()),
            };
            piece.truncate(read);
            offset += read as u64;
            self.data(&piece.into(), offset < end).await?;
        }
        Ok(())
    }

    fn takes_trailers(&self) -> bool {
        true
    }

    async fn end(&mut self, trailers: &Headers) -> Result<()> {
        if trailers.is_empty() {
            return self.send_held(true).await;
        }
        self.send_held(false).await?;
        let map = header_map(trailers);
        self.total += FRAME + trailers.iter().map(|one| (one.name.len() + one.value.len() + 2) as u64).sum::<u64>();
        let mut send = self.stream.send.borrow_mut();
        let send = send.as_mut().ok_or_else(Error::client_gone)?;
        send.send_trailers(map).map_err(|_| Error::client_gone())
    }

    async fn flush(&mut self) -> Result<()> {
        self.send_held(false).await
    }

    fn pause(&self) {}

    async fn left_midway(&self) {
        self.stream.given_up().await;
    }

    fn duplex(&self) -> (&Stream, BytesMut) {
        (&self.stream, BytesMut::new())
    }

    fn sent(&self) -> (u64, u64) {
        (self.total, self.body)
    }
}
