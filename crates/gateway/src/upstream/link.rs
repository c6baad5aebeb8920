//! A connection to an upstream in use: what goes up, the head and the body that come down.
use super::kept::{self, Kept};
use super::pool::{self, Busy, Peer, Used};
use super::protocol::{Frame, Talk};
use super::tls::handshake;
use crate::body::Source;
use crate::error::{Error, Kind, Result};
use crate::exchange::Streamed;
use crate::io::sock::READ_SIZE;
use crate::io::stream::Io;
use buchner_wire::chunked::Decoded;
use buchner_wire::h1::ResponseHead;
use buchner_wire::headers::Headers;
use bytes::{Bytes, BytesMut};
use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Bytes read at a time of a large body.
const RELAY_SIZE: usize = 64 << 10;

/// How a connection ends that lets its time pass.
const STOPPED: &str = "stopped sending (read_timeout)";

/// The rest of a request on its way up while the response is already awaited.
pub struct Uplink {
    /// Bytes that are next.
    out: Bytes,
    /// What follows them.
    rest: Rest,
    /// How that is sent.
    frame: Frame,
    /// Bytes of a file that belong to the frame under way.
    left: u64,
}

/// The rest of a request's body.
pub enum Rest {
    /// There is none.
    Nothing,
    /// In a file, from the first of these bytes to the second.
    File(Arc<File>, u64, u64),
    /// As the client sends it.
    Client(Box<dyn Source>),
}

impl Uplink {
    /// Sends `out` and what follows.
    pub fn new(out: Bytes, rest: Rest, frame: Frame) -> Self {
        Self { out, rest, frame, left: 0 }
    }

    /// What is missing has to come from the client first.
    fn waits_for_client(&self) -> bool {
        self.out.is_empty() && matches!(self.rest, Rest::Client(_))
    }

