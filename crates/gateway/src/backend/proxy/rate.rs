//! Bodies read no faster than configured (nginx: proxy_limit_rate), or than the upstream says (X-Accel-Limit-Rate).
use crate::error::Result;
use crate::http::body::{Body, Source};
use buchner_wire::headers::Headers;
use bytes::Bytes;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// Paces a body. `rate` is in bytes a second.
pub fn limited(body: Body, rate: u64) -> Body {
    match body.into_source() {
        Ok(source) => Body::Stream(Box::new(Limited {
            source,
            rate,
            began: Instant::now(),
            given: 0,
            held: Bytes::new(),
            pause: None,
        })),
        Err(other) => other,
    }
}

struct Limited {
    source: Box<dyn Source>,
    rate: u64,
    began: Instant,
    given: u64,
    /// Came from the source and has to wait.
    held: Bytes,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Limited {
    /// Bytes that may go now: each second's share goes at its beginning, as in nginx.
    fn room(&self) -> u64 {
        self.rate.saturating_mul(self.began.elapsed().as_secs() + 1).saturating_sub(self.given)
    }
}

impl Source for Limited {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let room = self.room();
            if room == 0 {
                let passed = self.began.elapsed();
                self.pause = Some(Box::pin(sleep(Duration::from_secs(passed.as_secs() + 1).saturating_sub(passed))));
                continue;
            }
            if self.held.is_empty() {
                match ready!(self.source.poll_chunk(cx))? {
                    Some(chunk) => self.held = chunk,
                    None => return Poll::Ready(Ok(None)),
                }
            }
            let piece = self.held.split_to(self.held.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
            self.given += piece.len() as u64;
            return Poll::Ready(Ok(Some(piece)));
        }
    }

    fn length(&self) -> Option<u64> {
        self.source.length().map(|rest| rest + self.held.len() as u64)
    }

    fn flush_each(&self) -> bool {
        self.source.flush_each()
    }

    fn trailers(&self) -> Option<&Headers> {
        self.source.trailers()
    }
}
