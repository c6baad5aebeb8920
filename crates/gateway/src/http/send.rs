//! A response on its way to the client: what every version sends alike. Framing is the version's ([`Sink`]) and decided nowhere
//! else.
use crate::body::{Body, Part, Source, Upgraded, next_chunk};
use crate::error::{Error, Kind, Result};
use crate::exchange::{Exchange, Response};
use crate::filter::trailers;
use crate::http::tunnel::{self, Duplex};
use crate::settings::connection;
use buchner_wire::headers::{Header, HeaderId, Headers};
use buchner_wire::method::Method;
use bytes::{Bytes, BytesMut};
use std::fs::File;
use std::task::Poll;

const SERVER_AND_VERSION: &[u8] = concat!("Buchner/", env!("CARGO_PKG_VERSION")).as_bytes();
const SERVER: &[u8] = b"Buchner";

/// What was sent.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// Bytes in all.
    pub total: u64,
    /// Bytes of the body.
    pub body: u64,
    /// The connection left HTTP and is over.
    pub upgraded: bool,
    /// Headers sent after the body.
    pub trailers: Headers,
}

/// What is known of a body before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// There is none. The length is that of the body that a GET would have, if that is told.
    None(Option<u64>),
    /// So many bytes.
    Known(u64),
    /// The end shows when it comes.
    Unknown,
}

/// The head of a response.
pub struct ResponseHead<'r> {
    /// Status.
    pub status: u16,
    /// The reason phrase that came with it; empty for the usual one.
    pub reason: &'r [u8],
    /// Headers of the response; [`ResponseHead::each`] has what is sent of them.
    pub headers: &'r Headers,
    /// What is known of the body.
    pub size: Size,
    /// The connection, or the stream, ends after it.
    pub close: bool,
}

impl ResponseHead<'_> {
    /// Server, Date and the headers of the response, without those of framing.
    pub fn each(&self, ex: &Exchange, mut header: impl FnMut(&[u8], &[u8])) {
        self.own(ex, &mut header);
        self.headers.iter().filter(Self::is_sent).for_each(|field| header(field.name, field.value));
    }

    /// The same, as lines of HTTP/1.
    pub fn write_to(&self, ex: &Exchange, out: &mut Vec<u8>) {
        self.own(ex, |name, value| {
            out.reserve(name.len() + value.len() + 4);
            out.extend_from_slice(name);
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        });
        self.headers.write_kept(out, Self::is_sent);
    }

    /// Server and Date, unless the response brings its own.
    fn own(&self, ex: &Exchange, mut header: impl FnMut(&[u8], &[u8])) {
        // A proxied route may pass on what its upstream says instead (proxy_pass_headers).
        if !self.headers.contains(HeaderId::Server) {
            let tokens = ex.settings().get::<connection::Settings>().server_tokens;
            header(b"Server", if tokens { SERVER_AND_VERSION } else { SERVER });
        }
        if !self.headers.contains(HeaderId::Date) {
            header(b"Date", &ex.thread.clock.http_date());
        }
    }

    fn is_sent(field: &Header<'_>) -> bool {
        match field.id {
            HeaderId::ContentLength | HeaderId::TransferEncoding => false,
            HeaderId::Server | HeaderId::Date => !field.value.is_empty(),
            _ => true,
        }
    }

    /// The value of Content-Length, if there is one.
    pub fn content_length(&self) -> Option<u64> {
        match self.size {
            Size::Known(length) | Size::None(Some(length)) if self.status != 204 => Some(length),
            Size::Known(_) | Size::None(_) | Size::Unknown => None,
        }
    }
}

/// One response as a version sends it. It may keep bytes back until they are worth a call; [`Sink::flush`] sends them.
pub(crate) trait Sink {
    /// The client's end of a connection that leaves HTTP.
    type Duplex: Duplex;

