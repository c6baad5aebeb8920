//! The leaky bucket of nginx's limit_req, to the integer: a request adds 1000 to the excess of its key, time takes away.

/// Thousandths of requests that a request adds.
pub const REQUEST: u64 = 1000;
/// A key's times go back by more than this if the clock was wrong (nginx has the same bound).
const SKEW: i64 = -60_000;

/// What a key has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Thousandths of requests above the rate.
    pub excess: u64,
    /// When it was last counted, in milliseconds.
    pub last: i64,
}

/// How fast a bucket empties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Thousandths of requests in `period`.
    pub milli: u64,
    /// Seconds.
    pub period: u64,
}

impl Rate {
    /// Thousandths of requests that `ms` milliseconds take away.
    pub fn leaked(self, ms: u64) -> u64 {
        (u128::from(self.milli) * u128::from(ms) / (1000 * u128::from(self.period))) as u64
    }

    /// Milliseconds that take away so many thousandths of requests.
    pub fn time(self, milli: u64) -> u64 {
        (u128::from(milli) * 1000 * u128::from(self.period) / u128::from(self.milli.max(1))) as u64
    }
}

impl Bucket {
    /// One that was looked at and never counted: as long ago as makes no difference.
    pub const UNCOUNTED: Self = Self { excess: 0, last: -(1 << 40) };

    /// A new one that is counted at `now`: the first request adds nothing.
    pub fn first(now: u64) -> Self {
        Self { excess: 0, last: now as i64 }
    }

    /// The bucket with one request more, at `now`.
    pub fn with_request(self, rate: Rate, now: u64) -> Self {
        let now = now as i64;
        let passed = now - self.last;
        let ms = if passed < SKEW { 1 } else { passed.max(0) as u64 };
        let excess = (self.excess + REQUEST).saturating_sub(rate.leaked(ms));
        Self { excess, last: if ms == 0 { self.last } else { now } }
    }

    /// It is as if it had never been used, for long enough.
    pub fn is_empty(self, rate: Rate, now: u64) -> bool {
        let ms = (now as i64 - self.last).unsigned_abs();
        ms >= SKEW.unsigned_abs() && self.excess <= rate.leaked(ms)
    }
}
