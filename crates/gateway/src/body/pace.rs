//! A body that is given no faster than so many bytes a second: each second's share goes at its beginning, as in nginx.
use crate::body::{Body, Source};
use crate::error::Result;
use buchner_wire::headers::Headers;
use bytes::Bytes;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// Paces a body. `rate` is in bytes a second, not 0; `after` is how many bytes go before it counts.
pub fn paced(body: Body, rate: u64, after: u64) -> Body {
    match body.into_source() {
        Ok(source) => Body::Stream(Box::new(Paced {
            source,
            rate,
            after,
            started: Instant::now(),
            given: 0,
            held: Bytes::new(),
            pause: None,
        })),
        Err(other) => other,
    }
}

struct Paced {
    source: Box<dyn Source>,
    rate: u64,
    after: u64,
    started: Instant,
    given: u64,
    /// Came from the source, and has to wait.
    held: Bytes,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Paced {
    /// Bytes that may go now.
    fn room(&self) -> u64 {
        let seconds = self.started.elapsed().as_secs() + 1;
        (self.after.saturating_add(self.rate.saturating_mul(seconds))).saturating_sub(self.given)
    }
}

impl Source for Paced {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let room = self.room();
            if room == 0 {
                let passed = self.started.elapsed();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_share() {
        let Ok(source) = Body::Full(Bytes::from(vec![0; 3500])).into_source() else { unreachable!() };
        let now = Instant::now();
        let mut paced =
            Paced { source, rate: 1000, after: 500, started: now, given: 0, held: Bytes::new(), pause: None };
        assert_eq!((paced.length(), paced.room()), (Some(3500), 1500));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let Poll::Ready(Ok(Some(first))) = paced.poll_chunk(&mut cx) else { unreachable!() };
        assert_eq!((first.len(), paced.length(), paced.room()), (1500, Some(2000), 0));
        paced.started = now.checked_sub(Duration::from_millis(1200)).unwrap();
        assert_eq!(paced.room(), 1000);
    }
}
