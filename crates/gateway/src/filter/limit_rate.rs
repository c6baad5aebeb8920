//! Bodies sent no faster than configured (nginx: `limit_rate`).
use crate::error::Result;
use crate::exchange::{Exchange, Response};
use crate::http::body::{Body, Source};
use crate::vars::{Names, Sent, Template};
use bytes::Bytes;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// The compiled settings.
pub struct LimitRate {
    rate: Template,
    after: Template,
}

impl LimitRate {
    /// Compiles the rate in bytes per second and the bytes before it holds, both with variables.
    pub fn compile(rate: &str, after: Option<&str>, names: &Names) -> std::result::Result<Self, String> {
        let compile = |text: &str, name: &str| {
            let template = Template::compile(text, names).map_err(|e| format!("{name}: {e}"))?;
            match template.as_text() {
                Some(text) if size(text).is_none() => {
                    Err(format!("{name}: {:?} is not a size", String::from_utf8_lossy(text)))
                }
                _ => Ok(template),
            }
        };
        Ok(Self { rate: compile(rate, "limit_rate")?, after: compile(after.unwrap_or("0"), "limit_rate_after")? })
    }
}

/// A number of bytes, with `k`, `m` or `g` behind it.
fn size(text: &[u8]) -> Option<u64> {
    let (digits, shift) = match text {
        [digits @ .., b'k' | b'K'] => (digits, 10),
        [digits @ .., b'm' | b'M'] => (digits, 20),
        [digits @ .., b'g' | b'G'] => (digits, 30),
        digits => (digits, 0),
    };
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    number.checked_mul(1 << shift)
}

/// Paces the body.
pub fn apply(ex: &Exchange, response: &mut Response) {
    let Some(limit) = &ex.settings().filters.limit_rate else { return };
    if !ex.is_main() {
        return;
    }
    let sent = Sent { status: response.status, headers: Some(&response.headers), ..Sent::default() };
    let value = |template: &Template| size(&template.value(ex, sent)).unwrap_or(0);
    let (rate, after) = (value(&limit.rate), value(&limit.after));
    if rate == 0 {
        return;
    }
    let body = std::mem::replace(&mut response.body, Body::EMPTY);
    response.body = match body.into_source() {
        Ok(source) => Body::Stream(Box::new(Paced {
            source,
            rate,
            after,
            started: Instant::now(),
            sent: 0,
            held: Bytes::new(),
            pause: None,
        })),
        Err(other) => other,
    };
}

struct Paced {
    source: Box<dyn Source>,
    rate: u64,
    after: u64,
    started: Instant,
    sent: u64,
    /// Came from the source, and has to wait.
    held: Bytes,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Paced {
    /// Bytes that may go now. Each second's share may go at its beginning.
    fn allowed(&self) -> u64 {
        let seconds = self.started.elapsed().as_secs() + 1;
        (self.after + self.rate.saturating_mul(seconds)).saturating_sub(self.sent)
    }
}

impl Source for Paced {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        loop {
            if let Some(pause) = &mut self.pause {
                if pause.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.pause = None;
            }
            let allowed = self.allowed();
            if allowed == 0 {
                // What is over the share of this second waits for the next.
                let passed = self.started.elapsed();
                let next = Duration::from_secs(passed.as_secs() + 1);
                self.pause = Some(Box::pin(sleep(next.saturating_sub(passed))));
                continue;
            }
            if self.held.is_empty() {
                match self.source.poll_chunk(cx)? {
                    Poll::Ready(Some(chunk)) => self.held = chunk,
                    Poll::Ready(None) => return Poll::Ready(Ok(None)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            let piece = self.held.split_to(self.held.len().min(usize::try_from(allowed).unwrap_or(usize::MAX)));
            self.sent += piece.len() as u64;
            return Poll::Ready(Ok(Some(piece)));
        }
    }

    fn length(&self) -> Option<u64> {
        self.source.length().map(|rest| rest + self.held.len() as u64)
    }

    fn flush_each(&self) -> bool {
        self.source.flush_each()
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
            Paced { source, rate: 1000, after: 500, started: now, sent: 0, held: Bytes::new(), pause: None };
        assert_eq!((paced.length(), paced.allowed()), (Some(3500), 1500));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let Poll::Ready(Ok(Some(first))) = paced.poll_chunk(&mut cx) else { unreachable!() };
        assert_eq!((first.len(), paced.length(), paced.allowed()), (1500, Some(2000), 0));
        paced.started = now.checked_sub(Duration::from_millis(1200)).unwrap();
        assert_eq!(paced.allowed(), 1000);
    }

    #[test]
    fn sizes() {
        assert_eq!(
            (size(b"10"), size(b"4k"), size(b"1M"), size(b"k"), size(b"-1")),
            (Some(10), Some(4096), Some(1 << 20), None, None)
        );
    }
}
