//! Request bodies that are not read ahead: larger than the app takes by its own word, or than the spool has room for.
//!
//! The app reads them while the client sends, so that a slot is busy as long as the upload takes. For that reason they have a
//! share of the slots only, and clients that are too slow are given up.
use super::pool::LargePermit;
use crate::body::Source;
use crate::error::{Error, Kind, Result};
use bytes::Bytes;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// An app that refuses the body by its length does so within this time, before the client is told to send it.
const REFUSAL: Duration = Duration::from_millis(100);
/// A client may be so long behind the least rate.
const GRACE: Duration = Duration::from_secs(10);

/// A body that is streamed to an app.
pub struct Large {
    source: Box<dyn Source>,
    _permit: LargePermit,
    /// Bytes a second; 0: any number.
    rate: u64,
    /// Time that may still be waited for the client.
    credit: Duration,
    waiting: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    /// Nothing is read before this.
    begin: Option<Pin<Box<Sleep>>>,
}

impl Large {
    /// Limits `source` to `rate` bytes a second from below; `unread`: nothing of it was read yet.
    pub fn new(source: Box<dyn Source>, permit: LargePermit, rate: u64, unread: bool) -> Self {
        let timer = Box::pin(sleep(GRACE));
        let begin = unread.then(|| Box::pin(sleep(REFUSAL)));
        Self { source, _permit: permit, rate, credit: GRACE, waiting: None, timer, begin }
    }

    /// Counts a piece and the time it was waited for.
    fn came(&mut self, bytes: usize) {
        if let Some(since) = self.waiting.take() {
            self.credit = self.credit.saturating_sub(since.elapsed());
        }
        let earned = Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / self.rate.max(1));
        self.credit = (self.credit + earned).min(GRACE);
    }
}

impl Source for Large {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if let Some(begin) = &mut self.begin {
            ready!(begin.as_mut().poll(cx));
            self.begin = None;
        }
        if let Poll::Ready(chunk) = self.source.poll_chunk(cx) {
            self.came(chunk.as_ref().map_or(0, |chunk| chunk.as_ref().map_or(0, Bytes::len)));
            return Poll::Ready(chunk);
        }
        if self.rate == 0 {
            return Poll::Pending;
        }
        if self.waiting.is_none() {
            let now = Instant::now();
            self.waiting = Some(now);
            self.timer.as_mut().reset(now + self.credit);
        }
        ready!(self.timer.as_mut().poll(cx));
        let cause = format!("the body comes at less than {} bytes a second (body_min_rate)", self.rate);
        Poll::Ready(Err(Error::new(Kind::ClientTimeout, cause).closing()))
    }

    fn length(&self) -> Option<u64> {
        self.source.length()
    }

    fn set_limit(&mut self, bytes: u64) {
        self.source.set_limit(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    struct Silent;

    impl Source for Silent {
        fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
            Poll::Pending
        }
        fn length(&self) -> Option<u64> {
            None
        }
    }

    #[test]
    fn a_client_may_be_so_long_behind_the_rate_and_no_longer() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _inside = runtime.enter();
        let pool = Arc::new(super::super::pool::Pool::default());
        let permit = pool.large_permit().unwrap();
        assert!(pool.large_permit().is_none());
        let mut large = Large::new(Box::new(Silent), permit, 100, false);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for (waited, bytes, left) in [(4, 100, 7), (2, 0, 5), (1, 600, 10), (9, 1, 1), (1, 0, 0)] {
            large.waiting = Some(Instant::now().checked_sub(Duration::from_secs(waited)).unwrap());
            large.came(bytes);
            assert_eq!(large.credit.as_secs_f64().round() as u64, left, "{waited} {bytes}");
            assert!(large.waiting.is_none());
        }
        large.credit = Duration::ZERO;
        let late = runtime.block_on(crate::body::next_chunk(&mut large)).unwrap_err();
        assert_eq!(late.kind, Kind::ClientTimeout);
        large.rate = 0;
        assert!(large.poll_chunk(&mut cx).is_pending());
        drop(large);
        assert!(pool.large_permit().is_some());
    }
}