    /// Moves bytes until it must wait. Ready when the whole body is sent.
    fn poll_send(&mut self, cx: &mut Context<'_>, io: &Io) -> Poll<Result<()>> {
        loop {
            let sent = if self.out.is_empty() {
                match ready!(self.poll_rest(cx, io))? {
                    Some(sent) => sent,
                    None => return Poll::Ready(Ok(())),
                }
            } else {
                ready!(io.stream.poll_send(cx, &self.out, false)).map(|n| drop(self.out.split_to(n)))
            };
            if sent.is_err() && io.expired() {
                let cause = "the upstream did not take the request in time (upstream_send_timeout)";
                return Poll::Ready(Err(Error::new(Kind::UpstreamTimeout, cause)));
            }
            if sent.is_err() {
                // The server stopped reading; its response is still read.
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Sends some of a file, or takes a piece from the client; `None` at the end.
    fn poll_rest(&mut self, cx: &mut Context<'_>, io: &Io) -> Poll<Result<Option<io::Result<()>>>> {
        match &mut self.rest {
            Rest::Nothing => Poll::Ready(Ok(None)),
            Rest::File(_, at, end) if at == end => {
                self.out = self.end();
                Poll::Ready(Ok(Some(Ok(()))))
            }
            Rest::File(_, at, end) if self.left == 0 => {
                (self.out, self.left) = self.frame.before((*end - *at).min(1 << 30));
                Poll::Ready(Ok(Some(Ok(()))))
            }
            Rest::File(file, at, _) => {
                let before = *at;
                match ready!(io.stream.poll_send_file(cx, file.as_fd(), at, self.left as usize)) {
                    Ok(0) => {
                        let cause = "the file of the request's body became shorter while it was sent";
                        Poll::Ready(Err(Error::new(Kind::Internal, cause)))
                    }
                    sent => {
                        self.left -= *at - before;
                        Poll::Ready(Ok(Some(sent.map(drop))))
                    }
                }
            }
            Rest::Client(source) => {
                let chunk = ready!(source.poll_chunk(cx))?;
                self.frame(chunk);
                Poll::Ready(Ok(Some(Ok(()))))
            }
        }
    }

    /// Makes a piece of the client's body, or its end, what is sent next.
    fn frame(&mut self, chunk: Option<Bytes>) {
        self.out = match chunk {
            Some(chunk) => self.frame.piece(chunk),
            None => self.end(),
        };
    }

    /// Nothing follows but the end of the body.
    fn end(&mut self) -> Bytes {
        self.rest = Rest::Nothing;
        Bytes::from_static(self.frame.end())
    }
}

/// A connection in use.
pub struct Link {
    /// The connection.
    pub io: Io,
    /// What was read and not used yet.
    pub buf: BytesMut,
    /// The rest of the request.
    pub uplink: Option<Uplink>,
    /// Milliseconds between two reads.
    pub read_timeout: u64,
    /// Milliseconds between two writes of the rest of the request.
    pub send_timeout: u64,
    /// How long and how often the connection has served.
    pub used: Used,
    /// The peer is busy with it.
    pub busy: Busy,
    /// Bytes of the response's head.
    pub head_bytes: usize,
    /// How the connection ended, if not by a FIN: a body that ends with it is not complete then.
    cut: Option<Cow<'static, str>>,
}

impl Link {
    /// A connection that a request was written to, as far as `uplink` doesn't have it.
    pub fn new(
        io: Io,
        used: Used,
        busy: Busy,
        uplink: Option<Uplink>,
        (read_timeout, send_timeout): (u64, u64),
    ) -> Self {
        let buf = io.thread().bufs.take_read();
        Self { io, buf, uplink, read_timeout, send_timeout, used, busy, head_bytes: 0, cut: None }
    }

    /// The peer.
    pub fn peer(&self) -> &Rc<Peer> {
        self.busy.peer()
    }

    /// Gives the connection back for another request, if it can serve one.
    pub fn finish(self, reusable: bool) {
        let Self { io, buf, uplink, used, busy, .. } = self;
        if reusable && uplink.is_none() && buf.is_empty() {
            let thread = io.thread().clone();
            pool::give(busy.peer(), io, used);
            thread.bufs.give_read(buf);
        }
    }

    /// Reads more while the rest of the request goes up.
    fn poll_fill(&mut self, cx: &mut Context<'_>, size: usize) -> Poll<Result<usize>> {
        if let Some(uplink) = &mut self.uplink {
            match uplink.poll_send(cx, &self.io) {
                Poll::Ready(done) => {
                    done?;
                    self.uplink = None;
                    self.io.deadline(self.read_timeout);
                }
                // How long a client may take is the client's own deadline, and the answer waits for the request.
                Poll::Pending if uplink.waits_for_client() => self.io.no_deadline(),
                Poll::Pending => self.io.write_deadline(self.send_timeout),
            }
        }
        if self.buf.capacity() - self.buf.len() < size / 2 {
            self.buf.reserve(size);
        }
        let read = ready!(self.io.stream.poll_read(cx, &mut self.buf));
        if let Err(error) = &read {
            self.cut = Some(match error.kind() {
                _ if self.io.expired() => STOPPED.into(),
                // What TLS has to say: of TLS 1.3, what a server thinks of its client comes where the response is awaited.
                io::ErrorKind::InvalidData => format!("ended the connection: {}", handshake::cause(error, "")).into(),
                _ => "reset the connection".into(),
            });
        } else if matches!(read, Ok(0)) && self.io.expired() {
            self.cut = Some(STOPPED.into());
        }
        Poll::Ready(Ok(read.unwrap_or(0)))
    }

    /// Reads until the head of the response is complete. `hint` hears of early hints; other interim answers are skipped.
    pub async fn read_head(&mut self, talk: &mut Talk, hint: impl Fn(&Headers)) -> Result<ResponseHead> {
        self.io.deadline(self.read_timeout);
        loop {
            let n = std::future::poll_fn(|cx| self.poll_fill(cx, READ_SIZE)).await?;
            if n == 0 {
                return Err(self.ended());
            }
            loop {
                let before = self.buf.len();
                match talk.read_head(&mut self.buf) {
                    Ok(None) => break,
                    Ok(Some(head)) if (100..200).contains(&head.status) && head.status != 101 => {
                        if head.status == 103 {
                            hint(&head.headers);
                        }
                    }
                    Ok(Some(head)) => {
                        self.head_bytes = before - self.buf.len();
                        return Ok(head);
                    }
                    Err(e) => {
                        let cause = format!("upstream {} sent an invalid response head: {e}", self.peer().label());
                        return Err(Error::new(Kind::UpstreamInvalid, cause));
                    }
                }
            }
        }
    }

    fn ended(&self) -> Error {
        let address = self.peer().label();
        if self.io.expired() {
            let cause = format!("upstream {address} sent no answer within {} ms (read_timeout)", self.read_timeout);
            return Error::new(Kind::UpstreamTimeout, cause);
        }
        let part = if self.buf.is_empty() { "before it answered" } else { "in the middle of its response head" };
        if let Some(Cow::Owned(how)) = &self.cut {
            return Error::new(Kind::UpstreamClosed, format!("upstream {address} {how}, {part}"));
        }
        Error::new(Kind::UpstreamClosed, format!("upstream {address} closed the connection {part}"))
    }
}

/// A response body as it arrives.
pub struct UpstreamBody {
    /// Finds the end.
    pub talk: Talk,
    /// The connection, until the end.
    pub link: Option<Link>,
    /// It can be used again.
    pub keep_alive: bool,
    /// Every piece leaves at once.
    pub flush: bool,
    /// Takes what is known only at the end, where a log wants it.
    pub noted: Option<Rc<Streamed>>,
    /// Trailers are kept for the client.
    pub trailers: bool,
    /// How much may be kept for a slow client; none where the upstream waits for it.
    pub limits: Option<kept::Limits>,
    /// What is kept.
    pub kept: Option<Kept>,
    /// What went wrong behind it.
    pub failed: Option<Error>,
}

impl UpstreamBody {
    /// Nothing more comes. What ended well is used again.
    fn end(&mut self, well: bool) {
        let Some(link) = self.link.take() else { return };
        if let Some(noted) = &self.noted {
            noted.ended.set(link.io.thread().clock.now());
            if let Some(trailers) = self.talk.trailers() {
                let _ = noted.trailers.set(trailers.clone());
            }
        }
        link.finish(well && self.keep_alive && self.talk.is_complete());
    }

    /// The next piece from the upstream itself.
    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        let mut eof = false;
        loop {
            let Some(link) = &mut self.link else { return Poll::Ready(Ok(None)) };
            let read = self.talk.read_body(&mut link.buf, eof);
            note_stderr(link, &self.talk.take_stderr());
            match read {
                Ok(Decoded::Data(bytes)) => {
                    if let Some(noted) = &self.noted {
                        noted.length.set(noted.length.get() + bytes.len() as u64);
                    }
                    return Poll::Ready(Ok(Some(bytes)));
                }
                Ok(Decoded::End) if link.cut.is_some() => return Poll::Ready(Err(cut(link))),
                Ok(Decoded::End) => {
                    self.end(!eof);
                    return Poll::Ready(Ok(None));
                }
                Err(e) if eof && e.is_truncated => return Poll::Ready(Err(cut(link))),
                Ok(Decoded::NeedMore) => {
                    link.io.deadline(link.read_timeout);
                    eof = ready!(link.poll_fill(cx, RELAY_SIZE))? == 0;
                    link.io.no_deadline(); // until the next read: a slow client is not the upstream's fault
                }
                Err(e) => {
                    let cause = format!("upstream {} sent an invalid body: {e}", link.peer().label());
                    return Poll::Ready(Err(Error::new(Kind::UpstreamInvalid, cause).closing()));
                }
            }
        }
    }
}

/// Logs what an application wrote as errors beside the body of its response.
fn note_stderr(link: &Link, text: &[u8]) {
    if !text.is_empty() {
        let (label, text) = (link.peer().label(), String::from_utf8_lossy(text));
        let line = format!("[error] upstream {label} wrote to FastCGI's stderr: {:?}", text.trim_end());
        link.io.thread().shared.log.line(&line);
    }
}

/// A response that broke off.
fn cut(link: &Link) -> Error {
    let how = link.cut.as_deref().unwrap_or("closed the connection");
    let cause = format!("upstream {} {how} in the middle of its response", link.peer().label());
    Error::new(Kind::UpstreamClosed, cause).closing()
}

impl Source for UpstreamBody {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if let Some(kept) = &mut self.kept {
            if let Some(bytes) = ready!(kept.poll_take(cx))? {
                return Poll::Ready(Ok(Some(bytes)));
            }
            if let Some(error) = self.failed.take() {
                return Poll::Ready(Err(error));
            }
        }
        self.poll_upstream(cx)
    }

    fn length(&self) -> Option<u64> {
        let kept = self.kept.as_ref().map_or(0, Kept::length);
        self.talk.remaining().map(|remaining| remaining + kept)
    }

    fn poll_ahead(&mut self, cx: &mut Context<'_>) {
        let Some(limits) = &self.limits else { return };
        let mut kept = self.kept.take().unwrap_or_else(|| Kept::new(limits.clone()));
        while self.link.is_some() && self.failed.is_none() && kept.poll_room(cx).is_ready() {
            match self.poll_upstream(cx) {
                Poll::Ready(Ok(Some(bytes))) => kept.push(bytes),
                Poll::Ready(Err(error)) => self.failed = Some(error),
                Poll::Ready(Ok(None)) | Poll::Pending => break,
            }
        }
        self.kept = Some(kept);
    }

    fn flush_each(&self) -> bool {
        self.flush
    }

    fn trailers(&self) -> Option<&Headers> {
        self.talk.trailers().filter(|trailers| self.trailers && !trailers.is_empty())
    }
}
