//! Writing a response on HTTP/1: head and first bytes leave in one call, framing is decided here and nowhere else.
use crate::body::{Body, Part, Source, Upgraded, next_chunk};
use crate::error::{Error, Kind, Result};
use crate::exchange::conditions::Dialect;
use crate::exchange::{Exchange, Response};
use crate::filter::trailers;
use crate::http::h1::Conn;
use crate::http::h1::{departure, tunnel};
use crate::settings::connection;
use crate::text;
use buchner_wire::Version;
use buchner_wire::chunked;
use buchner_wire::h1::{nginx_reason, write_status_line};
use buchner_wire::headers::{HeaderId, Headers};
use buchner_wire::method::Method;
use bytes::Bytes;
use std::cell::Cell;
use std::os::fd::AsFd;
use std::task::Poll;

const SERVER_AND_VERSION: &[u8] = concat!("Server: Buchner/", env!("CARGO_PKG_VERSION"), "\r\n").as_bytes();

/// A body up to this size is copied behind the head; a larger one goes out from where it lies.
const COPY_BYTES: usize = 16 << 10;

/// What was sent.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// Bytes in all.
    pub total: u64,
    /// Bytes of the body.
    pub body: u64,
    /// The connection left HTTP and is over.
    pub upgraded: bool,
    /// Fields sent behind the body.
    pub trailers: Headers,
}

/// How the end of a body is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    NoBody,
    Length,
    Chunked,
    Close,
}

/// How a response ends, and whether its connection stays: decided once, so that what is said and what is done are one.
#[derive(Clone, Copy)]
pub struct Delivery {
    framing: Framing,
    keep: bool,
}

impl Delivery {
    /// Of this response, on a connection that could stay if the response lets it.
    pub fn new(ex: &Exchange, response: &Response, could_stay: bool) -> Self {
        let framing = framing(ex, response.status, &response.body);
        Self { framing, keep: could_stay && !response.close && framing != Framing::Close && response.status != 101 }
    }

    /// The connection is kept for the next request.
    pub fn keeps(self) -> bool {
        self.keep
    }

    /// The client takes the end of the connection for the end of the body, so that one cut short must not end like a whole one.
    pub fn ends_with_connection(self) -> bool {
        self.framing == Framing::Close
    }
}

/// Writes a whole response. Returns its fields (for the log), what was sent, and whether the client took it all.
pub async fn response(
    conn: &Conn,
    ex: &Exchange,
    response: Response,
    delivery: Delivery,
) -> (Headers, Written, Result<()>) {
    let reason = response.reason().to_vec();
    let Response { status, headers, body, .. } = response;
    let Delivery { framing, keep } = delivery;
    let mut out = ex.thread.bufs.take_write();
    out.append(&mut conn.unsent.take());
    status_line(ex, &mut out, status, &reason);
    head(ex, &mut out, &headers);
    if keep {
        keep_alive_field(&mut out, ex, status);
    }
    if status == 426 && headers.contains(HeaderId::Upgrade) {
        // Connection names the Upgrade that a 426 has to have (RFC 9110 section 7.8).
        out.extend_from_slice(b"Connection: upgrade\r\n");
    }
    framing_fields(&mut out, ex, status, &body, framing, keep);
    let mut writer = Writer {
        conn,
        out,
        written: Written::default(),
        timeout_ms: ex.settings().get::<connection::Settings>().send_timeout.0,
    };
    let head_bytes = writer.out.len() as u64;
    let length = if framing == Framing::Length { body.length() } else { None };
    let mut sent = match body {
        Body::Upgraded(upgraded) => writer.upgrade(*upgraded).await,
        body if framing == Framing::NoBody => {
            drop(body);
            writer.flush(false).await
        }
        body => {
            let chunked = framing == Framing::Chunked;
            match writer.body(body, chunked).await {
                Ok(trailers) if chunked => writer.end(ex, status, &headers, trailers).await,
                sent => sent.map(|_| ()),
            }
        }
    };
    let Writer { out, mut written, .. } = writer;
    written.body = written.total.saturating_sub(head_bytes);
    if let Some(length) = length.filter(|length| sent.is_ok() && *length != written.body) {
        let cause = format!("the body had {} bytes where its head said {length}", written.body);
        sent = Err(Error::new(Kind::Internal, cause).closing());
    }
    ex.thread.bufs.give_write(out);
    (headers, written, sent)
}