    /// The head; nothing of it has to leave yet.
    fn head(&mut self, ex: &Exchange, head: &ResponseHead<'_>);

    /// Bytes of the body; `more` says that more follows at once.
    async fn data(&mut self, bytes: &Bytes, more: bool) -> Result<()>;

    /// A part of a file.
    async fn file(&mut self, file: &File, offset: u64, length: u64) -> Result<()>;

    /// Headers can follow this body.
    fn takes_trailers(&self) -> bool;

    /// The end, and the headers after the body if it takes any.
    async fn end(&mut self, trailers: &Headers) -> Result<()>;

    /// Sends what was kept back.
    async fn flush(&mut self) -> Result<()>;

    /// Whoever makes the body has nothing for now: how long that takes is not the client's time.
    fn pause(&self);

    /// Resolves when the client has gone in the middle of a response that is silent for now.
    async fn left_midway(&self);

    /// The client's end as a duplex of bytes, and what was read of it already.
    fn duplex(&self) -> (&Self::Duplex, BytesMut);

    /// Bytes sent in all, and those of the body among them.
    fn sent(&self) -> (u64, u64);
}

/// Sends a whole response. Returns its headers (for the log), what was sent, and whether the client took it all.
pub(crate) async fn response<S: Sink>(
    sink: &mut S,
    ex: &Exchange,
    response: Response,
) -> (Headers, Written, Result<()>) {
    let size = size(ex, &response);
    let head = ResponseHead {
        status: response.status,
        reason: response.reason(),
        headers: &response.headers,
        size,
        close: response.close,
    };
    sink.head(ex, &head);
    let Response { status, headers, body, .. } = response;
    let mut written = Written::default();
    let mut pump = Pump { sink, bytes: 0 };
    let sent = match body {
        Body::Upgraded(upgraded) => {
            written.upgraded = true;
            pump.tunnel(*upgraded, &mut written.total).await
        }
        body if matches!(size, Size::None(_)) => {
            drop(body);
            pump.sink.end(&Headers::default()).await
        }
        body => match pump.body(body).await {
            Ok(mut trailers) => {
                if pump.sink.takes_trailers() {
                    trailers::add(ex, status, &headers, &mut trailers);
                    written.trailers = trailers;
                }
                pump.end(size, &written.trailers).await
            }
            Err(error) => Err(error),
        },
    };
    let (total, body) = sink.sent();
    (written.total, written.body) = (written.total + total, written.total + body);
    (headers, written, sent)
}

fn size(ex: &Exchange, response: &Response) -> Size {
    let bodiless = ex.request.method == Method::Head || matches!(response.status, 101 | 204 | 304);
    let length = response.body.length();
    match (&response.body, length) {
        (Body::None { .. }, length) => Size::None(length),
        (_, length) if bodiless => Size::None(length),
        (_, Some(length)) => Size::Known(length),
        (_, None) => Size::Unknown,
    }
}

/// Moves a body into a sink.
struct Pump<'s, S> {
    sink: &'s mut S,
    bytes: u64,
}

impl<S: Sink> Pump<'_, S> {
    /// Sends the body; returns the headers that came after it and go on to the client.
    async fn body(&mut self, body: Body) -> Result<Headers> {
        match body {
            Body::None { .. } | Body::Upgraded(_) => {}
            Body::Full(bytes) => self.data(&bytes, false).await?,
            Body::Parts(parts) => self.parts(&parts).await?,
            Body::Stream(source) => return self.stream(source).await,
        }
        Ok(Headers::default())
    }

    async fn data(&mut self, bytes: &Bytes, more: bool) -> Result<()> {
        self.bytes += bytes.len() as u64;
        self.sink.data(bytes, more).await
    }

    /// The body's end; one that has another length than its head said breaks off instead.
    async fn end(&mut self, size: Size, trailers: &Headers) -> Result<()> {
        match size {
            Size::Known(length) if length != self.bytes => {
                self.sink.flush().await?;
                let cause = format!("the body had {} bytes where its head said {length}", self.bytes);
                Err(Error::new(Kind::Internal, cause).closing())
            }
            Size::Known(_) | Size::None(_) | Size::Unknown => self.sink.end(trailers).await,
        }
    }

    async fn parts(&mut self, parts: &[Part]) -> Result<()> {
        let last = parts.len().saturating_sub(1);
        for (i, part) in parts.iter().enumerate() {
            match part {
                Part::Bytes(bytes) => self.data(bytes, i < last).await?,
                Part::File { file, offset, length } => {
                    self.sink.file(file, *offset, *length).await?;
                    self.bytes += length;
                }
            }
        }
        Ok(())
    }

    async fn stream(&mut self, mut source: Box<dyn Source>) -> Result<Headers> {
        let watch = source.length().is_none() && source.flush_each();
        let mut next = std::future::poll_fn(|cx| Poll::Ready(source.poll_chunk(cx))).await;
        loop {
            let chunk = match next {
                Poll::Ready(chunk) => chunk,
                Poll::Pending => {
                    // Nothing more for now: what there is leaves, the head at the latest here.
                    self.sink.flush().await?;
                    self.sink.pause();
                    if watch { self.next_or_gone(&mut *source).await } else { next_chunk(&mut *source).await }
                }
            };
            let chunk = match chunk {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => {
                    // What came before it broke off goes out, the head at least.
                    self.sink.flush().await?;
                    return Err(error);
                }
            };
            let mut written = std::pin::pin!(self.data(&chunk, false));
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
        let trailers = self.sink.takes_trailers().then(|| source.trailers().cloned()).flatten();
        Ok(trailers.unwrap_or_default())
    }

    /// The next event of an endless stream, unless its client leaves first.
    async fn next_or_gone(&mut self, source: &mut dyn Source) -> Result<Option<Bytes>> {
        let mut gone = std::pin::pin!(self.sink.left_midway());
        std::future::poll_fn(|cx| {
            if let Poll::Ready(chunk) = source.poll_chunk(cx) {
                return Poll::Ready(chunk);
            }
            gone.as_mut().poll(cx).map(|()| Err(Error::client_gone()))
        })
        .await
    }

    async fn tunnel(&mut self, upgraded: Upgraded, total: &mut u64) -> Result<()> {
        self.sink.flush().await?;
        let (client, early) = self.sink.duplex();
        *total = tunnel::run(client, &upgraded.io, (early, upgraded.received), upgraded.idle_ms).await;
        Ok(())
    }
}
