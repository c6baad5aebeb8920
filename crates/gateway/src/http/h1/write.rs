//! Writing a response on HTTP/1: head and first bytes leave in one call. Framing is decided here and nowhere else.
use crate::error::{Error, Result};
use crate::exchange::Exchange;
use crate::exchange::conditions::Dialect;
use crate::http::h1::departure;
use crate::http::h1::turn::{End, Turn};
use crate::http::send::{ResponseHead, Sink, Size};
use crate::io::stream::Io;
use crate::settings::connection::Settings;
use crate::text;
use buchner_wire::Version;
use buchner_wire::chunked;
use buchner_wire::h1::{nginx_reason, write_status_line};
use buchner_wire::headers::{HeaderId, Headers};
use bytes::{Bytes, BytesMut};
use std::fs::File;
use std::os::fd::AsFd;

/// A body up to this size is copied after the head; a larger one goes out from where it lies.
const COPY_BYTES: usize = 16 << 10;

impl Turn<'_> {
    /// How the body's end is told.
    fn end_of(ex: &Exchange, size: Size) -> End {
        match size {
            Size::None(_) => End::NoBody,
            Size::Known(_) => End::Length,
            // HTTP/1.0 has no chunks.
            Size::Unknown
                if ex.request.version >= Version::H11 && ex.settings().get::<Settings>().chunked_transfer_encoding =>
            {
                End::Chunked
            }
            Size::Unknown => End::Close,
        }
    }

    /// The status line, with the words that came with the status, or those of the dialect.
    fn status_line(&mut self, ex: &Exchange, status: u16, reason: &[u8]) {
        let words = match ex.scope.gateway.wording {
            Dialect::Nginx if reason.is_empty() => nginx_reason(status).as_bytes(),
            _ => reason,
        };
        write_status_line(&mut self.out, status, words);
    }

    /// Tells how long the connection is kept, where that is configured.
    fn keep_alive(&mut self, ex: &Exchange) {
        let told = ex.settings().get::<Settings>().keepalive_told.0;
        if told > 0 {
            self.out.extend_from_slice(b"Keep-Alive: timeout=");
            text::write_number(told / 1000, &mut self.out);
            self.out.extend_from_slice(b"\r\n");
        }
    }

    fn framing(&mut self, ex: &Exchange, head: &ResponseHead<'_>) {
        let out = &mut self.out;
        if head.status == 426 && head.headers.contains(HeaderId::Upgrade) {
            // Connection names the Upgrade that a 426 has to have (RFC 9110 section 7.8).
            out.extend_from_slice(b"Connection: upgrade\r\n");
        }
        if let Some(length) = head.content_length() {
            out.extend_from_slice(b"Content-Length: ");
            text::write_number(length, out);
            out.extend_from_slice(b"\r\n");
        }
        if self.end == End::Chunked {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        // Keep-Alive is a header of the connection, so that Connection names it (RFC 9110 section 7.6.1).
        let told =
            || ex.settings().get::<Settings>().keepalive_told.0 > 0 || ex.scope.gateway.wording == Dialect::Nginx;
        match self.keep {
            true if ex.request.version >= Version::H11 && !told() => {}
            true => out.extend_from_slice(b"Connection: keep-alive\r\n"),
            false => out.extend_from_slice(b"Connection: close\r\n"),
        }
    }

    /// Sends what is in `out`.
    async fn send_out(&mut self, more: bool) -> Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        self.conn.io.write_deadline(self.timeout_ms);
        let sent = self.conn.io.write_all(&self.out, more).await;
        self.total += self.out.len() as u64;
        self.out.clear();
        sent.map_err(|_| Error::client_gone())
    }

    /// Sends what is in `out` and then `bytes`, copying only small ones.
    async fn send(&mut self, bytes: &[u8], more: bool) -> Result<()> {
        if bytes.len() <= COPY_BYTES {
            self.out.extend_from_slice(bytes);
            return self.send_out(more).await;
        }
        self.send_parts(bytes, b"").await
    }

    /// Sends what is in `out`, then `bytes` and `end`, from where they are.
    async fn send_parts(&mut self, bytes: &[u8], end: &[u8]) -> Result<()> {
        self.conn.io.write_deadline(self.timeout_ms);
        let sent = if end.is_empty() {
            self.conn.io.write_parts([&self.out, bytes]).await
        } else {
            self.conn.io.write_parts([&self.out, bytes, end]).await
        };
        self.total += (self.out.len() + bytes.len() + end.len()) as u64;
        self.out.clear();
        sent.map_err(|_| Error::client_gone())
    }
}

impl Sink for Turn<'_> {
    type Duplex = Io;

    fn head(&mut self, ex: &Exchange, head: &ResponseHead<'_>) {
        let settings = ex.settings().get::<Settings>();
        self.timeout_ms = settings.send_timeout.0;
        self.conn.kept_ms.set(settings.keepalive_timeout.0);
        self.end = Self::end_of(ex, head.size);
        self.keep = self.could_stay && !head.close && self.end != End::Close && head.status != 101 && self.may_stay(ex);
        self.out = self.conn.io.thread().bufs.take_write();
        self.out.append(&mut self.conn.unsent.take());
        self.status_line(ex, head.status, head.reason);
        head.write_to(ex, &mut self.out);
        // Connection and Upgrade of a 101 are the peer's own.
        if head.status != 101 {
            if self.keep {
                self.keep_alive(ex);
            }
            self.framing(ex, head);
        }
        self.out.extend_from_slice(b"\r\n");
        self.head = self.out.len() as u64;
    }

    async fn data(&mut self, bytes: &Bytes, more: bool) -> Result<()> {
        if self.end != End::Chunked {
            return self.send(bytes, more).await;
        }
        chunked::encode_chunk_header(bytes.len(), &mut self.out);
        if bytes.len() > COPY_BYTES {
            // The end of the chunk leaves with it: what follows may not be there yet.
            return self.send_parts(bytes, b"\r\n").await;
        }
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
        self.send_out(more).await
    }

    async fn file(&mut self, file: &File, offset: u64, length: u64) -> Result<()> {
        self.send_out(length > 0).await?;
        self.conn.io.send_file(file.as_fd(), offset, length, self.timeout_ms).await?;
        self.total += length;
        Ok(())
    }

    fn takes_trailers(&self) -> bool {
        self.end == End::Chunked
    }

    async fn end(&mut self, trailers: &Headers) -> Result<()> {
        if self.end == End::Chunked {
            // The end of the chunks leaves with the last of them.
            let (size, end) = chunked::LAST_CHUNK.split_at(3);
            self.out.extend_from_slice(size);
            trailers.write_to(&mut self.out);
            self.out.extend_from_slice(end);
        }
        self.send_out(false).await
    }

    async fn flush(&mut self) -> Result<()> {
        self.send_out(false).await
    }

    fn pause(&self) {
        self.conn.io.no_deadline();
    }

    async fn left_midway(&self) {
        departure::left_midway(self.conn, self.end == End::Chunked, &self.probes).await;
    }

    fn duplex(&self) -> (&Io, BytesMut) {
        (&self.conn.io, self.conn.take_early())
    }

    fn sent(&self) -> (u64, u64) {
        let total = self.total + self.probes.get();
        (total, total.saturating_sub(self.head))
    }
}
