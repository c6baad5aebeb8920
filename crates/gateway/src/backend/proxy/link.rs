//! A connection to an upstream in use: what goes up, the head and the body that come down.
use super::LIMITS;
use super::kept::{self, Kept};
use crate::body::Source;
use crate::error::{Error, Kind, Result};
use crate::exchange::Streamed;
use crate::io::sock::{Io, READ_SIZE};
use crate::upstream::pool::{self, Used};
use crate::upstream::{Group, Hold};
use buchner_wire::chunked::{self, BodyDecoder, Decoded};
use buchner_wire::h1::{self, H1ErrorKind, ResponseHead};
use buchner_wire::headers::Headers;
use buchner_wire::method::Method;
use bytes::{Bytes, BytesMut};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Bytes read at a time of a large body.
const RELAY_SIZE: usize = 64 << 10;

/// A request body on its way up while the response is already being read.
pub struct Uplink {
    /// The body as the client sends it.
    pub source: Box<dyn Source>,
    /// It goes up in chunks, its length is not known.
    pub chunked: bool,
    /// Bytes that are next.
    pub out: Bytes,
    /// The source has ended.
    pub ended: bool,
}

impl Uplink {
    /// Moves bytes until it must wait. Ready when the whole body is sent.
    fn poll_send(&mut self, cx: &mut Context<'_>, io: &Io) -> Poll<Result<()>> {
        loop {
            while !self.out.is_empty() {
                let sent = ready!(io.sock.poll_send(cx, &self.out, rustix::net::SendFlags::empty()));
                match sent {
                    Ok(n) => drop(self.out.split_to(n)),
                    Err(_) if io.expired() => {
                        let cause = "the upstream did not take the request in time (upstream_send_timeout)";
                        return Poll::Ready(Err(Error::new(Kind::UpstreamTimeout, cause)));
                    }
                    // The server stopped reading; what it answers is still read.
                    Err(_) => return Poll::Ready(Ok(())),
                }
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            match ready!(self.source.poll_chunk(cx))? {
                Some(chunk) if self.chunked => {
                    let mut out = Vec::with_capacity(chunk.len() + 20);
                    chunked::encode_chunk_header(chunk.len(), &mut out);
                    out.extend_from_slice(&chunk);
                    out.extend_from_slice(b"\r\n");
                    self.out = out.into();
                }
                Some(chunk) => self.out = chunk,
                None => {
                    self.ended = true;
                    self.out = if self.chunked { Bytes::from_static(chunked::LAST_CHUNK) } else { Bytes::new() };
                }
            }
        }
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
    /// Its place among the connections its server takes at a time.
    pub hold: Option<Hold>,
    /// Bytes of the response's head.
    pub head_bytes: usize,
    /// The server reset the connection.
    pub reset: bool,
}

impl Link {
    /// Why reading ended, unless the server has sent all it wanted to.
    fn cut(&self) -> Option<&'static str> {
        match (self.io.expired(), self.reset) {
            (true, _) => Some("stopped sending (read_timeout)"),
            (false, true) => Some("reset the connection"),
            (false, false) => None,
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
                Poll::Pending if uplink.out.is_empty() => self.io.no_deadline(),
                Poll::Pending => self.io.write_deadline(self.send_timeout),
            }
        }
        if self.buf.capacity() - self.buf.len() < size / 2 {
            self.buf.reserve(size);
        }
        // A reset is an end too, yet not that of a body which ends with its connection.
        self.io.sock.poll_read(cx, &mut self.buf).map(|read| {
            self.reset |= read.is_err();
            Ok(read.unwrap_or(0))
        })
    }