fn framing(ex: &Exchange, status: u16, body: &Body) -> Framing {
    if ex.request.method == Method::Head || matches!(status, 101 | 204 | 304) || matches!(body, Body::None { .. }) {
        return Framing::NoBody;
    }
    // HTTP/1.0 has no chunks.
    let chunks =
        || ex.request.version >= Version::H11 && ex.settings().get::<connection::Settings>().chunked_transfer_encoding;
    match body.length() {
        Some(_) => Framing::Length,
        None if chunks() => Framing::Chunked,
        None => Framing::Close,
    }
}

/// The status line, with the words that came with the status, or those of the dialect.
fn status_line(ex: &Exchange, out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    let words = match ex.scope.gateway.wording {
        Dialect::Nginx if reason.is_empty() => nginx_reason(status).as_bytes(),
        _ => reason,
    };
    write_status_line(out, status, words);
}

/// Server, Date and the response's fields.
fn head(ex: &Exchange, out: &mut Vec<u8>, headers: &Headers) {
    // A proxied route may pass on what its upstream says instead (proxy_pass_headers).
    if !headers.contains(HeaderId::Server) {
        out.extend_from_slice(if ex.settings().get::<connection::Settings>().server_tokens {
            SERVER_AND_VERSION
        } else {
            b"Server: Buchner\r\n"
        });
    }
    if !headers.contains(HeaderId::Date) {
        out.extend_from_slice(b"Date: ");
        ex.thread.clock.http_date(out);
        out.extend_from_slice(b"\r\n");
    }
    for header in headers.iter() {
        let unsaid = matches!(header.id, HeaderId::Server | HeaderId::Date) && header.value.is_empty();
        if unsaid || matches!(header.id, HeaderId::ContentLength | HeaderId::TransferEncoding) {
            continue;
        }
        out.extend_from_slice(header.name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(header.value);
        out.extend_from_slice(b"\r\n");
    }
}

fn framing_fields(out: &mut Vec<u8>, ex: &Exchange, status: u16, body: &Body, framing: Framing, keep: bool) {
    if status == 101 {
        // Connection and Upgrade are the peer's own fields.
        out.extend_from_slice(b"\r\n");
        return;
    }
    match framing {
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Framing::Close => {}
        Framing::NoBody | Framing::Length => {
            if let Some(length) = body.length().filter(|_| status != 204) {
                out.extend_from_slice(b"Content-Length: ");
                text::write_number(length, out);
                out.extend_from_slice(b"\r\n");
            }
        }
    }
    // Keep-Alive is a field of the connection, so that Connection names it (RFC 9110 section 7.6.1).
    let told =
        ex.settings().get::<connection::Settings>().keepalive_told.0 > 0 || ex.scope.gateway.wording == Dialect::Nginx;
    match keep {
        true if ex.request.version >= Version::H11 && !told => {}
        true => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        false => out.extend_from_slice(b"Connection: close\r\n"),
    }
    out.extend_from_slice(b"\r\n");
}

/// Tells how long the connection is kept, where that is configured.
fn keep_alive_field(out: &mut Vec<u8>, ex: &Exchange, status: u16) {
    let told = ex.settings().get::<connection::Settings>().keepalive_told.0;
    if told > 0 && status != 101 {
        out.extend_from_slice(b"Keep-Alive: timeout=");
        text::write_number(told / 1000, out);
        out.extend_from_slice(b"\r\n");
    }
}

struct Writer<'a> {
    conn: &'a Conn,
    out: Vec<u8>,
    written: Written,
    timeout_ms: u64,
}