    /// Reads until the head of the response is complete. `hint` hears of early hints; other interim answers are skipped.
    pub async fn read_head(
        &mut self,
        method: &Method,
        address: &crate::upstream::Address,
        hint: impl Fn(&Headers),
    ) -> Result<ResponseHead> {
        let mut scanned = 0;
        self.io.deadline(self.read_timeout);
        loop {
            let n = std::future::poll_fn(|cx| self.poll_fill(cx, READ_SIZE)).await?;
            if n == 0 {
                return Err(self.ended(address));
            }
            loop {
                let before = self.buf.len();
                let parsed = h1::parse_response(&mut self.buf, &LIMITS, &mut scanned, method);
                match parsed {
                    Ok(None) => break,
                    Ok(Some(head)) if (100..200).contains(&head.status) && head.status != 101 => {
                        scanned = 0;
                        if head.status == 103 {
                            hint(&head.headers);
                        }
                    }
                    Ok(Some(head)) => {
                        self.head_bytes = before - self.buf.len();
                        return Ok(head);
                    }
                    Err(e) => {
                        let cause = format!("upstream {address} sent an invalid response head: {e}");
                        return Err(Error::new(Kind::UpstreamInvalid, cause));
                    }
                }
            }
        }
    }

    fn ended(&self, address: &crate::upstream::Address) -> Error {
        if self.io.expired() {
            let cause = format!("upstream {address} sent no answer within {} ms (read_timeout)", self.read_timeout);
            return Error::new(Kind::UpstreamTimeout, cause);
        }
        let part = if self.buf.is_empty() { "before it answered" } else { "in the middle of its response head" };
        Error::new(Kind::UpstreamClosed, format!("upstream {address} closed the connection {part}"))
    }
}

/// A response body as it arrives.
pub struct UpstreamBody {
    /// Finds the end.
    pub decoder: BodyDecoder,
    /// The connection, until the end.
    pub link: Option<Link>,
    /// Where the connection goes back to.
    pub group: Arc<Group>,
    /// The server it leads to.
    pub server: usize,
    /// It can be used again.
    pub keep_alive: bool,
    /// Name of the server, for messages.
    pub address: Option<Rc<str>>,
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
            if let Some(trailers) = self.decoder.trailers() {
                let _ = noted.trailers.set(trailers.clone());
            }
        }
        if well && self.keep_alive && link.uplink.is_none() && link.buf.is_empty() {
            pool::give(&self.group, self.server, link.io, link.used);
        }
    }

    fn broke_off(&self, how: &str) -> Error {
        let address = self.address.as_deref().unwrap_or_default();
        let cause = format!("upstream {address} {how} in the middle of its response");
        Error::new(Kind::UpstreamClosed, cause).closing()
    }

    /// The next piece from the upstream itself.
    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        let mut eof = false;
        loop {
            let Some(link) = &mut self.link else { return Poll::Ready(Ok(None)) };
            let cut = if eof { link.cut() } else { None };
            if let (Some(how), BodyDecoder::UntilClose, true) = (cut, &self.decoder, link.buf.is_empty()) {
                return Poll::Ready(Err(self.broke_off(how)));
            }
            match self.decoder.decode(&mut link.buf, eof) {
                Ok(Decoded::Data(bytes)) => {
                    if let Some(noted) = &self.noted {
                        noted.length.set(noted.length.get() + bytes.len() as u64);
                    }
                    return Poll::Ready(Ok(Some(bytes)));
                }
                Ok(Decoded::End) => {
                    self.end(!eof);
                    return Poll::Ready(Ok(None));
                }
                Err(e) if eof && e.kind == H1ErrorKind::Truncated => {
                    return Poll::Ready(Err(self.broke_off(cut.unwrap_or("closed the connection"))));
                }
                Ok(Decoded::NeedMore) => {
                    link.io.deadline(link.read_timeout);
                    eof = ready!(link.poll_fill(cx, RELAY_SIZE))? == 0;
                    link.io.no_deadline(); // until the next read: a slow client is not the upstream's fault
                }
                Err(e) => {
                    let cause =
                        format!("upstream {} sent an invalid body: {e}", self.address.as_deref().unwrap_or_default());
                    return Poll::Ready(Err(Error::new(Kind::UpstreamInvalid, cause).closing()));
                }
            }
        }
    }
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
        self.decoder.remaining().map(|remaining| remaining + kept)
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
        self.decoder.trailers().filter(|trailers| self.trailers && !trailers.is_empty())
    }
}