impl Writer<'_> {
    /// Sends what is in `out`.
    async fn flush(&mut self, more: bool) -> Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        self.conn.io.write_deadline(self.timeout_ms);
        let sent = self.conn.io.write_all(&self.out, more).await;
        self.written.total += self.out.len() as u64;
        self.out.clear();
        sent.map_err(|_| Error::client_gone())
    }

    /// Sends what is in `out` and then `bytes`, copying only small ones.
    async fn send(&mut self, bytes: &[u8], more: bool) -> Result<()> {
        if bytes.len() <= COPY_BYTES {
            self.out.extend_from_slice(bytes);
            return self.flush(more).await;
        }
        self.conn.io.write_deadline(self.timeout_ms);
        let sent = self.conn.io.write_both(&self.out, bytes).await;
        self.written.total += (self.out.len() + bytes.len()) as u64;
        self.out.clear();
        sent.map_err(|_| Error::client_gone())
    }

    /// Sends the body; returns the fields that came behind it and follow it.
    async fn body(&mut self, body: Body, chunked: bool) -> Result<Headers> {
        match body {
            Body::None { .. } | Body::Upgraded(_) => self.flush(false).await?,
            Body::Full(bytes) => self.send(&bytes, false).await?,
            Body::Parts(parts) => self.parts(&parts).await?,
            Body::Stream(source) => return self.stream(source, chunked).await,
        }
        Ok(Headers::default())
    }

    async fn parts(&mut self, parts: &[Part]) -> Result<()> {
        let last = parts.len().saturating_sub(1);
        for (i, part) in parts.iter().enumerate() {
            match part {
                Part::Bytes(bytes) => self.send(bytes, i < last).await?,
                Part::File { file, offset, length } => {
                    self.flush(*length > 0).await?;
                    self.conn.io.send_file(file.as_fd(), *offset, *length, self.timeout_ms).await?;
                    self.written.total += length;
                }
            }
        }
        self.flush(false).await
    }

    async fn stream(&mut self, mut source: Box<dyn Source>, chunked: bool) -> Result<Headers> {
        let watch = source.length().is_none() && source.flush_each();
        let mut next = std::future::poll_fn(|cx| Poll::Ready(source.poll_chunk(cx))).await;
        loop {
            let chunk = match next {
                Poll::Ready(chunk) => chunk,
                Poll::Pending => {
                    // Nothing more for now: what there is leaves, the head at the latest here.
                    self.flush(false).await?;
                    self.conn.io.no_deadline();
                    if watch { self.next_or_gone(&mut *source, chunked).await } else { next_chunk(&mut *source).await }
                }
            };
            let chunk = match chunk {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => {
                    // What came before it broke off goes out, the head at least.
                    self.flush(false).await?;
                    return Err(error);
                }
            };
            let mut written = std::pin::pin!(self.chunk(&chunk, chunked));
            std::future::poll_fn(|cx| {
                let done = written.as_mut().poll(cx);
                if done.is_pending() {
                    source.poll_ahead(cx);
                }
                done
            })
            .await?;
            next = std::future::poll_fn(|cx| Poll::Ready(source.poll_chunk(cx))).await;
        }
        // The end of the chunks leaves with the last of them.
        if chunked {
            return Ok(source.trailers().cloned().unwrap_or_default());
        }
        self.flush(false).await?;
        Ok(Headers::default())
    }

    /// The last chunk, and the fields behind it: those of the body and those of the configuration.
    async fn end(&mut self, ex: &Exchange, status: u16, headers: &Headers, mut trailers: Headers) -> Result<()> {
        let (size, end) = chunked::LAST_CHUNK.split_at(3);
        self.out.extend_from_slice(size);
        trailers::add(ex, status, headers, &mut trailers);
        trailers.write_to(&mut self.out);
        self.out.extend_from_slice(end);
        self.written.trailers = trailers;
        self.flush(false).await
    }

    async fn chunk(&mut self, chunk: &Bytes, chunked: bool) -> Result<()> {
        if !chunked {
            return self.send(chunk, false).await;
        }
        chunked::encode_chunk_header(chunk.len(), &mut self.out);
        if chunk.len() > COPY_BYTES {
            self.send(chunk, true).await?;
            self.out.extend_from_slice(b"\r\n");
            return Ok(());
        }
        self.out.extend_from_slice(chunk);
        self.out.extend_from_slice(b"\r\n");
        self.flush(false).await
    }

    /// The next event of an endless stream, unless its client leaves first.
    async fn next_or_gone(&mut self, source: &mut dyn Source, chunked: bool) -> Result<Option<Bytes>> {
        let probes = Cell::new(0);
        let gone = departure::left_midway(self.conn, chunked, &probes);
        tokio::pin!(gone);
        let next = std::future::poll_fn(|cx| {
            if let Poll::Ready(chunk) = source.poll_chunk(cx) {
                return Poll::Ready(chunk);
            }
            gone.as_mut().poll(cx).map(|()| Err(Error::client_gone()))
        })
        .await;
        self.written.total += probes.get();
        next
    }

    async fn upgrade(&mut self, upgraded: Upgraded) -> Result<()> {
        self.flush(false).await?;
        self.written.upgraded = true;
        let early = self.conn.take_early();
        self.written.total +=
            tunnel::run(&self.conn.io, &upgraded.io, (early, upgraded.received), upgraded.idle_ms).await;
        Ok(())
    }
}
